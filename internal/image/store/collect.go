// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/linux/rmtree"
)

// Policy says what Collect may remove.
//
// Both functions are first called when the store is locked: no pod is being
// prepared then, so what they find out at that moment stays true. They must
// look then, not before, and they must not call the Store. One that cannot find
// out answers true.
type Policy struct {
	// Grace: images that were not used for that long go; a negative Grace
	// removes no image, only what no image and no pod needs.
	Grace time.Duration
	// Keep spares an image that would go. nil spares none.
	Keep func(image.Record) bool
	// InUse says whether a pod has the layer's tree (LayerPath of its DiffID)
	// in its root. For a tree that no image names any more only DiffID is set.
	// nil: no pod has any.
	InUse func(image.Layer) bool
}

// Collected is what Collect removed.
type Collected struct {
	Images  []image.Record // by ID
	Blobs   int            // of removed images, and orphans
	Layers  int            // trees, likewise
	Orphans int            // unfinished downloads and trees that a kill left
	Freed   int64          // bytes of disk
}

// Remove removes an image: by full ID, as in a Record. Its blobs and trees go
// unless another image, a fetch in progress or, for trees, a pod (see
// Policy.InUse) needs them. It reports the bytes of disk given back. Error:
// ErrNotFound.
//
// From the moment its record is gone the image is; a kill after that leaves
// work for Collect.
func (s *Store) Remove(id image.ID, inUse func(image.Layer) bool) (freed int64, err error) {
	c := Collected{}
	err = s.locked(&c, func() error {
		all, err := s.readAll()
		if err != nil {
			return err
		}
		r := all[id]
		if r == nil {
			return fmt.Errorf("cannot remove image %q: %w", id, ErrNotFound)
		}
		blobs, err := s.blobsOf(r)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			// Its own manifest is damaged: Collect finds the rest.
			blobs = nil
		}
		delete(all, id)
		need, err := s.needed(all)
		if err != nil {
			return err
		}
		if err := s.drop(r); err != nil {
			return err
		}
		if err := s.writeIndex(all); err != nil {
			return err
		}
		layers := r.Layers
		if _, err := os.Lstat(s.LayerPath(r.MergedTree())); err == nil {
			name := r.MergedTree()
			layers = append(slices.Clone(layers), image.Layer{DiffID: name})
		}
		return s.sweep(need, inUse, blobs, layers, &c)
	})
	return c.Freed, err
}

// Collect removes the images that p gives up, everything that no image, no
// fetch in progress and no pod needs, and all that killed processes left
// behind; and it makes names and index.json agree with the records. On error it
// has removed what it reports.
func (s *Store) Collect(p Policy) (Collected, error) {
	c := Collected{}
	err := s.locked(&c, func() error {
		all, err := s.readAll()
		if err != nil {
			return err
		}
		if err := errors.Join(s.repairNames(all), s.repairShelves(all)); err != nil {
			return err
		}
		if p.Grace >= 0 {
			if err := s.expire(p, all, &c); err != nil {
				return err
			}
		}
		if err := errors.Join(s.writeIndex(all), s.sweepWeb()); err != nil {
			return err
		}
		need, err := s.needed(all)
		if err != nil {
			return err
		}
		blobs, err := s.allBlobs()
		if err != nil {
			return err
		}
		layers, err := s.allLayers(c.Images)
		if err != nil {
			return err
		}
		return errors.Join(s.sweep(need, p.InUse, blobs, layers, &c), s.sweepOrphans(&c))
	})
	return c, err
}

// locked runs f under the exclusive lock and then removes, without it, the
// trees that f put into the trash: pods may start meanwhile.
func (s *Store) locked(c *Collected, f func() error) error {
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return err
	}
	err = f()
	l.Close()
	return errors.Join(err, s.emptyTrash(c))
}

// expire drops the images that nobody used for the time of grace.
func (s *Store) expire(p Policy, all map[image.ID]*image.Record, c *Collected) error {
	now := time.Now()
	pins, err := s.livePins()
	if err != nil {
		return fmt.Errorf("cannot learn of fetches in progress: %w", err)
	}
	for _, id := range sortedIDs(all) {
		r := all[id]
		if pins["image "+string(id.Digest())] {
			continue // whoever fetched it has not come to use it yet
		}
		used, err := s.LastUsed(id)
		if err != nil {
			return err
		}
		if now.Sub(used) < p.Grace || p.Keep != nil && p.Keep(*r) {
			continue
		}
		if err := s.drop(r); err != nil {
			return err
		}
		delete(all, id)
		c.Images = append(c.Images, *r)
	}
	return nil
}

