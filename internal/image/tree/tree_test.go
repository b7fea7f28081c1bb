// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
)

func digest(s string) image.Digest {
	sum := sha256.Sum256([]byte(s))
	return image.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// record makes an image of layers by name, whose trees hold a file of that name
// and one that says it.
func record(t *testing.T, st *store.Store, layers ...string) image.Record {
	t.Helper()
	rec := image.Record{ID: digest("image").ID()}
	for _, l := range layers {
		d, err := st.NewLayer()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{l, "top"} {
			if err := os.WriteFile(filepath.Join(d.Path(), f), []byte(l), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Commit(digest(l)); err != nil {
			t.Fatal(err)
		}
		rec.Layers = append(rec.Layers, image.Layer{DiffID: digest(l)})
	}
	return rec
}

func TestFor(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"", ""},
		{"a", "a"},
		{"a b c", "a b c"},
		{"a b a", "b a"},
		{"a a b b c a", "b c a"},
	} {
		got, err := For(record(t, st, strings.Fields(c[0])...), st)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		for _, l := range strings.Fields(c[1]) {
			want = append(want, st.LayerPath(digest(l)))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c[0], d)
		}
		for _, p := range got {
			if !filepath.IsAbs(p) {
				t.Errorf("%s is not absolute", p)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rec := record(t, st, "a", "b")
	path := st.LayerPath(digest("b"))
	for _, damage := range []func() error{
		func() error { return os.RemoveAll(path) },
		func() error { return os.WriteFile(path, nil, 0o600) },
		func() error { rec.Layers[1].DiffID = "no digest"; return nil },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		_, err := For(rec, st)
		if !errors.Is(err, ErrMissing) || !strings.HasPrefix(err.Error(), "cannot use layer ") || !strings.Contains(hint.Of(err), "rkt image rm "+rec.ID.Short()) {
			t.Errorf("%v (%s)", err, hint.Of(err))
		}
	}
}

// The kernel takes what For lists, and shows the uppermost layer's file.
func TestOverlay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if lower := os.Getenv("TREE_TEST_LOWER"); lower != "" { // in a mount namespace of its own
		target := os.Getenv("TREE_TEST_TARGET")
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("overlay", target, "overlay", 0, "lowerdir="+lower); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(target + "/top")
		fmt.Printf("top is %q, %v\n", b, err)
		return
	}
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	paths, err := For(record(t, st, "a", "b", "c", "a"), st)
	if err != nil {
		t.Fatal(err)
	}
	lower := ""
	for _, p := range paths {
		lower = p + ":" + lower // overlayfs wants the uppermost first
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOverlay$", "-test.v")
	cmd.Env = append(os.Environ(), "TREE_TEST_LOWER="+strings.TrimSuffix(lower, ":"), "TREE_TEST_TARGET="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `top is "a", <nil>`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestMerged: one tree has what an overlay of them all would show, and lives as
// long as the image does.
func TestMerged(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	one := record(t, st, "alone")
	if got, err := Merged(t.Context(), one, st); err != nil || got != st.LayerPath(digest("alone")) {
		t.Errorf("of one tree: %q, %v", got, err)
	}
	rec := record(t, st, "a", "b", "c")
	got, err := Merged(t.Context(), rec, st)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "a", "b": "b", "c": "c", "top": "c"} {
		if b, err := os.ReadFile(filepath.Join(got, name)); string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if got != st.LayerPath(rec.MergedTree()) {
		t.Errorf("it lies at %s", got)
	}
	var before, after syscall.Stat_t
	_ = syscall.Stat(got, &before)
	if again, err := Merged(t.Context(), rec, st); err != nil || again != got {
		t.Errorf("again: %q, %v", again, err)
	}
	if _ = syscall.Stat(got, &after); before.Ino != after.Ino {
		t.Error("it was made twice")
	}
	other := record(t, st, "a", "c", "b")
	if other.MergedTree() == rec.MergedTree() {
		t.Error("the order of layers does not count")
	}
}
