// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/flock"
)

// Scratch is an empty file without a name on the store's file system: it is
// gone when its last descriptor is closed.
func (s *Store) Scratch() (*os.File, error) {
	f, err := os.OpenFile(s.rkt("tmp"), os.O_RDWR|unix.O_TMPFILE, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		f, err = s.namedScratch()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make scratch file: %w", cause(err))
	}
	return f, nil
}

// namedScratch is for file systems without O_TMPFILE, such as NFS.
func (s *Store) namedScratch() (*os.File, error) {
	l, err := s.lock(flock.Shared)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := createLocked(s.rkt("tmp"))
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