// drop removes an image's record, which ends its existence, and its names.
func (s *Store) drop(r *image.Record) error {
	failpoint.Hit("store/before-record-removal")
	if err := os.Remove(s.recordPath(r.ID)); err != nil {
		return fmt.Errorf("cannot remove image %s: %w", r.ID, err)
	}
	if err := atomicfile.SyncDir(s.rkt("records")); err != nil {
		return err
	}
	failpoint.Hit("store/after-record-removal")
	for _, name := range r.Names {
		id, _, _, err := readName(s.namePath(name))
		if err == nil && id == r.ID {
			err = os.Remove(s.namePath(name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove name %q of image %s: %w", name, r.ID, cause(err))
		}
		failpoint.Hit("store/after-name-removal")
	}
	return s.clearShelf(r)
}

// repairNames finishes what a kill left between a record and its names. The
// name's file decides between two images that claim the name; an image that
// claims one without a file gets it.
func (s *Store) repairNames(all map[image.ID]*image.Record) error {
	files, err := dirNames(s.rkt("names"))
	if err != nil {
		return fmt.Errorf("cannot list names of images: %w", err)
	}
	owner := map[string]image.ID{}
	for _, f := range files {
		if strings.HasPrefix(f, atomicfile.TempPrefix) {
			continue // sweepOrphans'
		}
		path := s.rkt("names", f)
		id, name, _, err := readName(path)
		if r := all[id]; err == nil && r != nil && slices.Contains(r.Names, name) && path == s.namePath(name) {
			owner[name] = id
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove stale name: %w", err)
		}
	}
	ids := sortedIDs(all)
	slices.SortStableFunc(ids, func(a, b image.ID) int { return all[b].Imported.Compare(all[a].Imported) })
	for _, id := range ids {
		r := all[id]
		var lost []string
		for _, name := range r.Names {
			switch owner[name] {
			case id:
			case "":
				if err := s.writeName(name, id); err != nil {
					return err
				}
				owner[name] = id
			default:
				lost = append(lost, name)
			}
		}
		if !r.Claimed && dropNames(r, lost) {
			if err := s.writeRecord(r, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// needed are the blobs and trees ("blob <digest>", "layer <digest>") that an
// image or a live fetch needs.
func (s *Store) needed(all map[image.ID]*image.Record) (map[string]bool, error) {
	need, err := s.livePins()
	if err != nil {
		return nil, fmt.Errorf("cannot learn of fetches in progress: %w", err)
	}
	for _, r := range all {
		blobs, err := s.blobsOf(r)
		if err != nil && !r.Claimed && !errors.Is(err, fs.ErrNotExist) {
			return nil, hint.Wrap(fmt.Errorf("cannot learn what image %s needs: %w", r.ID.Short(), err),
				fmt.Sprintf("`rkt image rm %s`: it is damaged", r.ID.Short()))
		}
		for _, d := range blobs {
			need["blob "+string(d)] = true
		}
		for _, l := range r.Layers {
			need["blob "+string(l.Blob)] = true
			need["layer "+string(l.DiffID)] = true
		}
		if name := r.MergedTree(); name != "" { // whether there is one or not
			need["layer "+string(name)] = true
		}
	}
	return need, nil
}

// sweep removes those of blobs, and puts those of layers into the trash, that
// nobody needs.
func (s *Store) sweep(need map[string]bool, inUse func(image.Layer) bool, blobs []image.Digest, layers []image.Layer, c *Collected) error {
	var errs []error
	for _, d := range blobs {
		if need["blob "+string(d)] {
			continue
		}
		failpoint.Hit("store/before-blob-removal")
		freed, err := removeFile(s.blobPath(d))
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot remove blob %s: %w", d, err))
			continue
		}
		if freed >= 0 {
			c.Blobs++
			c.Freed += freed
		}
	}
	if !s.Trees() {
		layers = nil // root's collection finds them
	}
	for _, l := range layers {
		if need["layer "+string(l.DiffID)] || inUse != nil && inUse(l) {
			continue
		}
		failpoint.Hit("store/before-layer-removal")
		switch err := s.trash(l.DiffID); {
		case err == nil:
			c.Layers++
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("cannot remove layer %s: %w", l.DiffID, cause(err)))
		}
		failpoint.Hit("store/after-layer-removal")
	}
	return errors.Join(errs...)
}

// trash takes a tree out of the store in one step; the slow part is emptyTrash's.
func (s *Store) trash(diffID image.Digest) error {
	if _, err := os.Lstat(s.LayerPath(diffID)); err != nil {
		return err
	}
	// A directory of ours around it, because emptyTrash must be able to open
	// and lock it whatever the tree's own mode is.
	dir := s.layers + "/tmp/" + trashPrefix + random()
	if err := os.Mkdir(dir, layersMode); err != nil {
		return err
	}
	return os.Rename(s.LayerPath(diffID), dir+"/tree")
}

// removeFile reports the disk space of what it removed, -1 if it was not there.
func removeFile(path string) (freed int64, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	return rmtree.Remove(path)
}

// allBlobs lists the layout's blobs.
func (s *Store) allBlobs() ([]image.Digest, error) {
	var all []image.Digest
	for _, algo := range []string{"sha256", "sha512"} {
		dir := filepath.Join(s.images, "blobs", algo)
		names, err := dirNames(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot list blobs: %w", err)
		}
		for _, n := range names {
			if d, err := image.ParseDigest(algo + ":" + n); err == nil {
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// allLayers lists the stored trees, with what the removed images know of them.
func (s *Store) allLayers(removed []image.Record) ([]image.Layer, error) {
	if !s.Trees() {
		return nil, nil
	}
	names, err := dirNames(s.layers)
	if err != nil {
		return nil, fmt.Errorf("cannot list layers: %w", err)
	}
	known := map[image.Digest]image.Layer{}
	for _, r := range removed {
		for _, l := range r.Layers {
			known[l.DiffID] = l
		}
	}
	var all []image.Layer
	for _, n := range names {
		d, err := image.ParseDigest(strings.Replace(n, "-", ":", 1))
		if err != nil {
			continue // tmp, or not ours
		}
		l, ok := known[d]
		if !ok {
			l = image.Layer{DiffID: d}
		}
		all = append(all, l)
	}
	return all, nil
}

// sweepOrphans removes what killed processes left in the store's temporary
// places, and puts their trees into the trash.
func (s *Store) sweepOrphans(c *Collected) error {
	var errs []error
	for _, dir := range []string{s.images, s.rkt("index"), s.rkt("records"), s.rkt("names"),
		filepath.Join(s.images, "blobs", "sha256"), filepath.Join(s.images, "blobs", "sha512")} {
		names, err := dirNames(dir)
		errs = append(errs, err)
		for _, n := range names {
			// The exclusive lock is ours, so nobody is writing these.
			if strings.HasPrefix(n, atomicfile.TempPrefix) {
				freed, err := removeFile(filepath.Join(dir, n))
				errs = append(errs, others(err))
				c.Freed += max(freed, 0)
				c.Orphans++
			}
		}
	}
	errs = append(errs, s.sweepLocked("tmp", nil, c), s.sweepPartials(c), s.sweepLocked("fetch", nil, nil))
	if !s.Trees() {
		return errors.Join(errs...)
	}
	names, err := dirNames(s.layers + "/tmp")
	errs = append(errs, err)
	for _, n := range names {
		if strings.HasPrefix(n, trashPrefix) {
			continue
		}
		path := s.layers + "/tmp/" + n
		f, err := os.Open(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		if err = flock.TryLock(f, flock.Exclusive); err == nil {
			err = os.Rename(path, s.layers+"/tmp/"+trashPrefix+random())
			c.Orphans++
		} else if errors.Is(err, flock.ErrBusy) {
			err = nil
		}
		f.Close()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// trashPrefix begins the names of trees in layers/tmp that nobody needs.
const trashPrefix = "trash-"

// emptyTrash removes the trees in the trash. It needs no lock on the store:
// nothing leads back from the trash. What another process is removing already
// is left to it.
func (s *Store) emptyTrash(c *Collected) error {
	if !s.Trees() {
		return nil
	}
	names, err := dirNames(s.layers + "/tmp")
	errs := []error{err}
	for _, n := range names {
		if !strings.HasPrefix(n, trashPrefix) {
			continue
		}
		path := s.layers + "/tmp/" + n
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			if err = flock.TryLock(f, flock.Exclusive); err == nil {
				failpoint.Hit("store/before-trash-removal")
				var freed int64
				freed, err = rmtree.Remove(path)
				c.Freed += freed
			} else if errors.Is(err, flock.ErrBusy) {
				err = nil
			}
			f.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
