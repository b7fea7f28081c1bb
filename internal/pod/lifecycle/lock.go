// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/flock"
)

// Lock takes the pod's lock exclusively, without waiting for a holder: that is
// ErrBusy. Afterwards Phase is certain. A pod that was removed meanwhile is
// ErrNotFound. Locking what is locked already does nothing.
func (p *Pod) Lock() error {
	if p.lock != nil {
		return nil
	}
	// State looks at liveness through a shared lock held for microseconds; that
	// must not make us think the pod is in use.
	for wait := time.Millisecond; ; wait *= 2 {
		err := p.tryLock()
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrBusy) || wait > 16*time.Millisecond {
			return fmt.Errorf("cannot lock pod %s: %w", p.id, err)
		}
		time.Sleep(wait)
	}
}

func (p *Pod) tryLock() error {
	for {
		var f *os.File
		// A pod directory without a lock file is torn: a creation or a removal
		// that was killed. It is locked like any other to be removed.
		err := p.retry(func() (err error) {
			f, err = os.OpenFile(filepath.Join(p.path(), ManifestFile), os.O_RDONLY|os.O_CREATE, 0o640)
			return err
		})
		if err != nil {
			if errors.Is(err, ErrNotFound) {
				return ErrNotFound
			}
			return cause(err)
		}
		if err := flock.TryLock(f, flock.Exclusive); err != nil {
			f.Close()
			return err
		}
		same, err := p.isLockFile(f)
		if err != nil {
			f.Close()
			return err
		}
		if same {
			p.lock = f
			return nil
		}
		// Renamed or removed between our open and our lock.
		f.Close()
		if err := p.locate(); err != nil {
			return ErrNotFound
		}
	}
}

func (p *Pod) isLockFile(f *os.File) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Lstat(filepath.Join(p.path(), ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(a, b), err
}

// LockFile is the open file that holds the lock, close-on-exec; nil if it is
// not held. The process that is to keep the pod alive inherits it.
func (p *Pod) LockFile() *os.File { return p.lock }

// Close gives the lock up, if it is held. The pod can still be looked at.
func (p *Pod) Close() error {
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock = nil
	return err
}

// State looks where the pod is and whether it is alive. A pod that is gone is
// ErrNotFound.
func (p *Pod) State() (State, error) {
	if p.lock != nil {
		return stateOf(p.phase, true), nil
	}
	for {
		held, err := p.held()
		if err != nil {
			return "", fmt.Errorf("cannot tell the state of pod %s: %w", p.id, err)
		}
		// The phase may have changed around the look at the lock: a pod just
		// prepared is not an aborted one.
		var st unix.Stat_t
		if unix.Lstat(p.path(), &st) == nil {
			return stateOf(p.phase, held), nil
		}
		if err := p.locate(); err != nil {
			return "", err
		}
	}
}

// held reports whether anybody holds the lock.
func (p *Pod) held() (bool, error) {
	if p.phase == Embryo || p.phase == Prepared {
		return false, nil // says nothing in these phases
	}
	var f *os.File
	err := p.retry(func() (err error) {
		f, err = os.Open(filepath.Join(p.path(), ManifestFile))
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return false, ErrNotFound
	case errors.Is(err, fs.ErrNotExist):
		return false, nil // torn
	case err != nil:
		return false, cause(err)
	}
	defer f.Close()
	err = flock.TryLock(f, flock.Shared)
	if errors.Is(err, ErrBusy) {
		return true, nil
	}
	return false, err
}

// Wait returns when the pod has ended, or is gone; a pod that is prepared but
// not yet started is waited for as well. It returns ctx's error when that is
// done first.
func (p *Pod) Wait(ctx context.Context) error {
	// Polling: a blocked flock cannot be called off, and when it is granted it
	// is granted before whoever wants the lock for work.
	const longest = 200 * time.Millisecond
	for wait := 2 * time.Millisecond; ; wait = min(wait*3/2, longest) {
		s, err := p.State()
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.Ended() {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
