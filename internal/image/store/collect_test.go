// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/flock"
)

func age(t *testing.T, s *Store, id image.ID, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	must(t, os.Chtimes(s.recordPath(id), then, then))
}

func TestRemove(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"a", "also-a"}, "base", "only a")
	b := commitImage(t, s, "b", []string{"b"}, "base", "only b")
	aci := addACI(t, s, "aci")
	must(t, s.Commit(aci))
	must(t, s.Close()) // the process that fetched has ended

	if _, err := s.Remove(digestOf(nil).ID(), nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var asked []image.Digest
	freed, err := s.Remove(a.ID, func(l image.Layer) bool { asked = append(asked, l.DiffID); return false })
	must(t, err)
	if freed <= 0 {
		t.Errorf("freed %d bytes", freed)
	}
	if d := cmp.Diff([]image.Digest{a.Layers[1].DiffID}, asked); d != "" {
		t.Errorf("asked about trees that another image needs: %s", d)
	}
	for _, n := range []string{"a", "also-a"} {
		if _, err := s.ByName(n); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if _, err := s.ByID(string(a.ID)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.Remove(a.ID, nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	verify(t, s)

	// A tree that a pod runs from stays until the pod is gone.
	_, err = s.Remove(b.ID, func(l image.Layer) bool { return l.DiffID == b.Layers[0].DiffID })
	must(t, err)
	if _, err := os.Stat(s.LayerPath(b.Layers[0].DiffID)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.LayerPath(b.Layers[1].DiffID)); err == nil {
		t.Error("a tree that nobody needs is still there")
	}
	used := func(l image.Layer) bool { return l.DiffID == b.Layers[0].DiffID }
	c, err := s.Collect(Policy{Grace: -1, InUse: used})
	must(t, err)
	if c.Layers != 0 {
		t.Errorf("%+v", c)
	}
	c, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	if c.Layers != 1 || c.Blobs != 0 || c.Freed <= 0 {
		t.Errorf("%+v", c)
	}
	verify(t, s)
	_, err = s.Remove(aci.ID, nil)
	must(t, err)
	verify(t, s)
	if blobs, err := s.allBlobs(); len(blobs) != 0 || err != nil {
		t.Errorf("blobs %v, %v", blobs, err)
	}
}

func TestRemoveWaitsForLeases(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", nil, "l")
	l, err := reopen(t, s).Lease()
	must(t, err)
	l2, err := s.Lease() // leases do not wait for each other
	must(t, err)
	must(t, l2.Close())
	closed := make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := s.Remove(a.ID, func(image.Layer) bool {
			select {
			case <-closed:
			default:
				t.Error("removal began while a lease was held")
			}
			return false
		})
		done <- err
	}()
	if _, err := s.ByID(string(a.ID)); err != nil {
		t.Error(err)
	}
	close(closed)
	must(t, l.Close())
	must(t, <-done)
}

func TestCollectGrace(t *testing.T) {
	s := newStore(t)
	young := commitImage(t, s, "young", []string{"young"}, "base", "y")
	old := commitImage(t, s, "old", []string{"old"}, "base", "o")
	kept := commitImage(t, s, "kept", []string{"kept"}, "base", "k")
	age(t, s, young.ID, 23*time.Hour)
	age(t, s, old.ID, 25*time.Hour)
	age(t, s, kept.ID, 25*time.Hour)
	must(t, s.Close())

	p := Policy{Grace: -1}
	c, err := s.Collect(p)
	must(t, err)
	if len(c.Images)+c.Blobs+c.Layers+c.Orphans != 0 || c.Freed != 0 {
		t.Errorf("%+v", c)
	}
	p = Policy{Grace: 24 * time.Hour, Keep: func(r image.Record) bool { return r.ID == kept.ID }}
	c, err = s.Collect(p)
	must(t, err)
	if len(c.Images) != 1 || c.Images[0].ID != old.ID || c.Layers != 1 || c.Blobs != 4 || c.Freed <= 0 {
		t.Errorf("%+v", c)
	}
	verify(t, s)
	s.Used(kept.ID)
	c, err = s.Collect(Policy{Grace: 24 * time.Hour})
	must(t, err)
	if len(c.Images) != 0 {
		t.Errorf("%+v", c)
	}
	c, err = s.Collect(Policy{})
	must(t, err)
	if len(c.Images) != 2 {
		t.Errorf("%+v", c)
	}
	verify(t, s)
	if blobs, err := s.allBlobs(); len(blobs) != 0 || err != nil {
		t.Errorf("blobs %v, %v", blobs, err)
	}
}

// What a fetch has brought, or found, is spared until its Store is closed.
// TestCollectMerged: the merged tree of an image lives as long as that does.
func TestCollectMerged(t *testing.T) {
	s := newStore(t)
	rec := commitImage(t, s, "merged", []string{"merged"}, "base", "top")
	putLayer(t, s, rec.MergedTree(), "both")
	must(t, s.Close())
	c, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	if !s.HasLayer(rec.MergedTree()) || c.Layers != 0 {
		t.Errorf("collected %+v", c)
	}
	must(t, s.Close())
	_, err = s.Remove(rec.ID, nil)
	must(t, err)
	if s.HasLayer(rec.MergedTree()) {
		t.Error("it is there without its image")
	}
}

func TestCollectSparesFetches(t *testing.T) {
	s := newStore(t)
	gone := commitImage(t, s, "gone", nil, "base")
	must(t, s.Close())

	fetcher := reopen(t, s)
	if !fetcher.HasLayer(gone.Layers[0].DiffID) {
		t.Fatal("no layer")
	}
	if _, ok := fetcher.HasBlob(gone.Layers[0].Blob); !ok {
		t.Fatal("no blob")
	}
	rec := addImage(t, fetcher, "new", "base", "new") // all there but the record
	w, err := fetcher.NewBlob()
	must(t, err)
	_, err = w.Write([]byte("half a bl"))
	must(t, err)
	d, err := fetcher.NewLayer()
	must(t, err)

	collector := reopen(t, s)
	c, err := collector.Collect(Policy{})
	must(t, err)
	if len(c.Images) != 1 || c.Orphans != 0 || c.Layers != 0 {
		t.Errorf("%+v", c)
	}
	_, err = w.Write([]byte("ob"))
	must(t, err)
	must(t, w.Commit(digestOf([]byte("half a blob")), -1))
	must(t, d.Commit(digestOf([]byte("late"))))
	must(t, fetcher.Commit(rec))
	if _, err := collector.Collect(Policy{Grace: -1}); err != nil {
		t.Fatal(err)
	}
	if !fetcher.HasLayer(digestOf([]byte("late"))) {
		t.Error("a tree of a live fetch is gone")
	}
	must(t, fetcher.Close())
	c, err = collector.Collect(Policy{Grace: -1})
	must(t, err)
	if c.Blobs != 1 || c.Layers != 1 {
		t.Errorf("%+v", c)
	}
	verify(t, s)
}

// An image that was just committed, or is held, stays until its process is done.
func TestCollectSparesHeldImages(t *testing.T) {
	s := newStore(t)
	old := commitImage(t, s, "old", nil, "base")
	must(t, s.Close())
	fetcher := reopen(t, s)
	if !fetcher.Hold(old.ID) {
		t.Fatal("no image")
	}
	fresh := commitImage(t, fetcher, "fresh", nil, "new")
	c, err := reopen(t, s).Collect(Policy{})
	must(t, err)
	if len(c.Images) != 0 {
		t.Errorf("%+v", c)
	}
	must(t, fetcher.Close())
	c, err = reopen(t, s).Collect(Policy{})
	must(t, err)
	if len(c.Images) != 2 {
		t.Errorf("%+v", c)
	}
	if s.Hold(fresh.ID) {
		t.Error("held an image that is gone")
	}
}

// abandon lets go of a file's lock as the death of its process would.
func abandon(t *testing.T, f *os.File) {
	t.Helper()
	must(t, f.Close())
}

func TestCollectOrphans(t *testing.T) {
	s := newStore(t)
	kept := commitImage(t, s, "kept", []string{"n"}, "l")
	putBlob(t, s, []byte("orphan"))
	putLayer(t, s, digestOf([]byte("orphan")), "orphan")
	abandon(t, s.pins.f)

	w, err := s.NewBlob()
	must(t, err)
	abandon(t, w.f)
	d, err := s.NewLayer()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Path(), "f"), make([]byte, 1<<16), 0))
	abandon(t, d.lock)
	l, err := s.TryFetchLock("killed")
	must(t, err)
	abandon(t, l.(*fetchLock).f)
	held, err := s.TryFetchLock("alive")
	must(t, err)
	for _, p := range []string{"images/.tmp-x", "images/rkt/names/.tmp-x", "images/rkt/records/.tmp-x", "images/blobs/sha256/.tmp-x"} {
		must(t, os.WriteFile(filepath.Join(s.images, "..", p), nil, 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(s.layers, "tmp", "trash-x", "tree", "sub"), 0))
	must(t, os.WriteFile(s.namePath("dangling"), []byte(string(digestOf(nil).ID())+" dangling\n"), 0o600))
	must(t, os.WriteFile(s.namePath("garbage"), []byte("?"), 0o600))
	must(t, os.Remove(s.namePath("n")))
	must(t, os.WriteFile(filepath.Join(s.images, "index.json"), []byte("{}"), 0o600))

	c, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	if c.Blobs != 1 || c.Layers != 1 || c.Orphans != 6 || c.Freed < 1<<16 {
		t.Errorf("%+v", c)
	}
	if _, err := s.TryFetchLock("alive"); !errors.Is(err, flock.ErrBusy) {
		t.Errorf("a fetch's lock was collected: %v", err)
	}
	must(t, held.Close())
	verify(t, s)
	if r, err := s.ByName("n"); err != nil || r.ID != kept.ID {
		t.Errorf("the lost name is not back: %v", err)
	}
	if names, err := dirNames(s.rkt("ingest")); len(names) != 0 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
}

