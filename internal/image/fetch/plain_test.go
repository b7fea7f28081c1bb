// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image/fetch"
)

// TestPlain: a blob is decompressed to the same bytes by this machine's programs
// and by the helper, wherever its descriptor stands; and by the former, if they
// are there.
func TestPlain(t *testing.T) {
	want := bytes.Repeat([]byte("content of a layer "), 1<<16)
	dir := t.TempDir()
	plain := filepath.Join(dir, "blob")
	if err := os.WriteFile(plain, want, 0o644); err != nil {
		t.Fatal(err)
	}
	for suffix, prog := range map[string]string{"": "", ".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"} {
		if prog != "" {
			if _, err := exec.LookPath(prog); err != nil {
				continue
			}
			run(t, prog, "-k", plain)
		}
		f, err := os.Open(plain + suffix)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		here := os.Getenv("PATH")
		for _, path := range []string{here, dir} {
			t.Setenv("PATH", path)
			var out bytes.Buffer
			if err := fetch.Plain(t.Context(), helper, f, &out); err != nil || !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%q with PATH %s: %d bytes, %v", suffix, path, out.Len(), err)
			}
		}
		t.Setenv("PATH", here)
	}
	// What is called igzip is asked: this one says nothing.
	if _, err := os.Stat(plain + ".gz"); err != nil {
		t.Skip("needs gzip")
	}
	other := t.TempDir()
	if err := os.Symlink("/bin/true", filepath.Join(other, "igzip")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", other)
	f, err := os.Open(plain + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out strings.Builder
	if err := fetch.Plain(t.Context(), helper, f, &out); err != nil || out.Len() > 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}
