// SPDX-License-Identifier: Apache-2.0

package store

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
)

func TestCommitMerges(t *testing.T) {
	s := newStore(t)
	rec := addImage(t, s, "a", "l1", "l2")
	rec.Names, rec.Trust = []string{"one"}, image.TrustDigest
	must(t, s.Commit(rec))
	first := rec.Imported

	again := rec
	again.Names, again.Trust, again.Imported = []string{"two", "two"}, image.TrustNone, first.Add(time.Hour)
	again.Layers = slices.Clone(rec.Layers)
	again.Layers[0].TreeSize = 0
	must(t, s.Commit(again))
	got, err := s.ByID(string(rec.ID))
	must(t, err)
	want := rec
	want.Names = []string{"two", "one"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	again.Names, again.Trust = []string{"one"}, image.TrustSignature
	must(t, s.Commit(again))
	got, err = s.ByID(string(rec.ID))
	must(t, err)
	want.Names, want.Trust = []string{"one", "two"}, image.TrustSignature
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if again.Layers[0].TreeSize != 0 {
		t.Error("Commit changed the caller's record")
	}
	verify(t, s)
}

func TestNameMoves(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"latest", "v1"}, "l")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(s.recordPath(a.ID), old, old))
	b := commitImage(t, s, "b", []string{"latest"}, "l")
	for name, want := range map[string]image.ID{"latest": b.ID, "v1": a.ID} {
		if got, err := s.ByName(name); err != nil || got.ID != want {
			t.Errorf("%s: %s, %v", name, got.ID, err)
		}
	}
	got, err := s.ByID(string(a.ID))
	must(t, err)
	if d := cmp.Diff([]string{"v1"}, got.Names); d != "" {
		t.Error(d)
	}
	if used, err := s.LastUsed(a.ID); err != nil || !used.Equal(old) {
		t.Errorf("losing a name counts as a use: %v, %v", used, err)
	}
	verify(t, s)
}

func TestCommitRefuses(t *testing.T) {
	s := newStore(t)
	good := addImage(t, s, "a", "l1", "l2")
	aci := addACI(t, s, "aci")
	for name, c := range map[string]struct {
		from   image.Record
		change func(*image.Record)
		want   string
	}{
		"no such manifest":   {good, func(r *image.Record) { r.Manifest = digestOf(nil); r.ID = r.Manifest.ID() }, "is not in the store"},
		"foreign ID":         {good, func(r *image.Record) { r.ID = digestOf(nil).ID() }, "its ID is not the digest"},
		"path as ID":         {good, func(r *image.Record) { r.ID = "sha256-../../x" }, "cannot parse digest"},
		"no such blob":       {good, func(r *image.Record) { r.Layers[1].Blob = digestOf(nil) }, "blob sha256:e3b0"},
		"wrong size":         {good, func(r *image.Record) { r.Layers[1].Size++ }, "bytes, not"},
		"no such tree":       {good, func(r *image.Record) { r.Layers[1].DiffID = digestOf(nil) }, "tree of layer sha256:e3b0"},
		"path as layer":      {good, func(r *image.Record) { r.Layers[1].DiffID = "tmp" }, "cannot parse digest"},
		"unknown format":     {good, func(r *image.Record) { r.Format = "tar" }, "unknown format"},
		"empty name":         {good, func(r *image.Record) { r.Names = []string{""} }, "cannot be its name"},
		"name of two lines":  {good, func(r *image.Record) { r.Names = []string{"a\nb"} }, "cannot be its name"},
		"name not in UTF-8":  {good, func(r *image.Record) { r.Names = []string{"a\xff"} }, "cannot be its name"},
		"ACI sans own layer": {aci, func(r *image.Record) { r.Layers = slices.Clone(good.Layers) }, "of a layer's tar"},
		"ACI by another ID":  {aci, func(r *image.Record) { r.ID = good.ID }, "of a layer's tar"},
		"no such part":       {aci, func(r *image.Record) { r.Parts = []image.Layer{{Blob: digestOf(nil), DiffID: digestOf(nil)}} }, "blob sha256:e3b0"},
		"ACI sans manifest":  {aci, func(r *image.Record) { r.Manifest = digestOf([]byte("?")) }, "is not in the store"},
		"manifest not JSON":  {good, func(r *image.Record) { r.Manifest = r.Layers[0].Blob; r.ID = r.Manifest.ID() }, "manifest sha256:"},
		"manifest sans conf": {good, func(r *image.Record) { r.Manifest = putBlob(t, s, []byte("{}")); r.ID = r.Manifest.ID() }, "cannot parse digest"},
	} {
		r := c.from
		r.Layers = slices.Clone(r.Layers)
		c.change(&r)
		err := s.Commit(r)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot store image ") {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	if all, err := s.List(); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	must(t, s.Close()) // the pins
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

// TestDamagedBlobIsReplaced: content that was proven just now does not give way
// to what lies under its name, though that has its size.
func TestDamagedBlobIsReplaced(t *testing.T) {
	s := newStore(t)
	content := []byte("content")
	d := putBlob(t, s, content)
	must(t, os.WriteFile(s.blobPath(d), []byte("damaged"), fileMode))
	putBlob(t, s, content)
	if b, err := os.ReadFile(s.blobPath(d)); err != nil || string(b) != "content" {
		t.Errorf("blob is %q, %v", b, err)
	}
	// The store's own documents likewise.
	d = digestOf([]byte("{}"))
	must(t, s.putBlob([]byte("{}")))
	must(t, os.WriteFile(s.blobPath(d), []byte("[]"), fileMode))
	must(t, s.putBlob([]byte("{}")))
	if b, err := os.ReadFile(s.blobPath(d)); err != nil || string(b) != "{}" {
		t.Errorf("document is %q, %v", b, err)
	}
	// Another user's stays if it may be believed, or is what it should be.
	if os.Geteuid() != 0 {
		return
	}
	d = putBlob(t, s, content)
	must(t, os.Chown(s.blobPath(d), 47001, -1))
	putBlob(t, s, content)
	if fi, err := os.Stat(s.blobPath(d)); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 47001 {
		t.Errorf("a good blob of another user's: %v, %v", fi, err)
	}
	s = reopen(t, s) // what was proven is proven as long as the process lives
	must(t, os.WriteFile(s.blobPath(d), []byte("damaged"), fileMode))
	must(t, os.Chown(s.blobPath(d), 47001, -1))
	putBlob(t, s, content)
	if b, err := os.ReadFile(s.blobPath(d)); err != nil || string(b) != "content" {
		t.Errorf("another user's damaged blob is %q, %v", b, err)
	}
}
