// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzLayer feeds any bytes as a layer, and as an ACI. Whatever they say,
// nothing outside the tree may change, nothing in the tree may carry a mark
// that is not ours, and what was accepted must be accepted again with the same
// digest. It needs no root, but sees more as root.
func FuzzLayer(f *testing.F) {
	for _, l := range append(everything(), incomplete()...) {
		var small []entry
		for _, e := range l {
			if len(e.body) < 4096 {
				small = append(small, e)
			}
		}
		f.Add(makeTar(f, small))
	}
	f.Add(makeTar(f, []entry{{name: "out", link: "../outside"}, {name: "out/canary", body: "dead"}, {name: "../outside/canary", body: "dead"}}))
	f.Add(makeTar(f, []entry{{name: "manifest", body: "{}"}, {name: "rootfs/", mode: 0o700}, {name: "rootfs/.wh.x"}}))
	f.Add(gzipped(f, makeTar(f, []entry{{name: "d/", xattrs: map[string]string{"trusted.overlay.opaque": "y"}}, {name: ".wh.d"}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		opt := Options{Rootless: os.Geteuid() != 0, Limits: Limits{Entries: 200, Bytes: 1 << 20, Facts: 200}}
		var digests []string
		for _, aci := range []bool{false, false, true} {
			root := guarded(t)
			d, err := os.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			unpackIt := Layer
			if aci {
				unpackIt = ACI
			}
			res, err := unpackIt(context.Background(), bytes.NewReader(b), d, opt)
			d.Close()
			if aci {
				seen, lerr := LookACI(context.Background(), bytes.NewReader(b), Options{Limits: opt.Limits})
				if err == nil && (lerr != nil || seen.DiffID != res.DiffID || !bytes.Equal(seen.Manifest, res.Manifest)) {
					t.Errorf("looked at, it is %s, %v; unpacked %s", seen.DiffID, lerr, res.DiffID)
				}
			} else {
				s := string(res.DiffID)
				if err != nil {
					s = "error"
				}
				digests = append(digests, s)
			}
			noForgery(t, root)
		}
		if digests[0] != digests[1] {
			t.Errorf("once %s, once %s", digests[0], digests[1])
		}
	})
}

// noForgery looks for overlay attributes that no whiteout can have caused.
func noForgery(t *testing.T, root string) {
	for path, line := range dump(t, root) {
		for _, bad := range []string{"overlay.redirect", "overlay.metacopy", "overlay.whiteout", "overlay.origin", "overlay.overlay"} {
			if bytes.Contains([]byte(line), []byte(bad)) {
				t.Errorf("%q: %s", path, line)
			}
		}
	}
}

// FuzzName checks that a name is either refused or stays below the root, and
// that no mark hides a name that climbs.
func FuzzName(f *testing.F) {
	for _, s := range []string{"", "/", ".", "..", "a/../..", "//a//b/", "./.wh.x", ".wh..wh..opq", ".wh...", "a/.wh.", "a\nb", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := cleanName(s)
		if err != nil {
			return
		}
		for i, c := range bytes.Split([]byte(name), []byte("/")) {
			if len(c) == 0 || string(c) == ".." || string(c) == "." && (i > 0 || name != ".") {
				t.Fatalf("%q became %q", s, name)
			}
		}
		if again, err := cleanName(name); err != nil || again != name {
			t.Fatalf("%q became %q, then %q", s, name, again)
		}
		if name == "." {
			return
		}
		m, hidden, err := marked(split(name))
		if err == nil && m == whiteout && (hidden == "" || hidden == "." || hidden == ".." || bytes.ContainsAny([]byte(hidden), "/\x00")) {
			t.Fatalf("%q hides %q", s, hidden)
		}
	})
}

// FuzzXz compares our container reader with nothing but its own promise: no
// panic, no endless loop, no memory beyond the bound.
func FuzzXz(f *testing.F) {
	for _, args := range [][]string{{"-1"}, {"--check=sha256"}, {"--check=crc32"}, {"--block-size=10"}} {
		f.Add(compressedWith(f, []byte("some text, some text, some text"), "xz", args...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 6 {
			return
		}
		var opt Options
		opt.Limits = opt.Limits.withDefaults()
		copy(b, xzHead[:])
		p, err := decompress(bytes.NewReader(b), opt)
		if err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, p, 1<<20)
	})
}

// BenchmarkLayer unpacks a tar of this machine's /usr/bin and documents, as it comes from
// each decompressor, and of many small files.
func BenchmarkLayer(b *testing.B) {
	needRoot(b)
	need(b, "tar")
	usr := b.TempDir() + "/usr.tar"
	command(b, "tar", "--warning=no-file-changed", "-C", "/", "-cf", usr, "usr/share/doc", "usr/bin")
	raw, err := os.ReadFile(usr)
	if err != nil {
		b.Fatal(err)
	}
	gz := compressedWith(b, raw, "pigz", "-6")
	zst := compressedWith(b, raw, "zstd")
	var small bytes.Buffer
	w := tar.NewWriter(&small)
	for i := range 100_000 {
		h := entry{name: "d" + string(rune('a'+i%26)) + "/e" + string(rune('a'+i/26%26)) + "/f" + time.Duration(i).String(), body: "0123456789", mtime: time.Unix(1, 0)}.header()
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		_, _ = w.Write([]byte("0123456789"))
	}
	w.Close()
	for _, c := range []struct {
		name string
		in   []byte
		opt  Options
	}{
		{"usr/plain", raw, Options{}}, {"usr/gzip", gz, Options{}},
		{"usr/zstd", zst, Options{}}, {"100k-small-files", small.Bytes(), Options{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.name[0] == 'u' {
				b.SetBytes(int64(len(raw)))
			}
			for range b.N {
				dir := b.TempDir()
				if _, err := unpackTo(b, asPipe(b, c.in), dir+"/r", c.opt); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				unix.Sync()
				if err := os.RemoveAll(dir + "/r"); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
