// SPDX-License-Identifier: Apache-2.0

// Package flock takes flock(2) locks on open files. Such a lock belongs to the
// open file description: it is shared by dup and fork, survives exec unless the
// descriptor is close-on-exec, and ends when the last copy is closed, however
// the process ends. That is why rkt believes in nothing else as a proof of life.
package flock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another open file description holds a conflicting lock.
var ErrBusy = errors.New("locked by another process")

// Mode is the kind of a lock.
type Mode int

// The modes: many may hold Shared, one alone holds Exclusive.
const (
	Shared    Mode = unix.LOCK_SH
	Exclusive Mode = unix.LOCK_EX
)

// Lock waits until f is locked in mode m. A lock that f already holds is
// converted, which is not atomic: the old one is given up first.
func Lock(f *os.File, m Mode) error { return flock(f, int(m)) }

// TryLock is Lock without waiting: a conflicting lock is ErrBusy.
func TryLock(f *os.File, m Mode) error { return flock(f, int(m)|unix.LOCK_NB) }

// Unlock gives the lock up; closing the last copy of f does the same.
func Unlock(f *os.File) error { return flock(f, unix.LOCK_UN) }

func flock(f *os.File, how int) error {
	c, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot lock %q: %w", f.Name(), err)
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		for {
			if ferr = unix.Flock(int(fd), how); ferr != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("cannot lock %q: %w", f.Name(), err)
	case ferr == unix.EWOULDBLOCK:
		return ErrBusy
	case ferr != nil:
		return fmt.Errorf("cannot lock %q: %w", f.Name(), ferr)
	}
	return nil
}
