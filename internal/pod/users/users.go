// SPDX-License-Identifier: Apache-2.0

// Package users finds ranges of the host's users and groups for pods that are to
// have their own, and keeps them apart.
//
// The host's ids are cut into slots of 65,536. Each has a file in Dir, and who
// holds its lock has the slot: the pod's processes inherit it, so it is given
// back with the last of them, however they end. No other record could be wrong.
// With CAP_SYS_PTRACE in the pod only rkt outside of it has the lock: it is given
// back milliseconds before the last process is reaped (docs/decisions/0008).
package users

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Where ranges are looked for: the upper part of what systemd's "Users, Groups,
// UIDs and GIDs on systemd Systems" leaves to containers (524288 to 1879048191).
// useradd and its like give subordinate ids from below 600100000.
const (
	slot  = contract.UsersCount
	least = 0x4000_0000
	most  = 0x6fff_0000 // the first id of the last slot
)

// Host is where the host keeps what ranges must not collide with.
type Host struct {
	Dir string // the locks
	// Nspawn is the directory of systemd-nspawn's locks of the same kind, which are
	// taken as well. It is made as nspawn would make it, so that one that comes later
	// finds them; not if the directory above is missing, for then nspawn cannot
	// choose a range either.
	Nspawn string
	// Accounts are files like passwd(5), Subordinates like subuid(5). One that is
	// missing has nobody.
	Accounts, Subordinates []string
}

// OfMachine is the machine's.
func OfMachine() Host {
	return Host{
		Dir: "/run/rkt/users", Nspawn: "/run/systemd/nspawn-uid",
		Accounts:     []string{"/etc/passwd", "/etc/group"},
		Subordinates: []string{"/etc/subuid", "/etc/subgid"},
	}
}

// A Range is held until Close, or the end of the last process that has its
// descriptors.
type Range struct {
	contract.Users
	files []*os.File
}

// FDs are the descriptors that hold the range; nil has none.
func (r *Range) FDs() []int {
	if r == nil {
		return nil
	}
	list := make([]int, len(r.files))
	for i, f := range r.files {
		list[i] = int(f.Fd())
	}
	return list
}

// Close gives the range back, unless another process has its descriptors, too.
// It may be called on nil.
func (r *Range) Close() {
	if r == nil {
		return
	}
	for _, f := range r.files {
		f.Close()
	}
	r.files = nil
}

// Take takes the range that is asked for, or finds one if its First is 0.
func (h Host) Take(want contract.Users) (*Range, error) {
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot take a range of users: %w", err)
	}
	taken, err := h.taken()
	if err != nil {
		return nil, fmt.Errorf("cannot take a range of users: %w", err)
	}
	if want.First != 0 {
		r, err := h.take(want, taken)
		if err != nil {
			return nil, fmt.Errorf("cannot take users %d to %d of the host for the pod: %w", want.First, want.First+want.Count-1, err)
		}
		return r, nil
	}
	const slots = (most-least)/slot + 1
	at, err := anywhere(slots)
	if err != nil {
		return nil, fmt.Errorf("cannot take a range of users: %w", err)
	}
	for range slots {
		r, err := h.take(contract.Users{First: least + at*slot, Count: want.Count}, taken)
		if err == nil {
			return r, nil
		}
		if !errors.As(err, new(*takenError)) {
			return nil, fmt.Errorf("cannot take a range of users: %w", err)
		}
		at = (at + 1) % slots
	}
	return nil, hint.Wrap(fmt.Errorf("cannot take a range of users: all from %d to %d are taken", least, most+slot-1),
		"look at /etc/subuid and /etc/subgid, or name a range: --private-users=FIRST:COUNT")
}

// anywhere is a number below n: pods that start at once should not all want the
// same, and a range that was just given back rather not be the next.
func anywhere(n int64) (int64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("cannot choose: %w", err)
	}
	return int64(binary.LittleEndian.Uint64(b[:]) % uint64(n)), nil
}

// takenError: somebody has a part of the range.
type takenError struct{ by string }

func (e *takenError) Error() string { return e.by }

func (h Host) take(u contract.Users, taken []interval) (r *Range, err error) {
	for _, t := range taken {
		if t.first < u.First+u.Count && u.First < t.first+t.count {
			return nil, &takenError{t.by}
		}
	}
	r = &Range{Users: u}
	for first := u.First / slot * slot; first < u.First+u.Count; first += slot {
		if err = h.lock(r, first); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// lock takes a slot's locks.
func (h Host) lock(r *Range, first int64) error {
	name := strconv.FormatInt(first, 10)
	f, err := hold(filepath.Join(h.Dir, name), func(f *os.File) error { return flock.TryLock(f, flock.Exclusive) })
	if errors.Is(err, flock.ErrBusy) {
		return &takenError{"another pod has them"}
	}
	if err != nil {
		return err
	}
	r.files = append(r.files, f)
	failpoint.Hit("users/locked")
	f, err = hold(filepath.Join(h.Nspawn, name), ofdLock)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(h.Nspawn, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			f, err = hold(filepath.Join(h.Nspawn, name), ofdLock)
		}
	}
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return &takenError{"a container of systemd-nspawn has them"}
	case errors.Is(err, fs.ErrNotExist):
		return nil // no nspawn here
	case err != nil:
		return err
	}
	r.files = append(r.files, f)
	return nil
}

// hold opens a lock file and locks it; the file still has its name then.
func hold(path string, lock func(*os.File) error) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err = lock(f); err == nil {
			err = unix.Fstat(int(f.Fd()), &st)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if st.Nlink > 0 {
			return f, nil
		}
		f.Close() // Collect was faster
	}
}

// ofdLock is systemd's way to lock a file (fcntl(2), "Open file description
// locks").
func ofdLock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// Collect removes the files of slots that nobody has. They cost nothing but room.
func (h Host) Collect() error {
	names, err := os.ReadDir(h.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list ranges of users: %w", err)
	}
	for _, n := range names {
		if err := h.collect(n.Name()); err != nil {
			return fmt.Errorf("cannot remove the lock of a range of users: %w", err)
		}
	}
	return nil
}

func (h Host) collect(name string) error {
	path := filepath.Join(h.Dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock.TryLock(f, flock.Exclusive); err != nil {
		if errors.Is(err, flock.ErrBusy) {
			return nil
		}
		return err
	}
	failpoint.Hit("users/before-remove")
	if removed, err := remove(f, path); err != nil || !removed {
		return err
	}
	return h.collectNspawn(filepath.Join(h.Nspawn, name))
}

// collectNspawn removes the lock file that was made for systemd-nspawn to see, if
// it has not come to be one of its own.
func (h Host) collectNspawn(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := ofdLock(f); err != nil {
		return nil // it has
	}
	_, err = remove(f, path)
	return err
}

// remove removes a file whose lock the caller has, if it still has its name: since
// it was opened another may have removed it and a third made and locked a new one,
// which is somebody's.
func remove(f *os.File, path string) (bool, error) {
	var locked, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &locked); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if locked.Nlink == 0 {
		return false, nil
	}
	switch err := unix.Lstat(path, &named); {
	case err == unix.ENOENT:
		return false, nil
	case err != nil:
		return false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	case named.Dev != locked.Dev || named.Ino != locked.Ino:
		return false, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}
