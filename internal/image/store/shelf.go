// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rkt/rkt/internal/image"
)

// A shelf is where the ACIs of one appc name are listed, so that a name is
// looked up in the same time however many other images there are. Like names/
// it follows the records.

// ByAppcName lists the stored ACIs whose manifest has that name, whatever their
// labels and however they were fetched, by ID. None is an empty list.
func (s *Store) ByAppcName(name string) ([]image.Record, error) {
	names, err := dirNames(s.shelf(name))
	if err != nil {
		return nil, fmt.Errorf("cannot look up %q: %w", name, err)
	}
	found := map[image.ID]*image.Record{}
	for _, n := range names {
		if _, err := image.ParseDigest(string(image.ID(n).Digest())); err != nil {
			continue
		}
		r, err := s.readRecord(image.ID(n))
		if errors.Is(err, fs.ErrNotExist) || err == nil && r.Name != name {
			continue // a kill left it behind
		}
		if err != nil {
			return nil, err
		}
		found[r.ID] = &r
	}
	list := make([]image.Record, 0, len(found))
	for _, id := range sortedIDs(found) {
		list = append(list, *found[id])
	}
	return list, nil
}

func (s *Store) shelf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.rkt("appc", hex.EncodeToString(sum[:]))
}

// writeShelf puts an ACI on its shelf. The caller holds the lock exclusively.
func (s *Store) writeShelf(r *image.Record) error {
	if r.Name == "" || !s.Trees() { // members' ACIs are found by the names they were fetched by
		return nil
	}
	shelf := s.shelf(r.Name)
	err := os.MkdirAll(shelf, dirMode)
	if err == nil {
		err = os.WriteFile(shelf+"/"+string(r.ID), nil, fileMode)
	}
	if err != nil {
		return fmt.Errorf("cannot note the name of image %s: %w", r.ID.Short(), cause(err))
	}
	return nil
}

// clearShelf takes a removed image off its shelf.
func (s *Store) clearShelf(r *image.Record) error {
	if r.Name == "" {
		return nil
	}
	shelf := s.shelf(r.Name)
	if err := others(os.Remove(shelf + "/" + string(r.ID))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the name of image %s: %w", r.ID.Short(), cause(err))
	}
	_ = os.Remove(shelf) // if it was the last
	return nil
}

// repairShelves makes the shelves agree with the records.
func (s *Store) repairShelves(all map[image.ID]*image.Record) error {
	if !s.Trees() {
		return nil // only who makes trees writes here
	}
	shelves, err := dirNames(s.rkt("appc"))
	if err != nil {
		return fmt.Errorf("cannot list names of images: %w", err)
	}
	var errs []error
	for _, n := range shelves {
		shelf := s.rkt("appc", n)
		ids, err := dirNames(shelf)
		errs = append(errs, err)
		for _, id := range ids {
			if r := all[image.ID(id)]; r == nil || s.shelf(r.Name) != shelf {
				errs = append(errs, os.Remove(shelf+"/"+id))
			}
		}
		_ = os.Remove(shelf) // if it is empty
	}
	for _, r := range all {
		if !r.Claimed {
			errs = append(errs, s.writeShelf(r))
		}
	}
	return errors.Join(errs...)
}