// Of two records that claim a name, the name's file decides; without one, the
// newer image has it.
func TestRepairNames(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"n", "m"}, "l")
	b := commitImage(t, s, "b", nil, "l")
	b.Names = []string{"n", "m"}
	b.Imported = a.Imported.Add(time.Second)
	must(t, s.writeRecord(&b, false))
	must(t, os.Remove(s.namePath("m")))
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	for name, want := range map[string]image.ID{"n": a.ID, "m": b.ID} {
		if r, err := s.ByName(name); err != nil || r.ID != want {
			t.Errorf("%s: %s, %v", name, r.ID, err)
		}
	}
	s.Close()
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
}

// An image whose blobs somebody removed by hand must neither block gc nor take
// others along.
func TestDamagedImage(t *testing.T) {
	s := newStore(t)
	a := commitImage(t, s, "a", []string{"a"}, "base", "la")
	b := commitImage(t, s, "b", []string{"b"}, "base", "lb")
	must(t, s.Close())
	must(t, os.Remove(s.blobPath(a.Manifest)))
	_, err := s.Collect(Policy{Grace: -1})
	must(t, err)
	if _, err := s.ByName("a"); err != nil {
		t.Error(err)
	}
	if _, ok := s.HasBlob(a.Layers[1].Blob); !ok {
		t.Error("a layer's blob is gone though the record names it")
	}
	s.Close()
	_, err = s.Remove(a.ID, nil)
	must(t, err)
	_, err = s.Collect(Policy{Grace: -1})
	must(t, err)
	verify(t, s)
	if r, err := s.ByName("b"); err != nil || r.ID != b.ID {
		t.Error(err)
	}
}

