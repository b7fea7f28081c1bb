// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
)

// ByID finds an image by its ID: "sha256-…" or "sha256:…", sha512 likewise,
// shortened to no less than two hexadecimal digits as long as only one image
// begins so. A full ID costs the reading of one file; a short one lists the
// records. Errors: ErrNotFound, *AmbiguousError.
func (s *Store) ByID(prefix string) (image.Record, error) {
	p := strings.Replace(prefix, ":", "-", 1)
	algo, hexa, _ := strings.Cut(p, "-")
	full := map[string]int{"sha256": 64, "sha512": 128}[algo]
	if full == 0 || len(hexa) < 2 || len(hexa) > full || !isHex(hexa) {
		return image.Record{}, fmt.Errorf("cannot find image %q: not an image ID, which is sha256- or sha512- and at least two lower-case hexadecimal digits", prefix)
	}
	if len(hexa) == full {
		r, err := s.readRecord(image.ID(p))
		return r, notFound(prefix, err)
	}
	ids, err := s.ids(p)
	switch {
	case err != nil:
		return image.Record{}, err
	case len(ids) == 0:
		return image.Record{}, notFound(prefix, fs.ErrNotExist)
	case len(ids) > 1:
		return image.Record{}, &AmbiguousError{Prefix: p, Candidates: ids}
	}
	r, err := s.readRecord(ids[0])
	return r, notFound(prefix, err)
}

// ByName finds the image that a canonical name (ref.Ref.Canonical) stands for.
// It reads two small files, however many images there are. Error: ErrNotFound.
func (s *Store) ByName(name string) (image.Record, error) {
	id, of, trusted, err := readName(s.namePath(name))
	if err != nil {
		return image.Record{}, notFound(name, err)
	}
	if of != name {
		return image.Record{}, notFound(name, fs.ErrNotExist) // another name's file, put there
	}
	r, err := s.readRecord(id)
	if !trusted {
		r.Claimed, r.Trust, r.SignedBy = true, image.TrustNone, nil
	}
	return r, notFound(name, err)
}

// List returns all images, by ID. An image that is removed meanwhile may be
// missing; one that is committed meanwhile may be there.
func (s *Store) List() ([]image.Record, error) {
	all, err := s.readAll()
	if err != nil {
		return nil, err
	}
	list := make([]image.Record, 0, len(all))
	for _, id := range sortedIDs(all) {
		list = append(list, *all[id])
	}
	return list, nil
}

// Used notes that an image is used now, for LastUsed and Collect. It is a note,
// not a promise: nothing is synced, and a store that may not be written stays
// as it is.
func (s *Store) Used(id image.ID) {
	if _, err := image.ParseDigest(string(id.Digest())); err == nil {
		now := unix.Timespec{Nsec: unix.UTIME_NOW}
		_ = touch(s.recordPath(id), [2]unix.Timespec{now, now})
	}
}

// LastUsed is when the image was last fetched or Used. Error: ErrNotFound.
func (s *Store) LastUsed(id image.ID) (time.Time, error) {
	fi, err := os.Lstat(s.recordPath(id))
	if err != nil {
		return time.Time{}, notFound(string(id), err)
	}
	return fi.ModTime(), nil
}

func notFound(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot find image %q: %w", what, ErrNotFound)
	}
	return err
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

func (s *Store) recordPath(id image.ID) string { return s.rkt("records", string(id)+".json") }

func (s *Store) namePath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.rkt("names", hex.EncodeToString(sum[:]))
}

// readName reads a file of names/; its errors are bare, for the caller to wrap.
func readName(path string) (of image.ID, name string, trusted bool, err error) {
	b, trusted, err := readPlain(path)
	if err != nil {
		return "", "", false, err
	}
	id, name, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
	if _, err := image.ParseDigest(string(image.ID(id).Digest())); err != nil {
		return "", "", false, hint.Wrap(fmt.Errorf("cannot read %q: not the name of an image", path),
			"`rkt image gc` puts names right")
	}
	return image.ID(id), name, trusted, nil
}

func (s *Store) writeName(name string, id image.ID) error {
	return atomicfile.Write(s.namePath(name), []byte(string(id)+" "+name+"\n"), fileMode)
}

func (s *Store) readRecord(id image.ID) (image.Record, error) {
	var r image.Record
	path := s.recordPath(id)
	b, trusted, err := readPlain(path)
	if err != nil {
		return r, err
	}
	r, err = image.DecodeRecord(b)
	if err == nil && r.ID != id {
		err = fmt.Errorf("it is of image %q", r.ID)
	}
	if !trusted {
		if err == nil {
			err = check(r)
		}
		if err != nil {
			return image.Record{}, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist} // nothing of anybody's
		}
		s.claim(&r)
	}
	if err != nil {
		return image.Record{}, hint.Wrap(fmt.Errorf("cannot read image record %q: %w", path, err),
			"remove that file, run `rkt image gc` and fetch the image again")
	}
	return r, nil
}

// writeRecord replaces a record. A record that changes only because a name
// moved to another image keeps its time of last use.
func (s *Store) writeRecord(r *image.Record, keepTime bool) error {
	b, err := r.Encode()
	if err != nil {
		return fmt.Errorf("cannot encode record of image %s: %w", r.ID, err)
	}
	path := s.recordPath(r.ID)
	fi, statErr := os.Lstat(path)
	if err := atomicfile.Write(path, append(b, '\n'), fileMode); err != nil {
		return err
	}
	if keepTime && statErr == nil {
		t := unix.NsecToTimespec(fi.ModTime().UnixNano())
		return touch(path, [2]unix.Timespec{t, t})
	}
	return nil
}

// ids lists the images whose ID begins with prefix, sorted.
func (s *Store) ids(prefix string) ([]image.ID, error) {
	names, err := dirNames(s.rkt("records"))
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	var ids []image.ID
	for _, n := range names {
		id, ok := strings.CutSuffix(n, ".json")
		if !ok || !strings.HasPrefix(id, prefix) {
			continue
		}
		if _, err := image.ParseDigest(string(image.ID(id).Digest())); err == nil {
			ids = append(ids, image.ID(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (s *Store) readAll() (map[image.ID]*image.Record, error) {
	ids, err := s.ids("")
	if err != nil {
		return nil, err
	}
	all := make(map[image.ID]*image.Record, len(ids))
	for _, id := range ids {
		r, err := s.readRecord(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[id] = &r
	}
	return all, nil
}

func sortedIDs(all map[image.ID]*image.Record) []image.ID {
	ids := make([]image.ID, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// dirNames lists a directory; one that is not there is empty.
func dirNames(path string) ([]string, error) {
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
