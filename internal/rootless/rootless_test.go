// SPDX-License-Identifier: Apache-2.0

package rootless

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMakeDir: a data directory is the user's and nobody else's to write to, or it
// is refused.
func TestMakeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "rkt")
	for range 2 {
		if err := MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Join(dir, "pods")} {
		if st, err := os.Stat(d); err != nil || st.Mode() != os.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", d, st, err)
		}
	}
	refused := func(dir, why string) {
		t.Helper()
		if err := MakeDir(dir); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", dir, err, why)
		}
	}
	// One that somebody else opened to everybody, or it or its pods.
	for _, d := range []string{filepath.Join(dir, "pods"), dir} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
		refused(dir, "everybody may write to it")
		if err := os.Chmod(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// pods is not looked for elsewhere.
	other := filepath.Join(t.TempDir(), "rkt")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(other, "pods")); err != nil {
		t.Fatal(err)
	}
	refused(other, "pods: ")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(file, "cannot make data directory")
	if os.Geteuid() != 0 {
		return // and cannot make what is another's
	}
	theirs := filepath.Join(t.TempDir(), "rkt")
	if err := MakeDir(theirs); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(theirs, "pods"), theirs} {
		if err := unix.Chown(d, 4242, 4242); err != nil {
			t.Fatal(err)
		}
		refused(theirs, "it belongs to user 4242")
		if err := unix.Chown(d, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}
