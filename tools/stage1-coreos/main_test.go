// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rkt/rkt/tools/debian"
)

// entry is one of a tar.
type entry struct{ name, link, text string }

func tarOf(t *testing.T, list ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range list {
		h := &tar.Header{Name: "./" + e.name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(e.text))}
		if e.link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, e.link, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestMergedAndFollowed: what a package has in /lib is found in /usr/lib, through
// links too, and a library by its name is that in the outermost directory.
func TestMergedAndFollowed(t *testing.T) {
	all := tree{}
	data := tarOf(t,
		entry{name: "lib/x86_64-linux-gnu/libone.so.1", link: "libone.so.1.2"},
		entry{name: "lib/x86_64-linux-gnu/libone.so.1.2", text: "one"},
		entry{name: "usr/lib/x86_64-linux-gnu/deeper/libone.so.1", text: "another"},
		entry{name: "lib64/ld.so", link: "/lib/x86_64-linux-gnu/libone.so.1"},
	)
	if err := debian.ReadTar(bytes.NewReader(data), all.reader(func(string) {})); err != nil {
		t.Fatal(err)
	}
	at, err := all.library("libone.so.1")
	if err != nil || at != "usr/lib/x86_64-linux-gnu/libone.so.1" {
		t.Errorf("the library is at %q, %v", at, err)
	}
	for _, name := range []string{at, "usr/lib64/ld.so"} {
		real, f, err := all.follow(name)
		if err != nil || real != "usr/lib/x86_64-linux-gnu/libone.so.1.2" || string(f.text) != "one" {
			t.Errorf("%s: leads to %q with %q, %v", name, real, f.text, err)
		}
	}
	if _, err := all.library("libtwo.so"); err == nil {
		t.Error("a library that no package has was found")
	}
	if _, _, err := all.follow("usr/bin/missing"); err == nil {
		t.Error("a file that no package has was found")
	}
}

// TestSameBytes: an image is the same each time, and tar finds in it what was put
// there.
func TestSameBytes(t *testing.T) {
	tr := tree{"usr/bin/a": {mode: 0o755, text: []byte("a")}, "bin": {link: "usr/bin"}, "usr/lib/b": {mode: 0o644, text: []byte("b")}}
	one, err := tr.aci("amd64", "1")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // maps have another order each time
		two, err := tr.aci("amd64", "1")
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("another image of the same tree, %v", err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.aci")
	if err := os.WriteFile(path, one, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", dir, "-xzf", path).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if b, err := os.ReadFile(dir + "/rootfs/bin/a"); err != nil || string(b) != "a" {
		t.Errorf("rootfs/bin/a: %q, %v", b, err)
	}
	if err := tr.write(filepath.Join(dir, "tree")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("diff", "-r", dir+"/tree", dir+"/rootfs").CombinedOutput(); err != nil {
		t.Errorf("the tree and the image differ: %v\n%s", err, out)
	}
}
