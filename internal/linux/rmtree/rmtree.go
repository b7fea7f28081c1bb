// SPDX-License-Identifier: Apache-2.0

// Package rmtree removes a directory tree that strangers have filled: of any
// depth, with any modes and flags, and never beyond a mount point or through a
// symbolic link.
package rmtree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep the recursion goes; it bounds descriptors and stack. What
// lies deeper is moved up to the top and dealt with there.
const maxDepth = 64

// Remove removes path and all below it, and reports how many bytes of disk that
// gave back (blocks of a file that has other hard links are not counted). A
// path that is not there is fine. An error names the first thing that would not
// go; the rest is removed all the same.
//
// Directories without permissions and, for root, immutable and append-only
// files are no obstacle. A mount point in the tree is an error, and nothing
// below it is touched.
func Remove(path string) (freed int64, err error) {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot remove %q: %w", path, err)
	}
	defer unix.Close(parent)
	return RemoveAt(parent, filepath.Base(path), path)
}

// RemoveAt is Remove of the entry name of directory dir, which messages call path.
func RemoveAt(dir int, name, path string) (freed int64, err error) {
	r := remover{top: -1}
	err = r.remove(dir, name, path, 0)
	return r.freed, err
}

type remover struct {
	top   int // the tree's root, where deep directories are moved
	freed int64
}

// remove removes the entry name of directory dir.
func (r *remover) remove(dir int, name, path string, depth int) error {
	var st unix.Stat_t
	stat := func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) }
	err := retry(stat)
	if err == unix.EACCES {
		unlock(dir)
		err = retry(stat)
	}
	if err == unix.ENOENT {
		return nil
	}
	flags := 0
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	if err == nil {
		err = unlink(dir, name, flags)
	}
	if err == unix.EPERM || err == unix.EACCES {
		loosen(dir, name, st.Mode)
		err = unlink(dir, name, flags)
	}
	if flags != 0 && (err == unix.ENOTEMPTY || err == unix.EEXIST) {
		if depth == maxDepth {
			return r.hoist(dir, name, path)
		}
		if err = r.empty(dir, name, path, depth); err != nil {
			return err
		}
		err = unlink(dir, name, flags)
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	if flags != 0 || st.Nlink == 1 {
		r.freed += st.Blocks * 512
	}
	return nil
}

// empty removes what is in directory name of dir.
func (r *remover) empty(dir int, name, path string, depth int) error {
	fd, err := openDir(dir, name)
	if err == unix.EACCES {
		loosen(dir, name, unix.S_IFDIR)
		fd, err = openDir(dir, name)
	}
	if err != nil {
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if depth == 0 {
		r.top = fd
		defer func() { r.top = -1 }()
	}
	var first error
	for {
		names, rerr := f.Readdirnames(1024)
		for _, n := range names {
			if err := r.remove(fd, n, path+"/"+n, depth+1); err != nil && first == nil {
				first = err
			}
		}
		if rerr == nil {
			continue
		}
		if rerr != io.EOF && first == nil {
			first = fmt.Errorf("cannot remove %q: %w", path, cause(rerr))
		}
		// Directories may have come up from below behind the position of the
		// read, and not every file system reads on well while entries go.
		if first == nil && rewind(f) {
			continue
		}
		return first
	}
}

// rewind says whether a directory still has entries, and starts its reading anew.
func rewind(f *os.File) bool {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false
	}
	names, _ := f.Readdirnames(1)
	if len(names) == 0 {
		return false
	}
	_, err := f.Seek(0, io.SeekStart)
	return err == nil
}

// hoist moves a directory that lies too deep up to the tree's root.
func (r *remover) hoist(dir int, name, path string) error {
	for i := 0; ; i++ {
		to := ".deep-" + strconv.Itoa(i)
		err := unix.Renameat2(dir, name, r.top, to, unix.RENAME_NOREPLACE)
		if err == unix.EACCES || err == unix.EPERM {
			// Moving a directory writes its "..".
			loosen(dir, name, unix.S_IFDIR)
			err = unix.Renameat2(dir, name, r.top, to, unix.RENAME_NOREPLACE)
		}
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot remove %q: %w", path, err)
		}
		return nil
	}
}

// openDir opens a directory that is neither a link nor a mount point.
func openDir(dir int, name string) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	err = retry(func() (err error) { fd, err = unix.Openat2(dir, name, &how); return err })
	return fd, err
}

func unlink(dir int, name string, flags int) error {
	return retry(func() error { return unix.Unlinkat(dir, name, flags) })
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR && err != unix.EAGAIN {
			return err
		}
	}
}

// loosen takes away what keeps an entry from being removed: modes and flags of
// the entry itself, if it is a file or a directory, and of its directory. What
// goes wrong here shows in the caller's next attempt.
func loosen(dir int, name string, mode uint32) {
	unlock(dir)
	if t := mode & unix.S_IFMT; t != unix.S_IFDIR && t != unix.S_IFREG {
		return // opening a device could do anything
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unlock(fd)
}

// unlock gives the owner all rights on the file or directory behind an O_PATH
// or other descriptor and clears the flags that forbid changes.
func unlock(fd int) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return
	}
	self := "/proc/self/fd/" + strconv.Itoa(fd)
	clearFlags := func() {
		const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND // FS_IMMUTABLE_FL, FS_APPEND_FL
		rd, err := unix.Open(self, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(rd)
		if flags, err := unix.IoctlGetInt(rd, unix.FS_IOC_GETFLAGS); err == nil && flags&frozen != 0 {
			_ = unix.IoctlSetPointerInt(rd, unix.FS_IOC_SETFLAGS, flags&^frozen)
		}
	}
	clearFlags()
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o700 != 0o700 {
		_ = unix.Chmod(self, 0o700)
		clearFlags() // now that it can be opened
	}
}

func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
