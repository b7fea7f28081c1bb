// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// helper is the path of libexec/rkt/fetch.
var helper string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		panic(err)
	}
	helper = filepath.Join(dir, "fetch")
	cmd := exec.Command("go", "build", "-o", helper, "../../../cmd/fetch")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const manifest = `{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"}`

// pack makes an ACI of headers, contents of files with them.
func pack(t *testing.T, compress bool, entries ...any) string {
	t.Helper()
	var b bytes.Buffer
	var out io.Writer = &b
	z := gzip.NewWriter(&b)
	if compress {
		out = z
	}
	tw := tar.NewWriter(out)
	for i := 0; i < len(entries); i++ {
		h, _ := entries[i].(tar.Header)
		text := ""
		if i+1 < len(entries) {
			if s, ok := entries[i+1].(string); ok {
				text, h.Size = s, int64(len(s))
				i++
			}
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if compress {
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "x.aci")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		entries []any
		err     string
	}{
		"good":             {[]any{file("manifest"), manifest, dir("rootfs"), file("rootfs/x"), "x"}, ""},
		"with dots":        {[]any{dir("."), file("./manifest"), manifest, dir("./rootfs")}, ""},
		"manifest last":    {[]any{dir("rootfs"), file("manifest"), manifest}, ""},
		"no manifest":      {[]any{dir("rootfs")}, "no manifest"},
		"no rootfs":        {[]any{file("manifest"), manifest}, "no rootfs"},
		"bad manifest":     {[]any{file("manifest"), "{}", dir("rootfs")}, "acKind"},
		"two manifests":    {[]any{file("manifest"), manifest, file("./manifest"), manifest, dir("rootfs")}, "two manifests"},
		"more":             {[]any{file("manifest"), manifest, dir("rootfs"), file("x"), "x"}, `"x" beside`},
		"climbing":         {[]any{file("manifest"), manifest, dir("rootfs"), file("../x"), "x"}, "leads out"},
		"climbing rootfs":  {[]any{file("manifest"), manifest, dir("rootfs"), file("rootfs/../../x"), "x"}, "leads out"},
		"absolute":         {[]any{file("manifest"), manifest, dir("rootfs"), file("/x"), "x"}, "leads out"},
		"rootfs is a file": {[]any{file("manifest"), manifest, file("rootfs"), "x"}, "no directory"},
		"link outside": {[]any{file("manifest"), manifest, dir("rootfs"),
			tar.Header{Name: "rootfs/l", Typeflag: tar.TypeLink, Linkname: "manifest"}}, "outside of the rootfs"},
	} {
		for _, compress := range []bool{false, true} {
			err := Validate(context.Background(), helper, pack(t, compress, c.entries...))
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
		}
	}
}

// TestRewrite: all but the manifest is copied with all that is said of it.
func TestRewrite(t *testing.T) {
	h := file("rootfs/x")
	h.Uid, h.Gid, h.Mode = 70000, 3, 0o4755
	h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b\x00c"}
	long := file("rootfs/" + strings.Repeat("n", 300))
	path := pack(t, true, dir("rootfs"), h, "content", long, "more", tar.Header{Name: "rootfs/l", Typeflag: tar.TypeSymlink, Linkname: "x"}, file("manifest"), manifest)
	var out bytes.Buffer
	changed := manifest + strings.Repeat(" ", 1000)
	id, err := Rewrite(context.Background(), helper, path, &out, func(old []byte) ([]byte, error) {
		if string(old) != manifest {
			t.Errorf("%s", old)
		}
		return []byte(changed), nil
	})
	if err != nil || !strings.HasPrefix(string(id), "sha512-") {
		t.Fatal(id, err)
	}
	seen := 0
	for r := tar.NewReader(&out); ; seen++ {
		got, err := r.Next()
		if err == io.EOF { //nolint:errorlint // itself
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch got.Name {
		case "rootfs/x":
			if got.Uid != 70000 || got.Gid != 3 || got.Mode != 0o4755 || got.PAXRecords["SCHILY.xattr.user.a"] != "b\x00c" || string(text) != "content" {
				t.Errorf("%+v, %q", got, text)
			}
		case "manifest":
			if string(text) != changed {
				t.Errorf("%q", text)
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d entries", seen)
	}
	for _, bad := range []string{pack(t, false, dir("rootfs")), pack(t, true, file("manifest"), manifest, file("manifest"), manifest)} {
		if _, err := Rewrite(context.Background(), helper, bad, io.Discard, func(b []byte) ([]byte, error) { return b, nil }); err == nil {
			t.Error("no error")
		}
	}
	// Torn: an error, not a shorter image.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{len(whole) / 2, len(whole) - 4} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Rewrite(context.Background(), helper, path, io.Discard, func(b []byte) ([]byte, error) { return b, nil }); err == nil {
			t.Errorf("the first %d of %d bytes are an image", n, len(whole))
		}
	}
}
