// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/rmtree"
)

// Remove deletes the pod's directory, which must be locked and in phase
// ExitedGarbage or Garbage, and gives the lock up. The lock file goes last, so
// that a removal that is killed or fails can be taken up again. No symbolic
// link is followed and no mount entered: what is mounted below the directory
// stays, and is an error. What can be removed is removed despite errors.
func (p *Pod) Remove() error {
	if p.lock == nil || p.phase != ExitedGarbage && p.phase != Garbage {
		return fmt.Errorf("cannot remove pod %s: not locked, or in phase %s", p.id, p.phase)
	}
	if err := p.remove(); err != nil {
		return fmt.Errorf("cannot remove pod %s: %w", p.id, err)
	}
	return p.Close()
}

func (p *Pod) remove() error {
	failpoint.Hit("lifecycle/before-remove")
	fd, err := unix.Open(p.path(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	top := os.NewFile(uintptr(fd), p.path())
	defer top.Close()
	r := remover{top: top}
	// More than one round only for trees that were pulled up.
	for moved := -1; moved != r.pulled; {
		moved = r.pulled
		if _, err := top.Seek(0, 0); err != nil {
			return err
		}
		if err := r.empty(top, ManifestFile, 0); err != nil {
			return err
		}
	}
	failpoint.Hit("lifecycle/remove-emptied")
	if err := unix.Unlinkat(fd, ManifestFile, 0); err != nil && err != unix.ENOENT {
		return err
	}
	failpoint.Hit("lifecycle/remove-unlocked")
	switch err := unix.Rmdir(p.path()); err {
	case nil, unix.ENOENT:
	case unix.ENOTEMPTY, unix.EEXIST:
		// Somebody who wants to remove the pod has put a lock file back; the
		// empty rest is theirs.
	default:
		return err
	}
	failpoint.Hit("lifecycle/after-remove")
	return nil
}

// remover deletes trees below top.
type remover struct {
	top    *os.File
	pulled int
}

// maxDepth bounds the open descriptors. An app can make a tree of any depth; a
// directory deeper than this is moved up to top, to be removed from there.
const maxDepth = 100

// empty deletes all that is in d but keep.
func (r *remover) empty(d *os.File, keep string, depth int) error {
	if os.Geteuid() != 0 {
		_ = d.Chmod(0o700) // ours, but perhaps not writable
	}
	fd := int(d.Fd())
	entries, err := d.ReadDir(-1)
	for _, e := range entries {
		if e.Name() == keep {
			continue
		}
		if rerr := r.remove(fd, d.Name(), e, depth); err == nil {
			err = rerr
		}
	}
	return err
}

// remove deletes e from the directory fd, called dir in messages.
func (r *remover) remove(fd int, dir string, e fs.DirEntry, depth int) error {
	name := e.Name()
	fail := func(op string, err error) error {
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err == unix.EPERM { // immutable, as an app with CAP_LINUX_IMMUTABLE can make files
			_, err := rmtree.RemoveAt(fd, name, filepath.Join(dir, name))
			return err
		}
		return &fs.PathError{Op: op, Path: filepath.Join(dir, name), Err: err}
	}
	if !e.IsDir() {
		return fail("unlink", unix.Unlinkat(fd, name, 0))
	}
	err := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	if err != unix.ENOTEMPTY && err != unix.EEXIST {
		return fail("rmdir", err)
	}
	if depth >= maxDepth {
		r.pulled++
		up := ".deep-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(r.pulled)
		return fail("rename", unix.Renameat(fd, name, int(r.top.Fd()), up))
	}
	sub, err := openDir(fd, name)
	if err != nil {
		if err == unix.EXDEV {
			err = errors.New("something is mounted there")
		}
		return fail("open", err)
	}
	f := os.NewFile(uintptr(sub), filepath.Join(dir, name))
	err = r.empty(f, "", depth+1)
	f.Close()
	if err != nil {
		return err
	}
	return fail("rmdir", unix.Unlinkat(fd, name, unix.AT_REMOVEDIR))
}

func openDir(at int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := unix.Openat2(at, name, &how)
	if err != unix.EACCES || os.Geteuid() == 0 {
		return fd, err
	}
	// A directory of our own that we may not read, as overlayfs' work/work.
	how.Flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	p, err := unix.Openat2(at, name, &how)
	if err != nil {
		return -1, err
	}
	defer unix.Close(p)
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(p), 0o700); err != nil {
		return -1, err
	}
	how.Flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	return unix.Openat2(at, name, &how)
}
