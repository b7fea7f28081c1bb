// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

type node struct {
	path string // with a slash at the end: a directory
	mode os.FileMode
	mark string // "whiteout" or "opaque"
}

var when = time.Unix(1_400_000_000, 7)

// layer makes a tree by hand, so that this package is tested without unpack.
func layer(t testing.TB, facts Facts, nodes ...node) Layer {
	t.Helper()
	root := t.TempDir()
	for _, n := range nodes {
		p := filepath.Join(root, n.path)
		var err error
		switch {
		case n.mark == "whiteout":
			err = unix.Mknod(p, unix.S_IFCHR, 0)
		case n.path[len(n.path)-1] == '/':
			if err = os.Mkdir(p, 0o700); err == nil {
				err = os.Chmod(p, n.mode)
			}
			if err == nil && n.mark == "opaque" {
				err = unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0)
			}
		default:
			err = os.WriteFile(p, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range slices.Backward(nodes) {
		if n.mark != "whiteout" {
			if err := os.Chtimes(filepath.Join(root, n.path), when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Layer{Root: f, Facts: facts}
}

func TestStack(t *testing.T) {
	needRoot(t)
	base := func() Layer {
		return layer(t, Facts{}, node{"a/", 0o701, ""}, node{"a/b/", 0o702, ""}, node{"a/b/f", 0, ""}, node{"c/", 0o703, ""})
	}
	type want map[string]os.FileMode
	for _, c := range []struct {
		name   string
		layers []Layer
		from   int
		dirs   want
	}{
		{"nothing", nil, 0, nil},
		{"one layer", []Layer{base()}, 0, nil},
		{"announced", []Layer{base(), layer(t, Facts{}, node{"a/", 0o755, ""})}, 0, nil},
		{"an implicit parent", []Layer{base(), layer(t, Facts{Implicit: []string{"a", "a/b"}}, node{"a/", 0o755, ""}, node{"a/b/", 0o755, ""})},
			0, want{".": 0o755, "a": 0o701, "a/b": 0o702}},
		{"implicit below announced", []Layer{base(), layer(t, Facts{Implicit: []string{"a/b"}}, node{"a/", 0o711, ""}, node{"a/b/", 0o755, ""})},
			0, want{".": 0o755, "a": 0o711, "a/b": 0o702}},
		{"the middle layer knows", []Layer{base(),
			layer(t, Facts{}, node{"a/", 0o707, ""}),
			layer(t, Facts{Implicit: []string{"a"}}, node{"a/", 0o755, ""})},
			0, want{".": 0o755, "a": 0o707}},
		{"implicit, then announced", []Layer{base(),
			layer(t, Facts{Implicit: []string{"a"}}, node{"a/", 0o755, ""}),
			layer(t, Facts{}, node{"a/", 0o706, ""})},
			0, nil},
		{"implicit where nothing was", []Layer{base(), layer(t, Facts{Implicit: []string{"new"}}, node{"new/", 0o755, ""})}, 0, nil},
		{"over an opaque directory", []Layer{base(), layer(t, Facts{Implicit: []string{"a", "a/b"}}, node{"a/", 0o755, "opaque"}, node{"a/b/", 0o755, ""})}, 0, nil},
		{"over a whiteout", []Layer{base(),
			layer(t, Facts{Hiding: []string{"."}}, node{"a", 0, "whiteout"}),
			layer(t, Facts{Implicit: []string{"a"}}, node{"a/", 0o755, ""})},
			0, nil},
		{"over a file", []Layer{base(),
			layer(t, Facts{}, node{"a", 0, ""}),
			layer(t, Facts{Implicit: []string{"a"}}, node{"a/", 0o755, ""})},
			0, nil},
		{"hidden by a later file", []Layer{base(),
			layer(t, Facts{Implicit: []string{"a", "a/b"}}, node{"a/", 0o755, ""}, node{"a/b/", 0o755, ""}),
			layer(t, Facts{}, node{"a", 0, ""})},
			0, nil},
		{"opaque root", []Layer{base(), layer(t, Facts{Opaque: true, Implicit: []string{"a"}}, node{"a/", 0o755, ""})}, 1, nil},
		{"whiteout in a merged directory", []Layer{base(), layer(t, Facts{Hiding: []string{"a/b"}}, node{"a/", 0o701, ""}, node{"a/b/", 0o702, ""}, node{"a/b/f", 0, "whiteout"})}, 0, nil},
		{"whiteout in a directory of one layer", []Layer{base(), layer(t, Facts{Hiding: []string{"x"}}, node{"x/", 0o704, ""}, node{"x/f", 0, "whiteout"})},
			0, want{".": 0o755, "x": 0o704}},
		{"whiteout in the only layer", []Layer{layer(t, Facts{Hiding: []string{".", "x"}}, node{"g", 0, "whiteout"}, node{"x/", 0o704, ""}, node{"x/f", 0, "whiteout"})},
			0, want{".": 0o755, "x": 0o704}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, l := range c.layers { // roots alike but where a case says otherwise
				if err := l.Root.Chmod(0o755); err != nil {
					t.Fatal(err)
				}
			}
			plan, err := Stack(c.layers, false)
			if err != nil {
				t.Fatal(err)
			}
			got := want{}
			for _, d := range plan.Dirs {
				got[d.Path] = os.FileMode(d.Mode)
			}
			if plan.From != c.from || len(got) != len(c.dirs) {
				t.Fatalf("got from %d, %v; want from %d, %v", plan.From, got, c.from, c.dirs)
			}
			for p, m := range c.dirs {
				if got[p] != m {
					t.Errorf("%s: mode %o, want %o", p, got[p], m)
				}
			}
		})
	}
}

func TestRootAttributes(t *testing.T) {
	needRoot(t)
	base := layer(t, Facts{}, node{"a/", 0o755, ""})
	if err := base.Root.Chmod(0o555); err != nil {
		t.Fatal(err)
	}
	above := layer(t, Facts{Implicit: []string{"."}}, node{"b/", 0o755, ""})
	if err := above.Root.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	plan, err := Stack([]Layer{base, above}, false)
	if err != nil || len(plan.Dirs) != 1 || plan.Dirs[0].Path != "." || plan.Dirs[0].Mode != 0o555 {
		t.Errorf("got %+v, %v", plan, err)
	}
	if err := base.Root.Chmod(0o755); err != nil { // then only the times differ
		t.Fatal(err)
	}
	if plan, err = Stack([]Layer{base, above}, false); err != nil || len(plan.Dirs) != 0 {
		t.Errorf("got %+v, %v", plan, err)
	}
}

func TestWrite(t *testing.T) {
	needRoot(t)
	p := Plan{Dirs: []Dir{
		{Path: ".", Mode: 0o751, UID: 1, GID: 2, Sec: 10, Nsec: 11},
		{Path: "a", Mode: 0o1777, UID: 70000, GID: 80000, Sec: -5, Nsec: 1, Xattrs: map[string][]byte{"user.x": []byte("y\x00"), "trusted.z": {}}},
		{Path: "a/b", Mode: 0o2000, Sec: 20},
	}}
	root, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := p.Write(root); err != nil {
		t.Fatal(err)
	}
	// What was written is what a comparison would read again.
	s := stack{opaque: "trusted.overlay.opaque"}
	for _, d := range p.Dirs {
		got, _, err := s.lookup(&Layer{Root: root}, d.Path)
		if err != nil || got == nil || !same(got.dir, d, true) {
			t.Errorf("%s: got %+v, %v", d.Path, got, err)
		}
	}
	if err := p.Write(root); err == nil {
		t.Error("wrote over a tree")
	}
}

func TestDigest(t *testing.T) {
	a := Plan{Dirs: []Dir{{Path: ".", Mode: 0o755}, {Path: "a", Xattrs: map[string][]byte{"user.a": {1}, "user.b": {2}}}}}
	b := Plan{From: 3, Dirs: []Dir{{Path: ".", Mode: 0o755}, {Path: "a", Xattrs: map[string][]byte{"user.b": {2}, "user.a": {1}}}}}
	if a.Digest() != b.Digest() {
		t.Error("the same directories have two digests")
	}
	b.Dirs[1].Nsec = 1
	if a.Digest() == b.Digest() {
		t.Error("other directories have the same digest")
	}
	if want := "sha256:9ab3845260a7b4e3ac2723b78de044c9a34671eed61b0297297a5060c354cedc"; string(Plan{}.Digest()) != want {
		t.Errorf("digests of stored trees must stay: got %s, want %s", Plan{}.Digest(), want)
	}
}
