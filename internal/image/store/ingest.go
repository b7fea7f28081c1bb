// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/flock"
)

// pinFile lists the blobs and trees that a live process has seen or added and
// means to name in a record. Collect spares them as long as the file is
// flock'ed; a file that is not is what a killed process left.
//
// The alternative, a lease held for the whole of a download, would make every
// Commit wait for the slowest registry.
type pinFile struct {
	f    *os.File
	path string
	have map[string]bool
}

// pin makes sure that Collect spares d (kind "blob", "layer" or "image") until the Store
// is closed. The caller holds the store's lock, shared at least.
func (s *Store) pin(kind string, d image.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins == nil {
		f, err := createLocked(s.rkt("ingest"))
		if err != nil {
			return err
		}
		s.pins = &pinFile{f: f, path: f.Name(), have: map[string]bool{}}
	}
	line := kind + " " + string(d) + "\n"
	if s.pins.have[line] {
		return nil
	}
	if _, err := s.pins.f.WriteString(line); err != nil {
		return fmt.Errorf("cannot note an image in progress: %w", err)
	}
	s.pins.have[line] = true
	return nil
}

// Hold keeps an image from being collected, though not from being removed by
// name, until the Store is closed: for a process that is about to use it. It
// says whether the image is there.
func (s *Store) Hold(id image.ID) bool {
	if _, err := image.ParseDigest(string(id.Digest())); err != nil {
		return false
	}
	defer s.pinShared("image", id.Digest())()
	_, err := os.Lstat(s.recordPath(id))
	return err == nil
}

func (p *pinFile) close() error {
	err := os.Remove(p.path)
	if cerr := p.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// livePins reads the pins of all live processes, this one's too, and removes
// what dead ones left. The caller holds the store's lock exclusively.
func (s *Store) livePins() (map[string]bool, error) {
	pins := map[string]bool{}
	err := s.sweepLocked("ingest", func(live *os.File) error {
		b, err := io.ReadAll(live)
		for line := range strings.Lines(string(b)) {
			pins[strings.TrimSuffix(line, "\n")] = true
		}
		return err
	}, nil)
	return pins, err
}

// sweepLocked removes the files of images/rkt/<dir> that nobody has locked,
// counting them in c, and calls live for the others; both may be nil. It does
// not stop at errors.
func (s *Store) sweepLocked(dir string, live func(*os.File) error, c *Collected) error {
	names, err := dirNames(s.rkt(dir))
	errs := []error{err}
	for _, n := range names {
		if strings.HasPrefix(n, partPrefix) {
			continue // sweepPartials'
		}
		f, err := os.OpenFile(s.rkt(dir, n), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, unix.ELOOP) {
			err = os.Remove(s.rkt(dir, n)) // nothing of ours is a link
			errs = append(errs, others(err))
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		switch err = flock.TryLock(f, flock.Exclusive); {
		case err == nil:
			var freed int64
			if sameFile(f, f.Name()) {
				freed, err = removeFile(f.Name())
				err = others(err)
			}
			if c != nil && err == nil {
				c.Orphans++
				c.Freed += max(freed, 0)
			}
		case errors.Is(err, flock.ErrBusy):
			err = nil
			if live != nil {
				err = live(f)
			}
		}
		f.Close()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// others lets pass that a file is another user's to remove: root's collection
// will.
func others(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return nil
	}
	return err
}

// createLocked makes a new file in dir and locks it. The caller holds the
// store's lock, shared at least, so that no Collect comes between the two.
func createLocked(dir string) (*os.File, error) {
	for {
		f, err := os.OpenFile(dir+"/"+random(), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err = f.Chmod(fileMode); err == nil {
			err = flock.Lock(f, flock.Exclusive)
		}
		if err != nil {
			os.Remove(f.Name())
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

func random() string { return strconv.FormatUint(rand.Uint64(), 36) }
