// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// guarded gives a directory to unpack into, and fails the test if anything
// beside it has changed when the test ends.
func guarded(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	for _, d := range []string{"outside/sub", "root"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "outside", "canary"), []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1_000_000_000, 0)
	for _, p := range []string{"outside/canary", "outside/sub", "outside"} {
		if err := os.Chtimes(filepath.Join(top, p), old, old); err != nil {
			t.Fatal(err)
		}
	}
	names := func() []string {
		var out []string
		ents, err := os.ReadDir(top)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ents {
			out = append(out, e.Name())
		}
		return out
	}
	before := dump(t, filepath.Join(top, "outside"))
	t.Cleanup(func() {
		for _, d := range differ(before, dump(t, filepath.Join(top, "outside")), nil) {
			t.Error("outside has changed: ", d)
		}
		if got := names(); !slices.Equal(got, []string{"outside", "root"}) {
			t.Errorf("beside the tree there is now %q", got)
		}
	})
	return filepath.Join(top, "root")
}

func TestHostile(t *testing.T) {
	needRoot(t)
	many := func(n int) string { return strings.Repeat("d/", n) }
	for _, c := range []struct {
		name string
		tar  []entry
		err  string            // what the error must contain; "" for a safe result
		have map[string]string // path -> what its line must contain; "-" for not there
	}{
		{"climbing name", []entry{{name: "../outside/canary", body: "x"}}, "climbs out", nil},
		{"climbing in the middle", []entry{{name: "a/../../outside/canary", body: "x"}}, "climbs out", nil},
		{"just ..", []entry{{name: "../", mode: 0o777}}, "climbs out", nil},
		{"harmless ..", []entry{{name: "a/../b", body: "x"}}, "", map[string]string{"b": "size=1", "a": "-"}},
		{"absolute name", []entry{{name: "//etc/passwd", body: "x"}}, "", map[string]string{"etc/passwd": "size=1"}},
		{"absolute and climbing", []entry{{name: "/../x", body: "x"}}, "climbs out", nil},
		{"link to the outside as parent", []entry{
			{name: "out", link: "../outside"}, {name: "out/canary", body: "dead"},
		}, "", map[string]string{"outside/canary": "size=4", "out": `"../outside"`}},
		{"absolute link as parent", []entry{
			{name: "out", link: "/etc"}, {name: "out/x", body: "x"},
		}, "", map[string]string{"etc/x": "size=1"}},
		{"link swapped for a directory", []entry{
			{name: "a/"}, {name: "a/x", body: "1"}, {name: "a", link: "../outside"}, {name: "a/canary", body: "dead"},
		}, "", map[string]string{"a": "->", "outside/canary": "size=4", "a/x": "-"}},
		{"chain of links", []entry{
			{name: "l1", link: "../.."}, {name: "l2", link: "l1/../.."}, {name: "l2/outside/canary", body: "dead"},
		}, "", map[string]string{"outside/canary": "size=4"}},
		{"link loop as parent", []entry{{name: "a", link: "b"}, {name: "b", link: "a"}, {name: "a/x", body: "x"}}, "too many levels", nil},
		{"links that grow", []entry{
			{name: "a", link: strings.Repeat("b/", 1000)}, {name: "b", link: strings.Repeat("a/", 1000)}, {name: "a/x", body: "x"},
		}, "file name too long", nil},
		{"link as the name itself is replaced", []entry{
			{name: "f", link: "../outside/canary"}, {name: "f", body: "new"},
		}, "", map[string]string{"f": "mode=100644"}},
		{"link is not followed for attributes", []entry{
			{name: "f", link: "/etc", uid: 5, mtime: time.Unix(5, 0), xattrs: map[string]string{"trusted.x": "y"}},
		}, "", map[string]string{"f": "owner=5:0 mtime=5.000000000 nlink=1 -> \"/etc\" trusted.x=79"}},
		{"hard link to the outside", []entry{{name: "h", kind: tar.TypeLink, link: "../outside/canary"}}, "climbs out", nil},
		{"absolute hard link", []entry{{name: "h", kind: tar.TypeLink, link: "/etc/passwd"}}, "not in this layer", nil},
		{"hard link through a link", []entry{
			{name: "out", link: "../outside"}, {name: "h", kind: tar.TypeLink, link: "out/canary"},
		}, "not in this layer", nil},
		{"hard link to a link, then written through", []entry{
			{name: "s", link: "../outside/canary"}, {name: "h", kind: tar.TypeLink, link: "s"}, {name: "h", body: "dead"},
		}, "", map[string]string{"s": "nlink=1", "h": "mode=100644"}},
		{"hard link to a directory", []entry{{name: "d/"}, {name: "h", kind: tar.TypeLink, link: "d"}}, "is a directory", nil},
		{"hard link to the root", []entry{{name: "h", kind: tar.TypeLink, link: "."}}, "is a directory", nil},
		{"hard link to itself", []entry{{name: "f", body: "x"}, {name: "f", kind: tar.TypeLink, link: "./f"}}, "", map[string]string{"f": "nlink=1"}},
		{"hard link twice", []entry{
			{name: "f", body: "x"}, {name: "g", kind: tar.TypeLink, link: "f"}, {name: "g", kind: tar.TypeLink, link: "f"},
		}, "", map[string]string{"f": "nlink=2"}},
		{"hard link over the directory of its target", []entry{
			{name: "d/f", body: "x"}, {name: "d", kind: tar.TypeLink, link: "d/f"},
		}, "not in this layer", nil},
		{"hard link to nothing", []entry{{name: "h", kind: tar.TypeLink, link: "no/such"}}, "not in this layer", map[string]string{"no": "-"}},
		{"hard link to a whiteout", []entry{{name: ".wh.f"}, {name: "h", kind: tar.TypeLink, link: "f"}}, "not in this layer", nil},
		{"entry below a file", []entry{{name: "f", body: "x"}, {name: "f/g", body: "x"}}, `"f" is not a directory`, nil},
		{"root as a file", []entry{{name: "./x/..", body: "x"}}, "root must be a directory", nil},
		{"root as a link", []entry{{name: ".", link: "../outside"}}, "root must be a directory", nil},
		{"root as a hard link", []entry{{name: "f", body: "x"}, {name: ".", kind: tar.TypeLink, link: "f"}}, "root must be a directory", nil},
		{"component of 256 bytes", []entry{{name: strings.Repeat("x", 256), body: "x"}}, "file name too long", nil},
		{"path of 4096 bytes", []entry{{name: many(2047) + "ee", body: "x"}}, "file name too long", nil},
		{"path of 4095 bytes, then a file in place of its top", []entry{
			{name: many(2047) + "e", body: "x"}, {name: "d", body: "x"},
		}, "", map[string]string{"d": "mode=100644"}},
		{"whiteout of .", []entry{{name: "d/.wh.."}}, "names no file", nil},
		{"whiteout of ..", []entry{{name: "d/.wh..."}}, "names no file", nil},
		{"whiteout of nothing", []entry{{name: "d/.wh."}}, "names no file", nil},
		{"whiteout as a directory", []entry{{name: "d/.wh.x/y", body: "x"}}, "cannot be a directory", nil},
		{"whiteout as a link's directory", []entry{{name: "l", link: ".wh.x/y"}, {name: "l/z", body: "x"}}, "cannot be a directory", nil},
		{"AUFS leftovers", []entry{
			{name: ".wh..wh.plnk/"}, {name: ".wh..wh.plnk/1.2", body: "x"}, {name: ".wh..wh.aufs", body: "x"}, {name: ".wh..wh.orph/"},
		}, "", map[string]string{".wh..wh.plnk": "-", ".wh..wh.aufs": "-", ".wh..wh.orph": "-"}},
		{"forged overlay marks", []entry{
			{name: "d/", xattrs: map[string]string{"trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/etc", "user.overlay.opaque": "y"}},
			{name: "f", xattrs: map[string]string{"trusted.overlay.metacopy": "", "trusted.overlay.whiteout": "y", "trusted.overlay.overlay.whiteout": "y",
				"user.overlay.whiteout": "y", "trusted.overlay.": "y", "user.ok": "1"}},
		}, "", map[string]string{"d": "mode=40755 owner=0:0 mtime=1600000000.123456789$", "f": "sum=e3b0c44298fc user.ok=31$"}},
		{"labels of the host", []entry{{name: "f", xattrs: map[string]string{"security.selinux": "x", "security.evm": "x", "com.apple.x": "y"}}},
			"", map[string]string{"f": "e3b0c44298fc$"}},
		{"user attribute on a link", []entry{{name: "l", link: "x", xattrs: map[string]string{"user.a": "b"}}}, "", map[string]string{"l": `"x"$`}},
		{"device 0:0", []entry{{name: "d/"}, {name: "d/w", kind: tar.TypeChar}}, "", map[string]string{"d/w": "dev=0:0"}},
		{"device out of range", []entry{{name: "w", kind: tar.TypeChar, major: 4096, minor: 1}}, "out of range", nil},
		{"device whose number would wrap", []entry{{name: "w", kind: tar.TypeBlock, major: 1, minor: 1 << 20}}, "out of range", nil},
		{"owner -1", []entry{{name: "f", uid: 4294967295}}, "out of range", nil},
		{"group over 32 bits", []entry{{name: "f", gid: 1 << 33}}, "out of range", nil},
		{"default ACL", []entry{
			{name: "d/", mode: 0o755, xattrs: map[string]string{"system.posix_acl_default": defaultACL}},
			{name: "d/f", body: "x", mode: 0o604}, {name: "d/sub/", mode: 0o705}, {name: "d/p", kind: tar.TypeFifo, mode: 0o622},
			{name: "d/implicit/f", body: "x"},
		}, "", map[string]string{"d/f": "mode=100604 ^acl", "d/sub": "mode=40705 ^acl", "d/p": "mode=10622 ^acl", "d/implicit": "mode=40755 ^acl", "d": "posix_acl_default"}},
		{"set-group-id directory", []entry{{name: "d/", mode: 0o2775, gid: 77}, {name: "d/f"}, {name: "d/s/", mode: 0o755}, {name: "d/i/f"}},
			"", map[string]string{"d": "mode=42775", "d/f": "owner=0:0", "d/s": "mode=40755 owner=0:0", "d/i": "mode=40755 owner=0:0"}},
		{"whiteout, then the same name", []entry{{name: ".wh.f"}, {name: "f", body: "x"}, {name: ".wh.d"}, {name: "d/"}},
			"", map[string]string{"f": "mode=100644", "d": "trusted.overlay.opaque=79"}},
		{"the same name, then its whiteout", []entry{{name: "f", body: "x"}, {name: ".wh.f"}, {name: "d/x", body: "x"}, {name: ".wh.d"}},
			"", map[string]string{"f": "mode=100644", "d": "trusted.overlay.opaque=79", "d/x": "size=1"}},
		{"whiteout of an implicit parent", []entry{{name: ".wh.d"}, {name: "d/x", body: "x"}},
			"", map[string]string{"d": "trusted.overlay.opaque=79", "d/x": "size=1"}},
		{"whiteouts around an opaque mark", []entry{{name: "d/.wh.a"}, {name: "d/.wh..wh..opq"}, {name: "d/.wh.b"}},
			"", map[string]string{"d": "trusted.overlay.opaque=79", "d/a": "-", "d/b": "-"}},
		{"directory over a file keeps hiding", []entry{{name: "f", body: "x"}, {name: "f/"}}, "", map[string]string{"f": "trusted.overlay.opaque=79"}},
		{"directory entry keeps the opaque mark", []entry{{name: "d/.wh..wh..opq"}, {name: "d/", mode: 0o700}},
			"", map[string]string{"d": "trusted.overlay.opaque=79"}},
		{"empty link", []entry{{name: "l", kind: tar.TypeSymlink}}, "no target", nil},
		{"whiteout through a link", []entry{{name: "l", link: "d"}, {name: "d/"}, {name: "l/.wh.x"}}, "", map[string]string{"d/x": "dev=0:0"}},
		{"parent of a dangling link", []entry{{name: "l", link: "a/b"}, {name: "l/x", body: "x"}}, "", map[string]string{"a/b/x": "size=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := guarded(t)
			_, err := unpackTo(t, bytes.NewReader(makeTar(t, c.tar)), root, Options{})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got error %v, want %q", err, c.err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("an error of more than one line: %q", err)
			}
			got := dump(t, root)
			for path, want := range c.have {
				line, there := got[path]
				want, noACL := strings.CutSuffix(want, " ^acl")
				end := strings.HasSuffix(want, "$")
				want = strings.TrimSuffix(want, "$")
				switch {
				case want == "-" && there, want != "-" && !there, want != "-" && !strings.Contains(line, want),
					end && !strings.HasSuffix(line, want), noACL && strings.Contains(line, "acl"):
					t.Errorf("%s: got %q, want %q", path, line, c.have[path])
				}
			}
		})
	}
}

