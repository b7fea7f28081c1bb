// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/internal/image"
)

func free() (func(), error) { return func() {}, nil }

func TestReplaceLayer(t *testing.T) {
	s := newStore(t)
	rec := commitImage(t, s, "c", []string{"n"}, "base")
	id := rec.Layers[0].DiffID
	content := func() string {
		b, err := os.ReadFile(filepath.Join(s.LayerPath(id), "file"))
		must(t, err)
		return string(b)
	}
	fresh := func(text string) *LayerDir {
		d, err := s.NewLayer()
		must(t, err)
		must(t, os.WriteFile(filepath.Join(d.Path(), "file"), []byte(text), 0o644))
		return d
	}
	busy := errors.New("a pod runs on it")
	if err := s.ReplaceLayer(id, fresh("new"), func() (func(), error) { return nil, busy }); !errors.Is(err, busy) {
		t.Errorf("%v", err)
	}
	if got := content(); got != "base" {
		t.Errorf("a tree in use became %q", got)
	}
	released := false
	must(t, s.ReplaceLayer(id, fresh("new"), func() (func(), error) {
		if got := content(); got != "base" {
			t.Errorf("replaced before it was idle: %q", got)
		}
		return func() { released = content() == "new" }, nil
	}))
	if got := content(); got != "new" || !released {
		t.Errorf("%q, released after: %v", got, released)
	}
	must(t, os.RemoveAll(s.LayerPath(id)))
	must(t, s.ReplaceLayer(id, fresh("again"), free))
	if got := content(); got != "again" {
		t.Error(got)
	}
	verify(t, s)
	if left, _ := os.ReadDir(filepath.Join(s.layers, "tmp")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestMend(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"one", "two"}, "base")
	aci := addACI(t, s, "aci")
	aci.Names, aci.Name = []string{"three"}, "example.com/aci"
	must(t, s.Commit(aci))
	right := func() {
		t.Helper()
		wrong, err := s.Mend()
		must(t, err)
		if len(wrong) != 0 {
			t.Errorf("still wrong: %q", wrong)
		}
		verify(t, s)
	}
	right()
	index := filepath.Join(s.images, "index.json")
	d, err := s.describe(&aci)
	must(t, err)
	for name, c := range map[string]struct {
		harm func() error
		want string
	}{
		"no name":        {func() error { return os.Remove(s.namePath("one")) }, `is not found by its name "one"`},
		"torn name":      {func() error { return os.WriteFile(s.namePath("one"), []byte("?"), 0o640) }, "is not the name of an image"},
		"another's name": {func() error { return os.WriteFile(s.namePath("one"), []byte(string(aci.ID)+" one\n"), 0o640) }, `name "one" stands for image sha512-`},
		"nobody's name": {func() error {
			return os.WriteFile(s.namePath("x"), []byte("sha256-"+strings.Repeat("0", 64)+" x\n"), 0o640)
		}, "which is not stored"},
		"misplaced":   {func() error { return os.WriteFile(s.namePath("y"), []byte(string(a.ID)+" one\n"), 0o640) }, "is not named after the name in it"},
		"no index":    {func() error { return os.Remove(index) }, "index.json does not list"},
		"torn index":  {func() error { return os.Truncate(index, 9) }, "index.json does not list"},
		"no stand-in": {func() error { return os.Remove(s.blobPath(d.Digest)) }, "leads nowhere"},
		"no shelf":    {func() error { return os.RemoveAll(s.shelf("example.com/aci")) }, "by its appc name"},
		"on a wrong one": {func() error {
			return errors.Join(os.Mkdir(s.shelf("z"), 0o750), os.WriteFile(s.shelf("z")+"/"+string(aci.ID), nil, 0o640))
		}, "not its own"},
		"of no one": {func() error { return os.WriteFile(s.shelf("example.com/aci")+"/"+string(a.ID), nil, 0o640) }, "not its own"},
		"a stranger's ID": {func() error {
			return os.WriteFile(s.shelf("example.com/aci")+"/../../names/"+strings.Repeat("f", 64), nil, 0o640)
		}, "is not the name of an image"},
	} {
		must(t, c.harm())
		wrong, err := s.Mend()
		if err != nil || !strings.Contains(strings.Join(wrong, "\n"), c.want) {
			t.Errorf("%s: %q, %v; want %q", name, wrong, err, c.want)
		}
		right()
	}
	// With a record that cannot be read nothing is certain, and nothing is done.
	must(t, os.Truncate(s.recordPath(a.ID), 5))
	must(t, os.Truncate(index, 9))
	if wrong, err := s.Mend(); err == nil {
		t.Errorf("mended %q", wrong)
	}
	_, torn, err := s.Records()
	must(t, err)
	if torn[a.ID] == nil || len(torn) != 1 {
		t.Errorf("%v", torn)
	}
	names, err := s.NamesOf(a.ID)
	must(t, err)
	if strings.Join(names, " ") != "one two" {
		t.Errorf("%q", names)
	}
}

func TestDropAndRewrite(t *testing.T) {
	s := newStore(t)
	rec := commitImage(t, s, "a", []string{"n"}, "base")
	must(t, s.DropBlob(rec.Layers[0].Blob))
	must(t, s.DropBlob(rec.Layers[0].Blob))
	if _, ok := s.HasBlob(rec.Layers[0].Blob); ok {
		t.Error("a dropped blob is there")
	}
	rec.App, rec.Trust, rec.Names = &image.App{User: "7"}, image.TrustSignature, nil
	must(t, s.Rewrite(rec))
	got, err := s.ByName("n")
	must(t, err)
	if got.App.User != "7" || got.Trust != image.TrustNone || len(got.Names) != 1 {
		t.Errorf("%+v: only what the image says may change", got)
	}
	rec.ID = "sha256-" + image.ID(strings.Repeat("0", 64))
	if err := s.Rewrite(rec); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestClaimedStays: a record of another user's is never written anew, which
// would make it ours, and says nothing of who signed it.
func TestClaimedStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: for another user's files")
	}
	s := newStore(t)
	r := named(t, s, "a", "example.com/app")
	r.Trust, r.SignedBy = image.TrustSignature, []image.Signer{{Kind: image.OpenPGP, Key: "k", Name: r.Name}}
	must(t, s.Commit(r))
	if r, err := s.ByID(string(r.ID)); err != nil || len(r.SignedBy) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	must(t, os.Chown(s.recordPath(r.ID), 12345, -1))
	got, err := s.ByID(string(r.ID))
	must(t, err)
	if !got.Claimed || got.Trust != image.TrustNone || got.SignedBy != nil {
		t.Errorf("believed: %+v", got)
	}
	if err := s.Rewrite(got); err == nil {
		t.Error("written again")
	}
	_, err = s.Mend()
	must(t, err)
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	if fi, err := os.Stat(s.recordPath(r.ID)); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 12345 {
		t.Errorf("now it is ours: %v", err)
	}
}
