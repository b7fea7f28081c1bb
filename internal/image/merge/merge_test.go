// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/linux/mount"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// layer makes a tree: "d/" a directory, "d/!" an opaque mark, "-f" a whiteout,
// "f" a file that holds the layer's name.
func layer(t *testing.T, name string, entries ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), name)
	must(t, os.Mkdir(root, 0o755))
	for _, e := range entries {
		dir, base := filepath.Split(e)
		path := filepath.Join(root, dir)
		must(t, os.MkdirAll(path, 0o755))
		switch {
		case base == "":
		case base == "!":
			must(t, unix.Setxattr(path, UserMarks+"opaque", []byte("y"), 0))
		case base[0] == '-':
			if err := unix.Mknod(filepath.Join(path, base[1:]), unix.S_IFCHR, 0); err != nil {
				t.Skipf("needs a kernel that lets users make whiteouts: %v", err)
			}
		default:
			must(t, os.WriteFile(filepath.Join(path, base), []byte(name), 0o644))
		}
	}
	return root
}

// list reads a stack as "path" of directories and "path=content" of files.
func list(t *testing.T, s *Stack) []string {
	t.Helper()
	var out []string
	must(t, s.Walk(func(e *Entry) error {
		line := e.Path
		switch e.Type() {
		case unix.S_IFREG:
			f, err := e.Open()
			if err != nil {
				return err
			}
			defer f.Close()
			b, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			line += "=" + string(b)
		case unix.S_IFLNK:
			l, err := e.Link()
			if err != nil {
				return err
			}
			line += "->" + l
		}
		out = append(out, line)
		return nil
	}))
	return out
}

func TestLayers(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]string // lowest first
		want   string
	}{
		{"upper wins", [][]string{{"f", "d/g"}, {"f", "d/h"}}, ". d d/g=0 d/h=1 f=1"},
		{"whiteout", [][]string{{"f", "d/g", "d/h"}, {"-f", "d/-g"}}, ". d d/h=0"},
		{"whiteout of a directory, and it again", [][]string{{"d/g"}, {"-d"}, {"d/h"}}, ". d d/h=2"},
		{"opaque", [][]string{{"d/g", "d/e/f"}, {"d/!", "d/h"}, {"d/e/i"}}, ". d d/e d/e/i=2 d/h=1"},
		{"opaque root", [][]string{{"f"}, {"!", "g"}}, ". g=1"},
		{"file over directory", [][]string{{"d/g"}, {"d"}}, ". d=1"},
		{"directory over file", [][]string{{"d"}, {"d/g"}}, ". d d/g=1"},
		{"file between directories", [][]string{{"d/a"}, {"d"}, {"d/b"}}, ". d d/b=2"},
		{"whiteout of nothing", [][]string{{"a"}, {"-b", "c/-d"}}, ". a=0 c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var paths []string
			for i, entries := range c.layers {
				paths = append(paths, layer(t, strconv.Itoa(i), entries...))
			}
			s, err := OpenUser(paths...)
			must(t, err)
			defer s.Close()
			if got := strings.Join(list(t, s), " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What stands where a directory was, or leads out, is not followed.
func TestSwapped(t *testing.T) {
	root := layer(t, "x", "d/f", "g")
	s, err := OpenUser(root)
	must(t, err)
	defer s.Close()
	top, err := s.Root()
	must(t, err)
	in, err := top.Children()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "new"), nil, 0o600)) // now, so that its inode is another
	must(t, os.Rename(filepath.Join(root, "d"), filepath.Join(root, "old")))
	must(t, os.Symlink("/etc", filepath.Join(root, "d")))
	if got, err := in[0].Children(); !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("%v, %v", got, err)
	}
	must(t, os.Remove(filepath.Join(root, "g")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(root, "g")))
	if f, err := in[1].Open(); err == nil {
		f.Close()
		t.Error("followed a link")
	}
	must(t, os.Rename(filepath.Join(root, "new"), filepath.Join(root, "g")))
	if f, err := in[1].Open(); err == nil {
		f.Close()
		t.Error("took another file")
	}
}

func TestRaw(t *testing.T) {
	root := layer(t, "x", "-f", "d/!")
	f, err := os.Open(root)
	must(t, err)
	defer f.Close()
	if got := strings.Join(list(t, Raw(f)), " "); got != ". d f" {
		t.Error(got)
	}
}

// The kernel's own overlayfs is the oracle: it writes, renames directories with
// a note (redirect_dir=on), and shows what it thinks of it.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(seed, 1))
			lower := []string{filepath.Join(dir, "0")}
			must(t, os.Mkdir(lower[0], 0o755))
			scribble(t, r, lower[0], "0", 60)
			for i := 1; i < 4; i++ {
				upper, work := filepath.Join(dir, strconv.Itoa(i)), filepath.Join(dir, "work"+strconv.Itoa(i))
				must(t, os.Mkdir(upper, 0o755))
				must(t, os.Mkdir(work, 0o755))
				top := slices.Clone(lower)
				slices.Reverse(top)
				fd, err := mount.New("overlay", 0, "lowerdir="+strings.Join(top, ":"), "upperdir="+upper, "workdir="+work, "redirect_dir=on", "metacopy=off", "index=off")
				if err != nil {
					t.Skipf("needs overlayfs: %v", err)
				}
				root := "/proc/self/fd/" + strconv.Itoa(fd) + "/."
				scribble(t, r, root, strconv.Itoa(i), 40)
				lower = append(lower, upper)
				s, err := Open(lower...)
				must(t, err)
				got, want := list(t, s), kernelList(t, root)
				s.Close()
				unix.Close(fd)
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("layer %d (-kernel +merge)\n%s", i, d)
				}
			}
		})
	}
}

// scribble makes, renames and removes things at random.
func scribble(t *testing.T, r *rand.Rand, root, word string, n int) {
	t.Helper()
	names := []string{"a", "b", "c"}
	pick := func() string {
		p := names[r.IntN(3)]
		for range r.IntN(3) {
			p += "/" + names[r.IntN(3)]
		}
		return filepath.Join(root, p)
	}
	for range n {
		p := pick()
		switch r.IntN(7) {
		case 0, 1:
			_ = os.MkdirAll(p, 0o755)
		case 2:
			_ = os.WriteFile(p, []byte(word), 0o644)
		case 3:
			_ = os.RemoveAll(p)
		case 4, 5:
			_ = os.Rename(p, pick())
		case 6:
			_ = os.Symlink(word, p)
		}
	}
}

func kernelList(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line := "."
		if path != root {
			line = strings.TrimPrefix(path, filepath.Clean(root)+"/")
		}
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += "=" + string(b)
		case d.Type()&fs.ModeSymlink != 0:
			l, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += "->" + l
		}
		out = append(out, line)
		return nil
	}))
	return out
}