// defaultACL is u::rwx,u:7:rwx,g::rwx,m::rwx,o::rwx as in acl(5)'s xattr form.
const defaultACL = "\x02\x00\x00\x00" +
	"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x07\x00\x00\x00" + "\x04\x00\x07\x00\xff\xff\xff\xff" +
	"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x07\x00\xff\xff\xff\xff"

// The caller need not hold on to the directory: its descriptor stays open as
// long as it is used.
func TestDirectoryStaysOpen(t *testing.T) {
	needRoot(t)
	raw := makeTar(t, []entry{{name: "d/f", body: "x"}})
	path := t.TempDir()
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Layer(context.Background(), collecting{bytes.NewReader(raw)}, d, Options{}); err != nil {
		t.Error(err)
	}
}

// collecting runs the collector, with its finalizers, at every read.
type collecting struct{ r *bytes.Reader }

func (c collecting) Read(p []byte) (int, error) {
	for range 3 {
		runtime.GC()
	}
	return c.r.Read(p[:min(len(p), 512)])
}

// A full disk is told as such, with a remedy.
func TestDiskFull(t *testing.T) {
	needRoot(t)
	mnt := t.TempDir()
	var d *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the mount goes with the thread, and with d
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		if err = unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=1m"); err != nil {
			return
		}
		d, err = os.Open(mnt)
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw := makeTar(t, []entry{{name: "small", body: "x"}, {name: "large", body: string(bytes.Repeat([]byte("x"), 3<<20))}})
	_, err = Layer(context.Background(), bytes.NewReader(raw), d, Options{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"large"`) || hint.Of(err) == "" {
		t.Errorf("got %v, hint %q", err, hint.Of(err))
	}
}

func TestNotes(t *testing.T) {
	needRoot(t)
	var in []entry
	for i := range maxNotes + 7 {
		in = append(in, entry{name: fmt.Sprint(i), xattrs: map[string]string{"trusted.overlay.opaque": "y"}})
	}
	res, err := unpackTo(t, bytes.NewReader(makeTar(t, in)), t.TempDir(), Options{})
	if err != nil || len(res.Notes) != maxNotes+1 || !strings.Contains(res.Notes[maxNotes], "7 more") {
		t.Errorf("got %q, %v", res.Notes, err)
	}
}

func TestLimits(t *testing.T) {
	needRoot(t)
	var files []entry
	for i := range 50 {
		files = append(files, entry{name: fmt.Sprintf("f%d", i), body: strings.Repeat("x", 1000)})
	}
	deep := []entry{{name: strings.Repeat("d/", 60) + "f"}}
	var hiding []entry
	for i := range 60 {
		hiding = append(hiding, entry{name: fmt.Sprintf("d%d/", i)}, entry{name: fmt.Sprintf("d%d/.wh.x", i)})
	}
	zeros := []entry{{name: "z", body: strings.Repeat("\x00", 4<<20)}}
	for _, c := range []struct {
		name  string
		tar   []entry
		lim   Limits
		limit string // LimitError.What; "" for none
	}{
		{"entries", files, Limits{Entries: 49}, "entries"},
		{"just enough entries", files, Limits{Entries: 50}, ""},
		{"implicit parents are entries", deep, Limits{Entries: 60}, "entries"},
		{"implicit parents", deep, Limits{Facts: 60}, "implicit directories"},
		{"just enough implicit parents", deep, Limits{Facts: 61}, ""},
		{"whiteout directories", hiding, Limits{Facts: 59}, "implicit directories"},
		{"bytes", files, Limits{Bytes: 40_000}, "bytes"},
		{"ratio", zeros, Limits{Ratio: 100, RatioAt: 1 << 20}, "bytes for each compressed one"},
		{"ratio not reached", zeros, Limits{Ratio: 100, RatioAt: 8 << 20}, ""},
		{"no limit", zeros, Limits{Ratio: -1, RatioAt: 1, Bytes: -1, Entries: -1, Facts: -1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpackTo(t, bytes.NewReader(gzipped(t, makeTar(t, c.tar))), guarded(t), Options{Limits: c.lim})
			var le *LimitError
			if errors.As(err, &le) != (c.limit != "") || le != nil && le.What != c.limit || c.limit == "" && err != nil {
				t.Errorf("got %v, want a limit of %q", err, c.limit)
			}
		})
	}
}

// A sparse file may claim any size in a few bytes; the claim counts.
func TestSparseClaim(t *testing.T) {
	needRoot(t)
	need(t, "tar")
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, format := range []string{"gnu", "pax"} {
		b := command(t, "tar", "-C", dir, "-S", "--format="+format, "-cf", filepath.Join(dir, format+".tar"), "huge")
		_ = b
		in, err := os.Open(filepath.Join(dir, format+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = unpackTo(t, in, guarded(t), Options{})
		in.Close()
		var le *LimitError
		if !errors.As(err, &le) || le.What != "bytes" {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// Sparse files of both of GNU tar's forms stay sparse and true.
func TestSparse(t *testing.T) {
	needRoot(t)
	need(t, "tar")
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{5, 10 << 20, 30<<20 + 12345} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(50 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want := dump(t, dir)["sparse"]
	for _, args := range [][]string{{"--format=gnu"}, {"--format=pax"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}} {
		out := filepath.Join(t.TempDir(), "t.tar")
		command(t, "tar", append(args, "-C", dir, "-S", "-cf", out, "sparse")...)
		in, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		root := guarded(t)
		_, err = unpackTo(t, in, root, Options{})
		in.Close()
		if err != nil {
			t.Fatal(args, err)
		}
		got := dump(t, root)["sparse"]
		if size := func(s string) string { return s[strings.Index(s, " nlink"):] }; size(got) != size(want) {
			t.Errorf("%v: got %s, want %s", args, got, want)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, "sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%v: %d KiB on disk, %v", args, st.Blocks/2, err)
		}
	}
}

// Somebody with write access to the tree turns directories into links that lead
// outside, again and again, while the extractor works.
func TestSwap(t *testing.T) {
	needRoot(t)
	root := guarded(t)
	var in []entry
	for i := range 3000 {
		in = append(in, entry{name: fmt.Sprintf("a/b%d/c/f%d", i%7, i), body: "x"},
			entry{name: fmt.Sprintf("a/b%d/c/canary", i%7), body: "dead"},
			entry{name: fmt.Sprintf("a/b%d/c/sub/", i%7), mode: 0o777},
			entry{name: fmt.Sprintf("a/p%d", i%3), kind: tar.TypeFifo, mode: 0o777},
			entry{name: fmt.Sprintf("x%d/y/z", i)}) // drives the others out of the cache
	}
	stop, done := make(chan struct{}), make(chan struct{})
	swaps := 0
	go func() {
		defer close(done)
		hold := filepath.Join(root, "hold")
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, p := range []string{"a/b1", "a/b2/c", "a", "a/p1"} {
				p = filepath.Join(root, p)
				if os.Rename(p, hold) != nil {
					continue
				}
				target := "../outside"
				if strings.HasSuffix(p, "p1") {
					target = "../../outside/canary"
				}
				if os.Symlink(target, p) == nil {
					swaps++
					time.Sleep(50 * time.Microsecond)
					_ = os.Remove(p)
				}
				_ = os.Rename(hold, p)
				_ = os.RemoveAll(hold)
			}
		}
	}()
	raw := makeTar(t, in)
	for range 3 {
		d, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		x, err := newExtractor(context.Background(), d, Options{Limits: Limits{}.withDefaults()}, false)
		if err != nil {
			t.Fatal(err)
		}
		// Any error is fine: the tree is worthless. What counts is outside.
		_ = x.all(tar.NewReader(bytes.NewReader(raw)))
		_ = x.finish()
		d.Close()
	}
	close(stop)
	<-done
	if swaps == 0 {
		t.Error("nothing was swapped")
	}
}
