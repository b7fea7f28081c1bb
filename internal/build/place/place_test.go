// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

// root makes a root of one lower tree and an empty upper one.
func root(t *testing.T, lower map[string]string) *Root {
	t.Helper()
	r := &Root{Upper: t.TempDir(), Stage: t.TempDir(), User: os.Geteuid() != 0}
	if lower != nil {
		r.Lower = []string{tree(t, lower)}
		if err := r.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// tree makes files; "-> X" is a link, a name that ends in / a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, isLink := strings.CutPrefix(text, "-> "); err == nil && isLink {
			err = os.Symlink(target, path)
		} else if err == nil && strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shows is what a root shows: files by path and content, links, directories.
func shows(t *testing.T, r *Root) map[string]string {
	t.Helper()
	s, err := r.stack()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := map[string]string{}
	if err := s.Walk(func(e *merge.Entry) error {
		switch e.Type() {
		case unix.S_IFDIR:
			m[e.Path+"/"] = ""
		case unix.S_IFLNK:
			target, err := e.Link()
			m[e.Path] = "-> " + target
			return err
		default:
			f, err := e.Open()
			if err != nil {
				return err
			}
			defer f.Close()
			b := make([]byte, e.Stat.Size)
			_, err = f.Read(b)
			m[e.Path] = string(b)
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCopy(t *testing.T) {
	src := tree(t, map[string]string{"file": "F", "dir/sub/x": "X", "dir/y": "Y"})
	lower := map[string]string{"usr/bin/old": "old", "bin": "-> usr/bin", "abs": "-> /usr", "loop": "-> loop", "dots": "-> ../../../usr/bin", "dir/sub/z": "Z"}
	for _, c := range []struct {
		src, dst string
		want     map[string]string // of what is new
		err      string
	}{
		{"file", "/new", map[string]string{"new": "F"}, ""},
		{"file", "/a/b/c", map[string]string{"a/": "", "a/b/": "", "a/b/c": "F"}, ""},
		{"file", "/bin/new", map[string]string{"usr/bin/new": "F"}, ""},
		{"file", "/dots/new", map[string]string{"usr/bin/new": "F"}, ""},
		{"file", "/abs/bin/old", map[string]string{"usr/bin/old": "F"}, ""},
		{"file", "/bin", map[string]string{"bin": "F"}, ""}, // a link is replaced by a file
		{"file", "/dir/../x", map[string]string{"x": "F"}, ""},
		{"dir", "/", map[string]string{"sub/": "", "sub/x": "X", "y": "Y"}, ""},
		{"dir", "/dir", map[string]string{"dir/sub/x": "X", "dir/y": "Y"}, ""},
		{"dir", "/bin", map[string]string{"usr/bin/sub/": "", "usr/bin/sub/x": "X", "usr/bin/y": "Y"}, ""},
		{"file", "/loop/x", nil, "too many links"},
		{"file", "/../x", nil, "leads out of the image"},
		{"file", "/usr/bin/old/x", nil, "is no directory"},
		{"file", "/usr", nil, "is a directory"},
		{"dir", "/usr/bin/old", nil, "is there and is no directory"},
		{"file", "/x\x00", nil, "zero byte"},
		{"missing", "/x", nil, "no such file"},
	} {
		t.Run(c.src+" "+c.dst, func(t *testing.T) {
			r := root(t, lower)
			want := shows(t, r)
			err := r.Copy(context.Background(), filepath.Join(src, c.src), c.dst, Options{})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v, want %q", err, c.err)
			}
			for k, v := range c.want {
				want[k] = v
			}
			got := shows(t, r)
			if len(got) != len(want) {
				t.Errorf("%d entries, want %d: %v", len(got), len(want), got)
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s: %q, want %q", k, got[k], v)
				}
			}
			if left, err := os.ReadDir(r.Stage); err != nil || len(left) != 0 {
				t.Errorf("left on the stage: %v, %v", left, err)
			}
			if err != nil {
				if left, rerr := os.ReadDir(r.Upper); rerr != nil || len(left) != 0 {
					t.Errorf("left in the image: %v, %v", left, rerr)
				}
			}
		})
	}
}

// TestCopyUp: directories that are only in the lower tree keep mode, owner and
// time when something is put into them.
func TestCopyUp(t *testing.T) {
	r := root(t, map[string]string{"a/b/x": "1"})
	lower := filepath.Join(r.Lower[0], "a")
	if err := unix.Chmod(lower, 0o2750); err != nil {
		t.Fatal(err)
	}
	src := tree(t, map[string]string{"f": "F"})
	if err := r.Copy(context.Background(), filepath.Join(src, "f"), "/a/b/f", Options{}); err != nil {
		t.Fatal(err)
	}
	var want, got unix.Stat_t
	for path, st := range map[string]*unix.Stat_t{lower: &want, filepath.Join(r.Upper, "a"): &got} {
		if err := unix.Stat(path, st); err != nil {
			t.Fatal(err)
		}
	}
	if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid {
		t.Errorf("mode %o, %d:%d; want %o, %d:%d", got.Mode, got.Uid, got.Gid, want.Mode, want.Uid, want.Gid)
	}
}

// TestWhiteout: what was removed stays so when a directory takes its place.
func TestWhiteout(t *testing.T) {
	r := root(t, map[string]string{"gone/old": "1"})
	if err := unix.Mknod(filepath.Join(r.Upper, "gone"), unix.S_IFCHR, 0); err != nil {
		t.Skipf("cannot make whiteouts here: %v", err)
	}
	if m := shows(t, r); len(m) != 1 {
		t.Fatalf("%v", m)
	}
	src := tree(t, map[string]string{"d/new": "N", "f": "F"})
	if err := r.Copy(context.Background(), filepath.Join(src, "f"), "/gone/in/f", Options{}); err != nil {
		t.Fatal(err)
	}
	if m := shows(t, r); m["gone/in/f"] != "F" || m["gone/old"] != "" {
		t.Errorf("%v", m)
	}
	if err := os.RemoveAll(filepath.Join(r.Upper, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(r.Upper, "gone"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Copy(context.Background(), filepath.Join(src, "d"), "/gone", Options{}); err != nil {
		t.Fatal(err)
	}
	if m := shows(t, r); m["gone/new"] != "N" || m["gone/old"] != "" || len(m) != 3 {
		t.Errorf("%v", m)
	}
}

// TestAttributes: modes, times, links between names, extended attributes.
func TestAttributes(t *testing.T) {
	r := root(t, nil)
	src := tree(t, map[string]string{"d/one": "1"})
	one := filepath.Join(src, "d/one")
	if err := os.Link(one, filepath.Join(src, "d/two")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(one, 0o4711); err != nil {
		t.Fatal(err)
	}
	hasXattr := unix.Setxattr(one, "user.mark", []byte("m"), 0) == nil
	when := unix.Timespec{Sec: 1000, Nsec: 5}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, one, []unix.Timespec{when, when}, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Copy(context.Background(), filepath.Join(src, "d"), "/d", Options{}); err != nil {
		t.Fatal(err)
	}
	var a, b unix.Stat_t
	if err := unix.Stat(filepath.Join(r.Upper, "d/one"), &a); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(filepath.Join(r.Upper, "d/two"), &b); err != nil {
		t.Fatal(err)
	}
	if a.Ino != b.Ino || a.Mode&0o7777 != 0o4711 || a.Mtim != when {
		t.Errorf("%+v and %+v", a, b)
	}
	buf := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(r.Upper, "d/one"), "user.mark", buf); hasXattr && (err != nil || string(buf[:n]) != "m") {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "/", "a/b", "../x", "a/../../b", "a/../b", "./.", "a//b/", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean, err := Clean(s)
		if err != nil {
			return
		}
		if strings.HasPrefix(clean, "/") || clean == "" || clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(clean, "/../") {
			t.Errorf("%q is %q", s, clean)
		}
		if again, err := Clean(clean); err != nil || again != clean {
			t.Errorf("%q, then %q, %v", clean, again, err)
		}
	})
}

// TestCopyOfWhatGrows: a file that is written to meanwhile is no copy, and leaves
// nothing in the image.
func TestCopyOfWhatGrows(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	r := root(t, nil)
	begun, done, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := int64(64 << 20); ; n++ {
			if err := f.Truncate(n + 1); err != nil {
				t.Error(err)
				return
			}
			if n == 64<<20 {
				close(begun)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	<-begun
	err = r.Copy(t.Context(), src, "/dst", Options{})
	close(done)
	<-ended
	if err == nil || !strings.Contains(err.Error(), "changed while it was copied") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(r.Upper); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
