// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"
	"os"
	"strings"
	"testing"
)

func unpackACI(t testing.TB, b []byte, root string) (Result, error) {
	t.Helper()
	d, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return ACI(context.Background(), bytes.NewReader(b), d, Options{})
}

func TestACI(t *testing.T) {
	needRoot(t)
	raw := makeTar(t, []entry{
		{name: "./"},
		{name: "./manifest", body: `{"acKind":"ImageManifest"}`},
		{name: "rootfs/", mode: 0o711, uid: 3},
		{name: "rootfs/bin/", mode: 0o755},
		{name: "rootfs/bin/sh", body: "sh", mode: 0o755},
		{name: "rootfs/bin/ash", kind: tar.TypeLink, link: "rootfs/bin/sh"},
		{name: "rootfs/bin/abs", link: "/bin/sh"},
		{name: "rootfs/.wh.file", body: "no whiteout here"},
		{name: "rootfs/d/.wh..wh..opq", body: ""},
		{name: "rootfs/manifest", body: "a file like any other"},
	})
	sum := fmt.Sprintf("sha512:%x", sha512.Sum512(raw))
	for how, b := range map[string][]byte{
		"plain": raw, "gzip": gzipped(t, raw), "bzip2": compressedWith(t, raw, "bzip2"),
		"xz": compressedWith(t, raw, "xz"), "zstd": compressedWith(t, raw, "zstd"),
	} {
		root := guarded(t)
		res, err := unpackACI(t, b, root)
		if err != nil {
			t.Fatal(how, err)
		}
		seen, err := LookACI(context.Background(), bytes.NewReader(b), Options{})
		if err != nil || seen.DiffID != res.DiffID || !bytes.Equal(seen.Manifest, res.Manifest) {
			t.Errorf("%s: looked at, it is %s, %q, %v", how, seen.DiffID, seen.Manifest, err)
		}
		if string(res.DiffID) != sum || string(res.Manifest) != `{"acKind":"ImageManifest"}` {
			t.Errorf("%s: got %s, %q", how, res.DiffID, res.Manifest)
		}
		got := dump(t, root)
		for path, want := range map[string]string{
			".": "mode=40711 owner=3:0", "bin/sh": "nlink=2", "bin/ash": "nlink=2", "bin/abs": `"/bin/sh"`,
			".wh.file": "mode=100644", "d": "mode=40755", "d/.wh..wh..opq": "mode=100644", "manifest": "size=21",
		} {
			if !strings.Contains(got[path], want) {
				t.Errorf("%s: %s is %q, want %q", how, path, got[path], want)
			}
		}
		if len(got) != 9 {
			t.Errorf("%s: got %d paths: %v", how, len(got), got)
		}
		if strings.Contains(got["d"], "opaque") || fmt.Sprint(res.Implicit) != "[d]" {
			t.Errorf("%s: %q, implicit %v", how, got["d"], res.Implicit)
		}
	}
}

func TestHostileACI(t *testing.T) {
	needRoot(t)
	ok := []entry{{name: "manifest", body: "{}"}, {name: "rootfs/"}}
	for _, c := range []struct {
		name string
		tar  []entry
		err  string
	}{
		{"neither", nil, "no manifest"},
		{"no manifest", ok[1:], "no manifest"},
		{"no rootfs", ok[:1], "no rootfs"},
		{"something else", append(ok[:2:2], entry{name: "extra", body: "x"}), "holds only manifest and rootfs"},
		{"rootfs2", append(ok[:2:2], entry{name: "rootfs2/x", body: "x"}), "holds only manifest and rootfs"},
		{"climbing out of rootfs", append(ok[:2:2], entry{name: "rootfs/../manifest2", body: "x"}), "holds only manifest and rootfs"},
		{"climbing out", append(ok[:2:2], entry{name: "rootfs/../../outside/canary", body: "x"}), "climbs out"},
		{"two manifests", append(ok[:2:2], ok[0]), "two of them"},
		{"manifest as a link", []entry{{name: "manifest", link: "/etc/passwd"}, ok[1]}, "not a regular file"},
		{"manifest as a hard link", []entry{{name: "rootfs/f", body: "x"}, {name: "manifest", kind: tar.TypeLink, link: "rootfs/f"}}, "not a regular file"},
		{"large manifest", []entry{{name: "manifest", body: strings.Repeat(" ", MaxManifest+1)}}, "more than 4194304 bytes of manifest"},
		{"rootfs as a link", []entry{ok[0], {name: "rootfs", link: "../outside"}}, "root must be a directory"},
		{"rootfs as a file", []entry{ok[0], {name: "rootfs", body: "x"}}, "root must be a directory"},
		{"hard link to the manifest", append(ok[:2:2], entry{name: "rootfs/m", kind: tar.TypeLink, link: "manifest"}), "not in this layer"},
		{"hard link without rootfs", append(ok[:2:2], entry{name: "rootfs/f", body: "x"}, entry{name: "rootfs/m", kind: tar.TypeLink, link: "f"}), "not in this layer"},
		{"device 0:0", append(ok[:2:2], entry{name: "rootfs/w", kind: tar.TypeChar}), "0:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := unpackACI(t, makeTar(t, c.tar), guarded(t)); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			// What can be told without a tree is told without one.
			_, err := LookACI(context.Background(), bytes.NewReader(makeTar(t, c.tar)), Options{})
			if strings.Contains(c.name, "rootfs as") || strings.Contains(c.name, "hard link to") || strings.Contains(c.name, "hard link without") || strings.HasPrefix(c.name, "device") {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("looked at: %v, want %q", err, c.err)
			}
		})
	}
}

func TestNotEmpty(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(root+"/x", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackACI(t, nil, root); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
}