func TestFetchLock(t *testing.T) {
	s := newStore(t)
	l, waited, err := s.FetchLock("key")
	must(t, err)
	if waited {
		t.Error("waited for nobody")
	}
	other := reopen(t, s)
	if _, err := other.TryFetchLock("key"); !errors.Is(err, flock.ErrBusy) {
		t.Error(err)
	}
	free, waited, err := other.FetchLock("another key")
	must(t, err)
	if waited {
		t.Error("waited for another key")
	}
	must(t, free.Close())
	order := make(chan string, 2)
	done := make(chan error)
	go func() {
		l, waited, err := other.FetchLock("key")
		if err == nil && waited {
			order <- "second"
			err = l.Close()
		} else if err == nil {
			err = errors.New("did not wait")
		}
		done <- err
	}()
	// The second may come before or after this; either way it must wait, or
	// find the lock free only once we are done.
	for busy := false; !busy; {
		f, err := os.Open(s.rkt("fetch", func() string { n, _ := dirNames(s.rkt("fetch")); return n[0] }()))
		must(t, err)
		busy = waitersOf(t, f) > 0
		f.Close()
	}
	order <- "first"
	must(t, l.Close())
	must(t, l.Close()) // nothing
	must(t, <-done)
	if <-order != "first" || <-order != "second" {
		t.Error("both had the lock at the same time")
	}
	verify(t, s)
}
