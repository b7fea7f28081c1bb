// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/diff"
	"github.com/rkt/rkt/internal/image/merge"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) *merge.Stack {
	t.Helper()
	s, err := merge.OpenUser(path)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// tree makes a tree with one of everything that the caller may make.
func tree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(p("d/e"), 0o755))
	must(t, os.WriteFile(p("d/e/file"), []byte("content"), 0o640))
	must(t, os.Link(p("d/e/file"), p("hard")))
	must(t, os.Symlink("/etc/passwd", p("link")))
	must(t, os.Link(p("link"), p("link2")))
	must(t, unix.Mkfifo(p("fifo"), 0o622))
	f, err := os.Create(p("sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 4<<20)
	must(t, errors.Join(err, f.Truncate(16<<20), f.Close()))
	if err := unix.Setxattr(p("d/e/file"), "user.k", []byte("v\x00"), 0); err != nil {
		t.Skipf("needs user.* attributes: %v", err)
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(p("d/e/file"), 12, 34))
		must(t, os.Chmod(p("d/e/file"), 0o750|os.ModeSetuid))
		must(t, unix.Setxattr(p("d/e/file"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
		must(t, unix.Mknod(p("zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		must(t, os.Chmod(p("d"), 0o1777|os.ModeSticky))
	}
	for _, name := range []string{"d/e/file", "link", "fifo", "sparse", "d/e", "d", "."} {
		ts := unix.Timespec{Sec: -7, Nsec: 123456789}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

func TestTree(t *testing.T) {
	from := tree(t)
	to := filepath.Join(t.TempDir(), "to")
	must(t, Directory(to, false, func(dir *os.File) error {
		return Tree(context.Background(), open(t, from), dir, func(what, path string) { t.Errorf("left out: %s %s", what, path) })
	}))
	must(t, diff.Trees(context.Background(), open(t, from), open(t, to), diff.Options{Exact: true}, func(c diff.Change) error {
		t.Errorf("%+v", c)
		return nil
	}))
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(to, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("a file with two holes takes %d bytes", st.Blocks*512)
	}
}

func TestDirectory(t *testing.T) {
	good := func(dir *os.File) error { return os.WriteFile(filepath.Join(dir.Name(), "new"), nil, 0o644) }
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Directory(path, false, func(d *os.File) error { return errors.Join(good(d), errors.New("torn")) }); err == nil {
		t.Error("no error")
	}
	left := func(want ...string) {
		t.Helper()
		list, err := os.ReadDir(dir)
		must(t, err)
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
		}
		if strings.Join(names, " ") != strings.Join(want, " ") {
			t.Errorf("there is %q, want %q", names, want)
		}
	}
	left()
	must(t, os.MkdirAll(filepath.Join(path, "old/deep"), 0o755))
	if err := Directory(path, false, good); err == nil || hint.Of(err) == "" {
		t.Errorf("%v", err)
	}
	if err := Directory(path, true, func(*os.File) error { return errors.New("torn") }); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(path, "old/deep")); err != nil {
		t.Errorf("an error took what was there: %v", err)
	}
	must(t, Directory(path, true, good))
	left("a")
	if _, err := os.Stat(filepath.Join(path, "new")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "old")); !os.IsNotExist(err) {
		t.Errorf("the old directory was mixed with the new: %v", err)
	}

	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	for path, want := range map[string]string{
		"/": "root of this system", "/.": "root of this system", "/proc/self/root": "root of this system", "/proc": "mounted there",
		filepath.Join(dir, "file"): "no directory", filepath.Join(dir, "link"): "no directory",
		filepath.Join(dir, "none/x"): "no such file", filepath.Join(dir, "file/x"): "not a directory",
	} {
		if err := Directory(path, true, good); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	left("a", "file", "link")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	to := filepath.Join(t.TempDir(), "to")
	err := Directory(to, false, func(dir *os.File) error {
		return Tree(ctx, open(t, tree(t)), dir, func(string, string) {})
	})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(to); !os.IsNotExist(err) {
		t.Errorf("half a directory stays: %v", err)
	}
}
