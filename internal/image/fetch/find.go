// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// Find gives the stored image that r names, without asking anybody and without
// starting anything. It costs the same however many images there are: two
// small files of the store and, for a layout, its index.json. An archive or an
// .aci file is found only if it is still the file that was imported.
//
// An image whose trees are not all there counts as not found; Image mends it.
// The record's Trust is raised if r itself names the image by its full digest;
// whether it may be used is the caller's to decide, unlike with Image. Paths in
// r must be absolute, see ref.Ref.Abs. Error: store.ErrNotFound.
func Find(st *store.Store, r ref.Ref) (image.Record, error) {
	rec, err := find(st, r)
	if err == nil && !whole(st, rec) {
		err = fmt.Errorf("cannot find all layers of image %q: %w", r.String(), store.ErrNotFound)
	}
	return rec, err
}

// Stored gives the stored image that goes by r, whatever became of the file or
// the server behind it and of its trees. Error: store.ErrNotFound.
func Stored(st *store.Store, r ref.Ref) (image.Record, error) {
	switch r.Kind {
	case ref.ID:
		return st.ByID(r.ID)
	case ref.Name:
		return findName(st, r)
	}
	return st.ByName(r.Canonical())
}

func find(st *store.Store, r ref.Ref) (image.Record, error) {
	rec, err := look(st, r)
	if err != nil {
		return image.Record{}, err
	}
	if rec.Trust == image.TrustNone {
		rec.Trust = ground(r)
	}
	return rec, nil
}

func look(st *store.Store, r ref.Ref) (image.Record, error) {
	switch r.Kind {
	case ref.ID:
		return st.ByID(r.ID)
	case ref.Docker:
		rec, err := byName(st, r)
		if r.Digest != "" && errors.Is(err, store.ErrNotFound) {
			// It may have been fetched by a tag.
			return st.ByID(string(image.Digest(r.Digest).ID()))
		}
		return rec, err
	case ref.ACIURL:
		return byName(st, r)
	case ref.Name:
		return findName(st, r)
	case ref.OCILayout:
		return findInLayout(st, r)
	case ref.OCIArchive, ref.DockerArchive, ref.ACIFile:
		return findFile(st, r)
	}
	return image.Record{}, fmt.Errorf("cannot find image %q: %w", r.String(), store.ErrNotFound)
}

// byName finds the image that has a name, if the name was given by somebody who
// is believed: that an image is whose name says so is for rkt to find out.
func byName(st *store.Store, r ref.Ref) (image.Record, error) {
	rec, err := st.ByName(r.Canonical())
	if err == nil && rec.Claimed {
		err = fmt.Errorf("cannot find image %q but by another user's word: %w", r.String(), store.ErrNotFound)
	}
	return rec, err
}

// findInLayout looks whether the manifest that r points to in its layout is
// stored. Whatever is odd about the layout counts as not found: the helper
// says what it is.
func findInLayout(st *store.Store, r ref.Ref) (image.Record, error) {
	none := fmt.Errorf("cannot find image %q: %w", r.String(), store.ErrNotFound)
	raw, err := readSmall(r.Path + "/index.json")
	if err != nil {
		return image.Record{}, none
	}
	index, err := ociconfig.DecodeIndex(raw)
	if err != nil {
		return image.Record{}, none
	}
	var at ociconfig.Descriptor
	for _, d := range index.Manifests {
		named := r.Inner == "" || r.Inner == string(d.Digest)
		if pinned(r) == "" { // else a name that looks like a digest would stand for it
			named = named || r.Inner == d.Annotations["org.opencontainers.image.ref.name"]
		}
		if !named || d.Digest == at.Digest {
			continue
		}
		if at.Digest != "" {
			return image.Record{}, none // several
		}
		at = d
	}
	for range maxDepth {
		if _, err := image.ParseDigest(string(at.Digest)); err != nil {
			return image.Record{}, none
		}
		if !ociconfig.IsIndex(at.MediaType) {
			return st.ByID(string(at.Digest))
		}
		raw, err := readSmall(r.Path + "/blobs/" + at.Digest.Algorithm() + "/" + at.Digest.Hex())
		if err != nil || prove(raw, at.Digest, at.Size) != nil {
			return image.Record{}, none
		}
		index, err := ociconfig.ParseIndex(raw, at.MediaType)
		if err != nil {
			return image.Record{}, none
		}
		if at, err = index.Select(ociconfig.Host()); err != nil {
			return image.Record{}, none
		}
	}
	return image.Record{}, none
}

// readSmall reads a regular file of at most ociconfig.MaxDocument bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > ociconfig.MaxDocument {
		return nil, fmt.Errorf("cannot read %q: not a small file", path)
	}
	data := make([]byte, st.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// findFile looks whether the file that r names was imported as it is now.
func findFile(st *store.Store, r ref.Ref) (image.Record, error) {
	rec, err := byName(st, r)
	if err != nil {
		return image.Record{}, err
	}
	state, err := fileState(r.Path)
	if err != nil || rec.Annotations[stateKey(r)] != state {
		return image.Record{}, fmt.Errorf("cannot find image %q as it is now: %w", r.String(), store.ErrNotFound)
	}
	return rec, nil
}

// stateKey is the annotation under which a record keeps the state of the file
// it was imported from.
func stateKey(r ref.Ref) string { return ours + "imported-from " + r.Canonical() }

// fileState changes whenever a file does: each write changes its ctime.
func fileState(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d:%d.%09d", st.Dev, st.Ino, st.Size,
		st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec), nil
}

// settleFile is fileState after which any later write shows: timestamps only
// move with the kernel's tick, so a file written this very moment is left to
// age first.
func settleFile(path string) (string, error) {
	const tick = 20 * time.Millisecond
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	if age := time.Since(time.Unix(st.Ctim.Sec, st.Ctim.Nsec)); age >= 0 && age < tick {
		time.Sleep(tick - age)
	}
	return fileState(path)
}

// whole tells whether an image is as its record says and all trees of it are
// there: somebody may have removed some by hand, or a crash of the machine, or
// whoever fetched it could make none. Where this process could not either, it
// needs none.
func whole(st *store.Store, rec image.Record) bool {
	if rec.Claimed {
		return false
	}
	for _, l := range rec.Layers {
		var s unix.Stat_t
		if unix.Lstat(st.LayerPath(l.DiffID), &s) != nil {
			return !st.Trees()
		}
	}
	return true
}
