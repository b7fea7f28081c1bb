// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/render"
)

// tree maps paths to what is there: "dir", "-> TARGET" or a file's content.
type tree map[string]string

func (m tree) write(t *testing.T) render.Tree {
	t.Helper()
	dir := t.TempDir()
	for _, p := range slices.Sorted(keys(m)) {
		full := filepath.Join(dir, p)
		var err error
		if target, ok := strings.CutPrefix(m[p], "-> "); ok {
			err = os.Symlink(target, full)
		} else if m[p] == "dir" {
			err = os.Mkdir(full, 0o755)
		} else {
			err = os.WriteFile(full, []byte(m[p]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return render.Tree{Root: root}
}

func keys(m tree) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func read(t *testing.T, dir string) tree {
	t.Helper()
	m := tree{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		switch d.Type() {
		case fs.ModeDir:
			m[name] = "dir"
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			m[name] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(p)
			m[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t *testing.T, steps []render.Step, trees []render.Tree) string {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := render.Write(t.Context(), steps, trees, dir); err != nil {
		t.Fatal(err)
	}
	return dir.Name()
}

// oracle says what is at a path of a step, by looking for it from above: the
// other way round than Write works.
type oracle struct {
	steps    []render.Step
	trees    []tree
	universe []string
}

func (o oracle) at(i int, p string) (what string, ok bool) {
	what, ok = o.unfiltered(i, p)
	keep := o.steps[i].Keep
	if !ok || len(keep) == 0 {
		return what, ok
	}
	for _, k := range keep {
		k = strings.Trim(k, "/")
		if _, there := o.unfiltered(i, k); there && (k == p || strings.HasPrefix(k, p+"/")) {
			return what, true
		}
	}
	return "", false
}

func (o oracle) unfiltered(i int, p string) (string, bool) {
	s := o.steps[i]
	from := []func(string) (string, bool){func(p string) (string, bool) { w, ok := o.trees[s.Tree][p]; return w, ok }}
	for _, u := range slices.Backward(s.Under) {
		from = append(from, func(p string) (string, bool) { return o.at(u, p) })
	}
	for _, look := range from {
		if w, ok := look(p); ok {
			return w, true
		}
		for up := path.Dir(p); up != "."; up = path.Dir(up) {
			if w, ok := look(up); ok && w != "dir" {
				return "", false
			}
		}
	}
	return "", false
}

func TestAgainstOracle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners are set")
	}
	names := []string{"a", "b", "c"}
	for seed := range int64(60) {
		r := rand.New(rand.NewSource(seed))
		o := oracle{}
		for _, a := range names {
			o.universe = append(o.universe, a)
			for _, b := range names {
				o.universe = append(o.universe, a+"/"+b)
				for _, c := range names {
					o.universe = append(o.universe, a+"/"+b+"/"+c)
				}
			}
		}
		n := 2 + r.Intn(4)
		var trees []render.Tree
		for i := range n {
			m := tree{}
			for _, p := range o.universe {
				if up := path.Dir(p); up != "." && m[up] != "dir" || r.Intn(3) == 0 {
					continue
				}
				switch r.Intn(5) {
				case 0:
					m[p] = fmt.Sprintf("file of %d", i)
				case 1:
					m[p] = "-> a"
				default:
					m[p] = "dir"
				}
			}
			o.trees = append(o.trees, m)
			trees = append(trees, m.write(t))
			s := render.Step{Tree: i}
			for u := range i {
				if r.Intn(2) == 0 {
					s.Under = append(s.Under, u)
				}
			}
			r.Shuffle(len(s.Under), func(a, b int) { s.Under[a], s.Under[b] = s.Under[b], s.Under[a] })
			if r.Intn(3) == 0 {
				for range 1 + r.Intn(8) {
					s.Keep = append(s.Keep, "/"+o.universe[r.Intn(len(o.universe))]+[]string{"", "/"}[r.Intn(2)])
				}
			}
			o.steps = append(o.steps, s)
		}
		want := tree{}
		for _, p := range o.universe {
			if w, ok := o.at(n-1, p); ok {
				want[p] = w
			}
		}
		if d := cmp.Diff(want, read(t, write(t, o.steps, trees))); d != "" {
			t.Fatalf("seed %d, steps %+v: (-want +got)\n%s", seed, o.steps, d)
		}
	}
}

// What find(1) tells of each file is the same before and after.
func TestAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners are set")
	}
	tr := tree{"bin": "dir", "bin/su": "x", "etc": "dir", "etc/f": "file", "l": "-> etc/f", "hole": "", "etc/empty": "dir"}.write(t)
	dir := tr.Root.Name()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Chown(dir+"/bin/su", 7, 8))
	check(unix.Chmod(dir+"/bin/su", 0o4751))
	check(os.Link(dir+"/bin/su", dir+"/etc/su2"))
	check(os.Lchown(dir+"/l", 9, 10))
	check(unix.Mkfifo(dir+"/fifo", 0o620))
	check(unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(unix.Setxattr(dir+"/etc/f", "user.a", []byte("b"), 0))
	check(unix.Setxattr(dir+"/bin/su", "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	f, err := os.OpenFile(dir+"/hole", os.O_WRONLY, 0)
	check(err)
	_, err = f.WriteAt([]byte("end"), 3<<20)
	check(err)
	check(f.Close())
	check(os.Chmod(dir+"/etc/empty", 0o1777))
	when := time.Unix(1000000000, 123456789)
	for _, p := range []string{"/bin/su", "/etc/f", "/etc/empty", "/etc", "/bin", ""} {
		check(os.Chtimes(dir+p, when, when))
	}
	check(unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/l", []unix.Timespec{{Sec: 5}, {Sec: 5}}, unix.AT_SYMLINK_NOFOLLOW))
	got := write(t, []render.Step{{}}, []render.Tree{tr})
	list := func(dir string) string {
		cmd := exec.Command("sh", "-c", `find . -printf '%p %y %m %U:%G %s %n %T@ %l\n' | sort; getfattr -Rhd -m - . 2>/dev/null; find . -type f -exec sha256sum {} + | sort`)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if d := cmp.Diff(list(dir), list(got)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	var a, b unix.Stat_t
	check(unix.Stat(got+"/bin/su", &a))
	check(unix.Stat(got+"/etc/su2", &b))
	if a.Ino != b.Ino {
		t.Error("a hard link became a file of its own")
	}
	check(unix.Stat(got+"/hole", &a))
	if a.Blocks*512 > 1<<20 {
		t.Errorf("a hole was filled: %d blocks", a.Blocks)
	}
}

// A directory that an image has no entry for leaves alone what lies below.
func TestImplicit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners are set")
	}
	low, high := tree{"d": "dir"}.write(t), tree{"d": "dir", "d/f": "x"}.write(t)
	if err := os.Chmod(low.Root.Name()+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	mode := func(trees ...render.Tree) fs.FileMode {
		fi, err := os.Stat(write(t, []render.Step{{Tree: 0}, {Tree: 1, Under: []int{0}}}, trees) + "/d")
		if err != nil {
			t.Fatal(err)
		}
		return fi.Mode().Perm()
	}
	if m := mode(low, high); m != 0o755 {
		t.Errorf("explicit: mode %o", m)
	}
	high.Implicit = []string{"d"}
	if m := mode(low, high); m != 0o700 {
		t.Errorf("implicit: mode %o", m)
	}
}

func TestValidate(t *testing.T) {
	for _, steps := range [][]render.Step{nil, {{Tree: 1}}, {{Tree: -1}}, {{Under: []int{0}}}, {{}, {Under: []int{1}}}, {{}, {Under: []int{-1}}}} {
		if render.Validate(steps, 1) == nil {
			t.Errorf("took %+v", steps)
		}
	}
}
