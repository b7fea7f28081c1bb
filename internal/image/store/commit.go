// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/flock"
)

// Commit makes an image exist: after it, the image is found by its ID and by
// its names, for good. Every blob and tree that the record and its manifest
// name must be there, or nothing changes.
//
// A name belongs to one image: it leaves the one that had it. If the image is
// stored already, its names, the ground on which it is trusted and the time it
// was imported are kept: new names go in front, trust only ever rises, and a
// record of less trust does not change the layers of one of more.
//
// Commit takes the store's lock exclusively. It keeps the image as Hold does.
func (s *Store) Commit(rec image.Record) error {
	if err := check(rec); err != nil {
		return fmt.Errorf("cannot store image %s: %w", rec.ID, err)
	}
	l, err := s.lock(flock.Exclusive)
	if err != nil {
		return err
	}
	defer l.Close()
	all, err := s.readAll()
	if err != nil {
		return err
	}
	merge(&rec, all)
	if err = s.putStandIn(&rec); err == nil {
		err = s.complete(&rec)
	}
	if err != nil {
		return fmt.Errorf("cannot store image %s: %w", rec.ID, err)
	}
	all[rec.ID] = &rec
	// From now on it could be collected, were it not for this.
	if err := s.pin("image", rec.ID.Digest()); err != nil {
		return err
	}

	failpoint.Hit("store/commit-before-record")
	if err := s.writeRecord(&rec, false); err != nil {
		return err
	}
	failpoint.Hit("store/commit-after-record")
	for _, name := range rec.Names {
		if err := s.writeName(name, rec.ID); err != nil {
			return err
		}
		failpoint.Hit("store/commit-after-name")
	}
	if err := s.writeShelf(&rec); err != nil {
		return err
	}
	failpoint.Hit("store/commit-after-shelf")
	for _, other := range all {
		// A record that another user wrote stays as it is: rewriting it would
		// make it ours, and its words believed.
		if other.ID != rec.ID && !other.Claimed && dropNames(other, rec.Names) {
			if err := s.writeRecord(other, true); err != nil {
				return err
			}
			failpoint.Hit("store/commit-after-other-record")
		}
	}
	return s.writeIndex(all)
}

// check refuses a record that could not be found, or kept, by its own words.
func check(r image.Record) error {
	digests := []image.Digest{r.ID.Digest(), r.Manifest}
	for _, l := range slices.Concat(r.Layers, r.Parts) {
		digests = append(digests, l.Blob, l.DiffID)
	}
	for _, d := range digests {
		if _, err := image.ParseDigest(string(d)); err != nil {
			return err
		}
	}
	switch r.Format {
	case image.OCI:
		if r.ID != r.Manifest.ID() {
			return fmt.Errorf("its ID is not the digest of its manifest, %s", r.Manifest)
		}
	case image.ACI:
		if _, ok := r.Own(); !ok || r.ID.Digest().Algorithm() != "sha512" {
			return errors.New("its ID is not the SHA-512 of a layer's tar")
		}
	default:
		return fmt.Errorf("unknown format %q", r.Format)
	}
	for _, n := range r.Names {
		if n == "" || !utf8.ValidString(n) || strings.ContainsFunc(n, unicode.IsControl) {
			return fmt.Errorf("%q cannot be its name", n)
		}
	}
	return nil
}

// complete proves that all that a record needs is stored.
func (s *Store) complete(r *image.Record) error {
	for i, l := range slices.Concat(r.Layers, r.Parts) {
		fi, err := os.Lstat(s.blobPath(l.Blob))
		if err != nil {
			return missing("blob", l.Blob, err)
		}
		if fi.Size() != l.Size {
			return fmt.Errorf("blob %s is of %d bytes, not %d", l.Blob, fi.Size(), l.Size)
		}
		if i >= len(r.Layers) || !s.Trees() {
			continue // parts' are made again when they are needed, members' by root
		}
		if fi, err = os.Lstat(s.LayerPath(l.DiffID)); err != nil {
			return missing("tree of layer", l.DiffID, err)
		}
		if !fi.IsDir() {
			return fmt.Errorf("tree of layer %s is not a directory", l.DiffID)
		}
	}
	blobs, err := s.blobsOf(r)
	if err != nil {
		return err
	}
	for _, d := range blobs {
		if _, err := os.Lstat(s.blobPath(d)); err != nil {
			return missing("blob", d, err)
		}
	}
	return nil
}

