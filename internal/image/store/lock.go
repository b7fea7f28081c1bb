// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/flock"
)

// Lease keeps images from being removed while it is held.
type Lease struct{ f *os.File }

// Lease takes the store's lock, shared, and waits for a removal that is under
// way. Hold it from the lookup of an image until the pod directory names its
// layers; then Close it. It costs an open and a flock.
//
// Commit, Remove and Collect wait for every lease, the caller's own too: close
// it before.
func (s *Store) Lease() (*Lease, error) {
	f, err := s.lock(flock.Shared)
	if err != nil {
		return nil, err
	}
	return &Lease{f}, nil
}

// Close gives the lease up.
func (l *Lease) Close() error { return l.f.Close() }

// lock opens and locks the store's lock file; closing it unlocks. A read-only
// descriptor is enough for flock, so that whoever may read the store may lease.
func (s *Store) lock(m flock.Mode) (*os.File, error) {
	f, err := os.Open(s.rkt("lock"))
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody else's OCI layout, or one that lost our directory.
		if err = s.create(); err == nil {
			f, err = os.Open(s.rkt("lock"))
		}
	}
	if err != nil {
		return nil, forMembers(fmt.Errorf("cannot lock image store: %w", err))
	}
	if err := flock.Lock(f, m); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// FetchLock lets one process at a time fetch what key names (a canonical
// reference). It waits for another that does so already and then reports
// waited, so that the caller looks into the store again before it fetches.
// Close gives the lock up.
func (s *Store) FetchLock(key string) (l io.Closer, waited bool, err error) {
	l, err = s.fetchLock(key, flock.TryLock)
	if errors.Is(err, flock.ErrBusy) {
		waited = true
		l, err = s.fetchLock(key, flock.Lock)
	}
	return l, waited, err
}

// TryFetchLock is FetchLock without waiting: flock.ErrBusy if another process
// has it, so that the caller can say so before it waits.
func (s *Store) TryFetchLock(key string) (io.Closer, error) {
	return s.fetchLock(key, flock.TryLock)
}

func (s *Store) fetchLock(key string, take func(*os.File, flock.Mode) error) (io.Closer, error) {
	sum := sha256.Sum256([]byte(key))
	path := s.rkt("fetch", hex.EncodeToString(sum[:]))
	for {
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, fileMode)
		if err != nil {
			return nil, fmt.Errorf("cannot lock fetch of %q: %w", key, err)
		}
		if err := take(f, flock.Exclusive); err != nil {
			f.Close()
			return nil, err
		}
		// The holder before us removed the file when it was done: what we
		// locked may no longer be what others will lock.
		if sameFile(f, path) {
			return &fetchLock{f, path}, nil
		}
		f.Close()
	}
}

type fetchLock struct {
	f    *os.File
	path string
}

// Close removes the file while it is still locked, see sameFile.
func (l *fetchLock) Close() error {
	if l.f == nil {
		return nil
	}
	err := os.Remove(l.path)
	if cerr := l.f.Close(); err == nil {
		err = cerr
	}
	l.f = nil
	return err
}

// sameFile says whether path still names the open file f.
func sameFile(f *os.File, path string) bool {
	var a, b unix.Stat_t
	if unix.Lstat(path, &a) != nil || unix.Fstat(int(f.Fd()), &b) != nil {
		return false
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}
