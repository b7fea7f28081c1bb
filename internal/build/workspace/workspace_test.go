// SPDX-License-Identifier: Apache-2.0

package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/build/manifest"
)

func create(t *testing.T, path string, m Mode) *Workspace {
	t.Helper()
	w, err := Create(path, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.NewLayer(); err != nil {
		t.Fatal(err)
	}
	if err := w.Save(); err != nil {
		t.Fatal(err)
	}
	return w
}

// wants that err says text.
func wants(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want %q", err, text)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range []Mode{AppC, OCI} {
		dir := t.TempDir()
		w := create(t, dir, m)
		for _, err := range []error{w.Doc.AddLabel("version", "1"), w.Doc.AddAnnotation("a", "b"), w.NewLayer()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.Note([]string{"acbuild", "copy", "a b", `c"d`, ""}, true)
		if err := w.Save(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		again, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := again.State
		if s.Mode != m || s.Layers != 2 || len(s.History) != 1 || s.History[0].Command != `acbuild copy "a b" "c\"d" ""` || s.History[0].Layer != 1 {
			t.Errorf("%+v", s)
		}
		if err := again.Doc.RemoveLabel("version"); err != nil {
			t.Error(err)
		}
		if err := again.Doc.RemoveAnnotation("a"); err != nil {
			t.Error(err)
		}
		if _, ok := again.Doc.(*manifest.OCI); ok != (m == OCI) {
			t.Errorf("%T in mode %s", again.Doc, m)
		}
		if lower := again.Lower(again.Top()); len(lower) != 1 || lower[0] != again.Layer(0) {
			t.Errorf("%q", lower)
		}
		again.Close()
		if err := End(dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, dirName)); !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, AppC)
	_, err := Open(dir)
	wants(t, err, "another acbuild is working on it")
	wants(t, End(dir), "another acbuild is working on it")
	_, err = Create(dir, AppC)
	wants(t, err, "another acbuild is working on it")
	w.Close()
	_, err = Create(dir, AppC)
	wants(t, err, "one is open")
}

// TestKilled: what a begin or a command leaves that is killed is no build, or the
// build as it was.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	wants(t, err, "none was begun")
	wants(t, End(dir), "none was begun")
	w, err := Create(dir, OCI)
	if err != nil {
		t.Fatal(err)
	}
	w.Close() // before the first Save
	_, err = Open(dir)
	wants(t, err, "never came to be")
	w = create(t, dir, AppC)
	left := filepath.Join(w.Dir, "tmp", "copy-1", "x")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.Doc.AddLabel("version", "1"); err != nil {
		t.Fatal(err)
	}
	w.Close() // without Save
	if w, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Doc.RemoveLabel("version"); err == nil {
		t.Error("a change was kept that nobody saved")
	}
	if _, err := os.Lstat(filepath.Dir(left)); !os.IsNotExist(err) {
		t.Errorf("what was on its way is still there: %v", err)
	}
}

func TestDamaged(t *testing.T) {
	for name, c := range map[string]struct{ file, text, says string }{
		"no JSON":         {"state.json", "{", "unexpected end"},
		"another version": {"state.json", `{"version":9,"mode":"appc","layers":1}`, "it is of version 9"},
		"no layer":        {"state.json", `{"version":1,"mode":"appc","layers":0}`, "no layer"},
		"another mode":    {"state.json", `{"version":1,"mode":"x","layers":1}`, `no mode "x"`},
		"bad manifest":    {"manifest", "{}", "acKind"},
	} {
		dir := t.TempDir()
		w := create(t, dir, AppC)
		w.Close()
		if err := os.WriteFile(filepath.Join(w.Dir, c.file), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if err := End(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeign: a link, a file, another user's directory.
func TestForeign(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	w := create(t, elsewhere, AppC)
	w.Close()
	if err := os.Symlink(w.Dir, filepath.Join(dir, dirName)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	wants(t, err, "is no directory")
	wants(t, End(dir), "is no directory")
	_, err = Create(dir, AppC)
	wants(t, err, "is no directory")
	if _, err := os.Lstat(filepath.Join(w.Dir, "state.json")); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Lchown(w.Dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err = Open(elsewhere)
	wants(t, err, "another user's")
	wants(t, End(elsewhere), "another user's")
}

// TestBaseGone: one line says what the build stood on.
func TestBaseGone(t *testing.T) {
	w := create(t, t.TempDir(), OCI)
	defer w.Close()
	if err := w.Check(); err != nil {
		t.Error(err)
	}
	w.State.Base = &Base{ID: "sha256-aa", Name: "docker://x/y", Trees: []string{"/nowhere/at/all"}}
	wants(t, w.Check(), `the image "docker://x/y" that the build began with is gone`)
}

// A layer's set-user-ID program is in nobody else's reach.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	mode := func(when string) {
		t.Helper()
		fi, err := os.Stat(filepath.Join(dir, ".acbuild"))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %o", when, fi.Mode().Perm())
		}
	}
	create(t, dir, OCI).Close()
	mode("made")
	if err := os.Chmod(filepath.Join(dir, ".acbuild"), 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	mode("opened")
	if err := os.Remove(filepath.Join(dir, ".acbuild", "state.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, ".acbuild"), 0o755); err != nil {
		t.Fatal(err)
	}
	create(t, dir, OCI).Close()
	mode("begun again")
}
