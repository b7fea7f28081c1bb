// SPDX-License-Identifier: Apache-2.0

// Package lease keeps, in files, who holds an address or a port: one file each,
// named for what is held, with the holder's name in it. Making the file is
// taking it, removing it is giving it back.
//
// Whoever takes, takes over or gives back holds the lock of Open meanwhile. So a
// file without a holder was left by a process that died between making and
// writing it, and is nobody's.
package lease

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod"
)

// maxSize bounds what is read of one file.
const maxSize = 4 << 10

// Lock is the right to take and to give back, below one directory.
type Lock struct {
	dir string
	f   *os.File
}

// Open makes the directory if it is not there, and waits for its lock.
func Open(dir string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o750); err == nil {
			f, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
		}
	}
	if err == nil {
		if err = flock.Lock(f, flock.Exclusive); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the networks: %w", err)
	}
	return &Lock{dir, f}, nil
}

// Close gives the lock up.
func (l *Lock) Close() error { return l.f.Close() }

// Holder is who holds something.
type Holder struct {
	UUID pod.UUID
	Note string // one line; the taker's own
}

// Kind is a directory of leases below the lock's.
type Kind struct {
	lock *Lock
	dir  string
}

// Kind gives the leases in a directory, which is made if it is not there.
func (l *Lock) Kind(name ...string) (Kind, error) {
	k := Kind{l, filepath.Join(append([]string{l.dir}, name...)...)}
	if err := os.MkdirAll(k.dir, 0o750); err != nil {
		return k, fmt.Errorf("cannot make the directory of leases: %w", err)
	}
	return k, nil
}

// Look is for those who only read, by Names and Holder, and need no lock for it.
func Look(dir string) Kind { return Kind{dir: dir} }

// HeldError says that somebody has the thing.
type HeldError struct {
	Name string
	By   Holder
}

func (e *HeldError) Error() string { return e.Name + " is held by pod " + string(e.By.UUID) }

// Take takes the thing of that name. If a pod holds it that alive does not know
// (nil knows all), it is taken over, and was tells of the former holder; else it
// is a *HeldError.
func (k Kind) Take(name string, h Holder, alive func(pod.UUID) bool) (was *Holder, err error) {
	path := filepath.Join(k.dir, name)
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err == nil {
			failpoint.Hit("lease/made")
			_, err = f.WriteString(string(h.UUID) + " " + h.Note + "\n")
			if cerr := f.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				_ = os.Remove(path)
				return was, fmt.Errorf("cannot write the lease: %w", err)
			}
			failpoint.Hit("lease/written")
			return was, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("cannot make the lease: %w", err)
		}
		old, err := k.Holder(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil && !errors.Is(err, errNobody):
			return nil, err
		case err == nil && (alive == nil || alive(old.UUID)):
			return nil, &HeldError{name, old}
		case err == nil:
			was = &old
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot take the lease over: %w", err)
		}
	}
}

// errNobody: the file names no holder.
var errNobody = errors.New("the lease is nobody's")

// Holder reads who holds the thing.
func (k Kind) Holder(name string) (h Holder, err error) {
	f, err := os.Open(filepath.Join(k.dir, name))
	if err != nil {
		return h, fmt.Errorf("cannot read the lease: %w", err)
	}
	defer f.Close()
	b := make([]byte, maxSize+1)
	n, err := f.Read(b)
	if n == 0 || n > maxSize {
		return h, errNobody
	}
	return parse(b[:n])
}

// parse reads "UUID NOTE\n".
func parse(b []byte) (h Holder, err error) {
	line, _, whole := bytes.Cut(b, []byte("\n"))
	uuid, note, ok := strings.Cut(string(line), " ")
	if !whole || !ok {
		return h, errNobody
	}
	if h.UUID, err = pod.ParseUUID(uuid); err != nil {
		return Holder{}, errNobody
	}
	h.Note = note
	return h, nil
}

// GiveBack removes the lease if the pod holds it.
func (k Kind) GiveBack(name string, uuid pod.UUID) error {
	h, err := k.Holder(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNobody) || err == nil && h.UUID != uuid {
		return nil
	}
	if err == nil {
		failpoint.Hit("lease/before-remove")
		if err = os.Remove(filepath.Join(k.dir, name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		failpoint.Hit("lease/removed")
	}
	if err != nil {
		err = fmt.Errorf("cannot give the lease back: %w", err)
	}
	return err
}

// Names are all things that are held, sorted.
func (k Kind) Names() ([]string, error) {
	d, err := os.Open(k.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list leases: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list leases: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") })
	slices.Sort(names)
	return names, nil
}

// Empty reports whether nothing is held.
func (k Kind) Empty() (bool, error) {
	d, err := os.Open(k.dir)
	if err != nil {
		return false, fmt.Errorf("cannot list leases: %w", err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(4)
		for _, n := range names {
			if !strings.HasPrefix(n, ".") {
				return false, nil
			}
		}
		if err != nil {
			return true, nil // io.EOF
		}
	}
}

// Held lists what is held, and by whom. Leases that are nobody's are removed.
func (k Kind) Held() (map[string]Holder, error) {
	names, err := k.Names()
	if err != nil {
		return nil, err
	}
	held := make(map[string]Holder, len(names))
	for _, name := range names {
		h, err := k.Holder(name)
		switch {
		case err == nil:
			held[name] = h
		case errors.Is(err, errNobody):
			if err := os.Remove(filepath.Join(k.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("cannot remove a lease that is nobody's: %w", err)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return held, nil
}

// Drop gives back all that pods hold which are not alive, and returns it.
func (k Kind) Drop(alive func(pod.UUID) bool) (map[string]Holder, error) {
	held, err := k.Held()
	if err != nil {
		return nil, err
	}
	gone := map[string]Holder{}
	known := map[pod.UUID]bool{}
	for name, h := range held {
		if _, asked := known[h.UUID]; !asked {
			known[h.UUID] = alive(h.UUID)
		}
		if known[h.UUID] {
			continue
		}
		if err := k.GiveBack(name, h.UUID); err != nil {
			return gone, err
		}
		gone[name] = h
	}
	return gone, nil
}

// Mark is a small text beside the leases, "" if there is none.
func (k Kind) Mark() string {
	b, err := os.ReadFile(filepath.Join(k.dir, ".mark"))
	if err != nil || len(b) > maxSize {
		return ""
	}
	return string(b)
}

// SetMark replaces it.
func (k Kind) SetMark(text string) error {
	if err := atomicfile.WriteFast(filepath.Join(k.dir, ".mark"), []byte(text), 0o640); err != nil {
		return fmt.Errorf("cannot note the last lease: %w", err)
	}
	return nil
}