func missing(what string, d image.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %s is not in the store", what, d)
	}
	return fmt.Errorf("%s %s: %w", what, d, cause(err))
}

// maxManifest bounds what is read of a manifest blob; registries allow 4 MiB.
const maxManifest = 16 << 20

// blobsOf lists the blobs that belong to an image: its record's, and those that
// its manifest names. A manifest that is gone names none.
func (s *Store) blobsOf(r *image.Record) ([]image.Digest, error) {
	blobs := []image.Digest{r.Manifest}
	for _, l := range slices.Concat(r.Layers, r.Parts) {
		blobs = append(blobs, l.Blob)
	}
	if d, err := s.describe(r); err == nil {
		blobs = append(blobs, d.Digest)
	}
	if r.Format == image.ACI {
		return append(blobs, emptyDigest), nil
	}
	f, _, err := openPlain(s.blobPath(r.Manifest))
	if errors.Is(err, fs.ErrNotExist) {
		return blobs, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, err
	}
	// OCI and Docker schema 2 agree on these fields.
	var m struct {
		Config struct {
			Digest image.Digest `json:"digest"`
		} `json:"config"`
		Layers []struct {
			Digest image.Digest `json:"digest"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", r.Manifest, err)
	}
	blobs = append(blobs, m.Config.Digest)
	for _, l := range m.Layers {
		blobs = append(blobs, l.Digest)
	}
	for _, d := range blobs {
		if _, err := image.ParseDigest(string(d)); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", r.Manifest, err)
		}
	}
	return blobs, nil
}

// merge adds to rec what the store knows of it already.
func merge(rec *image.Record, all map[image.ID]*image.Record) {
	rec.Names = unique(rec.Names)
	rec.Layers = slices.Clone(rec.Layers)
	for i := range rec.Layers {
		if l := &rec.Layers[i]; l.TreeSize == 0 {
			// The tree was there already; whoever unpacked it knew its size.
			l.TreeSize = treeSize(l.DiffID, all)
		}
	}
	old := all[rec.ID]
	if old == nil || old.Claimed {
		if rec.Imported.IsZero() {
			rec.Imported = time.Now().UTC()
		}
		return
	}
	rec.Names = unique(append(rec.Names, old.Names...))
	rec.Imported = old.Imported
	if rank(old.Trust) > rank(rec.Trust) {
		// What was believed are these layers: an ACI may come with others under
		// it the next time, for which nobody vouches.
		rec.Trust, rec.Layers, rec.Parts, rec.Needs = old.Trust, old.Layers, old.Parts, old.Needs
	}
	rec.SignedBy = unique(append(slices.Clone(rec.SignedBy), old.SignedBy...))
}

func treeSize(diffID image.Digest, all map[image.ID]*image.Record) int64 {
	for _, r := range all {
		for _, l := range r.Layers {
			if !r.Claimed && l.DiffID == diffID && l.TreeSize != 0 {
				return l.TreeSize
			}
		}
	}
	return 0
}

// rank orders the grounds of trust.
func rank(t image.Trust) int {
	return slices.Index([]image.Trust{image.TrustNone, image.TrustDigest, image.TrustSignature}, t)
}

// unique keeps the first of equal ones, in a slice of its own.
func unique[T comparable](names []T) []T {
	out := make([]T, 0, len(names))
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// dropNames takes names away from r and says whether it had any of them.
func dropNames(r *image.Record, names []string) bool {
	left := slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return slices.Contains(names, n) })
	if len(left) == len(r.Names) {
		return false
	}
	r.Names = left
	return true
}
