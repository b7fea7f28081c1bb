// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
)

// What follows is for whoever doubts what is stored (package image/verify):
// looking at each thing for itself, and putting right what can be.

// Records reads all records, the torn ones too: those by the ID that their
// files are named after, with the reason.
func (s *Store) Records() (good []image.Record, torn map[image.ID]error, err error) {
	ids, err := s.ids("")
	if err != nil {
		return nil, nil, err
	}
	torn = map[image.ID]error{}
	for _, id := range ids {
		r, err := s.readRecord(id)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			torn[id] = err
		default:
			if err := check(r); err != nil {
				torn[id] = fmt.Errorf("cannot use image record %q: %w", s.recordPath(id), err)
				continue
			}
			good = append(good, r)
		}
	}
	return good, torn, nil
}

// NamesOf lists the names that stand for an image whose record cannot be read.
func (s *Store) NamesOf(id image.ID) ([]string, error) {
	files, err := dirNames(s.rkt("names"))
	if err != nil {
		return nil, fmt.Errorf("cannot list names of images: %w", err)
	}
	var names []string
	for _, f := range files {
		if owner, name, _, err := readName(s.rkt("names", f)); err == nil && owner == id {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// BlobsOf lists the blobs that belong to an image, each once: those of its
// record, those that its manifest names, and what index.json needs to list it.
func (s *Store) BlobsOf(r image.Record) ([]image.Digest, error) {
	blobs, err := s.blobsOf(&r)
	slices.Sort(blobs)
	return slices.Compact(blobs), err
}

// Blobs lists all stored blobs, whether an image needs them or not.
func (s *Store) Blobs() ([]image.Digest, error) { return s.allBlobs() }

// DropBlob removes a blob that is not what its name says, so that the next fetch
// brings it again.
func (s *Store) DropBlob(d image.Digest) error {
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	failpoint.Hit("store/before-blob-drop")
	if _, err := removeFile(s.blobPath(d)); err != nil {
		return fmt.Errorf("cannot remove blob %s: %w", d, err)
	}
	return nil
}

// ReplaceLayer puts fresh, the proven tree of diffID, in place of the one that
// is stored, in one step. idle is called under the store's exclusive lock: its
// error, that a pod has the tree in its root, leaves everything as it is; what
// it returns is called when the step is done. fresh is done either way.
func (s *Store) ReplaceLayer(diffID image.Digest, fresh *LayerDir, idle func() (release func(), err error)) error {
	err := s.replaceLayer(diffID, fresh, idle)
	if aerr := fresh.Abort(); err == nil { // by now, mostly the old one
		err = aerr
	}
	return err
}

func (s *Store) replaceLayer(diffID image.Digest, fresh *LayerDir, idle func() (func(), error)) error {
	path := s.LayerPath(diffID)
	if path == "" {
		return fmt.Errorf("cannot store layer %q: not a digest", diffID)
	}
	if err := unix.Syncfs(int(fresh.tree.Fd())); err != nil {
		return fmt.Errorf("cannot store layer %s: sync: %w", diffID, err)
	}
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	release, err := idle()
	if err != nil {
		return err
	}
	defer release()
	failpoint.Hit("store/before-layer-exchange")
	err = unix.Renameat2(unix.AT_FDCWD, fresh.Path(), unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if err == unix.ENOENT {
		err = os.Rename(fresh.Path(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot store layer %s: %w", diffID, cause(err))
	}
	failpoint.Hit("store/after-layer-exchange")
	return atomicfile.SyncDir(s.layers)
}

// Rewrite replaces what a record says that can be read off its image; names,
// trust, layers and times stay as they are in the store.
func (s *Store) Rewrite(rec image.Record) error {
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	now, err := s.readRecord(rec.ID)
	if err != nil {
		return notFound(string(rec.ID), err)
	}
	if now.Claimed {
		return fmt.Errorf("cannot write the record of image %s again: another user wrote it, and it would be believed", rec.ID.Short())
	}
	now.App, now.Name, now.Labels, now.Annotations = rec.App, rec.Name, rec.Labels, rec.Annotations
	return s.writeRecord(&now, true)
}

// Mend compares names and index.json with the records, says what was wrong, and
// puts it right, the documents of ours that index.json leads to included. It
// does nothing while a record cannot be read: what that would say is not known.
func (s *Store) Mend() (wrong []string, err error) {
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	all, err := s.readAll()
	if err != nil {
		return nil, err
	}
	for _, id := range sortedIDs(all) {
		// A manifest that is gone has been told of already.
		if d, err := s.describe(all[id]); err == nil {
			if _, err := os.Lstat(s.blobPath(d.Digest)); errors.Is(err, fs.ErrNotExist) {
				wrong = append(wrong, fmt.Sprintf("the entry of image %s in index.json leads nowhere", id.Short()))
			}
			if err := s.putStandIn(all[id]); err != nil {
				return wrong, err
			}
		}
	}
	names, err := s.wrongNames(all)
	if err != nil {
		return wrong, err
	}
	wrong = append(wrong, names...)
	if len(names) > 0 {
		if err := s.repairNames(all); err != nil {
			return wrong, err
		}
	}
	shelves, err := s.wrongShelves(all)
	if err != nil {
		return wrong, err
	}
	wrong = append(wrong, shelves...)
	if len(shelves) > 0 {
		if err := s.repairShelves(all); err != nil {
			return wrong, err
		}
	}
	want, err := s.makeIndex(all)
	if err != nil {
		return wrong, err
	}
	have, _, err := readPlain(s.rkt("index", "index.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrong, fmt.Errorf("cannot read index.json: %w", cause(err))
	}
	if !bytes.Equal(have, want) || !s.indexLinked() {
		wrong = append(wrong, "index.json does not list the images that are stored")
		return wrong, s.writeIndex(all)
	}
	return wrong, nil
}

// wrongShelves compares what lists ACIs by the names in their manifests with the
// records, as repairShelves does.
func (s *Store) wrongShelves(all map[image.ID]*image.Record) (wrong []string, err error) {
	shelves, err := dirNames(s.rkt("appc"))
	if err != nil {
		return nil, fmt.Errorf("cannot list names of images: %w", err)
	}
	slices.Sort(shelves)
	for _, n := range shelves {
		ids, err := dirNames(s.rkt("appc", n))
		if err != nil {
			return nil, fmt.Errorf("cannot list names of images: %w", err)
		}
		for _, id := range ids {
			if r := all[image.ID(id)]; r == nil || s.shelf(r.Name) != s.rkt("appc", n) {
				wrong = append(wrong, fmt.Sprintf("image %s is listed under an appc name that is not its own", image.ID(id).Short()))
			}
		}
	}
	for _, id := range sortedIDs(all) {
		if r := all[id]; r.Name != "" && !r.Claimed {
			if _, err := os.Lstat(s.shelf(r.Name) + "/" + string(id)); errors.Is(err, fs.ErrNotExist) {
				wrong = append(wrong, fmt.Sprintf("image %s is not found by its appc name %q", id.Short(), r.Name))
			}
		}
	}
	return wrong, nil
}

// wrongNames compares the files of names with the records, as repairNames does.
func (s *Store) wrongNames(all map[image.ID]*image.Record) (wrong []string, err error) {
	files, err := dirNames(s.rkt("names"))
	if err != nil {
		return nil, fmt.Errorf("cannot list names of images: %w", err)
	}
	slices.Sort(files)
	owner := map[string]image.ID{}
	for _, f := range files {
		if strings.HasPrefix(f, atomicfile.TempPrefix) {
			continue
		}
		id, name, _, err := readName(s.rkt("names", f))
		switch r := all[id]; {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("file %q is not the name of an image", s.rkt("names", f)))
		case s.namePath(name) != s.rkt("names", f):
			wrong = append(wrong, fmt.Sprintf("file %q is not named after the name in it", s.rkt("names", f)))
		case r == nil:
			wrong = append(wrong, fmt.Sprintf("name %q stands for image %s, which is not stored", name, id.Short()))
		case !slices.Contains(r.Names, name):
			wrong = append(wrong, fmt.Sprintf("name %q stands for image %s, which does not have it", name, id.Short()))
		default:
			owner[name] = id
		}
	}
	for _, id := range sortedIDs(all) {
		for _, name := range all[id].Names {
			if owner[name] != id {
				wrong = append(wrong, fmt.Sprintf("image %s is not found by its name %q", id.Short(), name))
			}
		}
	}
	return wrong, nil
}
