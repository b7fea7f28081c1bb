// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/xattr"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// inode names a file of a tree that has several names.
type inode struct {
	tree int32
	ino  uint64
}

type writer struct {
	ctx   context.Context //nolint:containedctx // of the one Write
	trees []Tree
	root  int
	links map[inode]string // where it was written first
	size  int64
}

// write copies the files of v, and sets directories' attributes at the end:
// what is made in them changes their times.
func (w *writer) write(v view) error {
	paths := make([]string, 0, len(v))
	for p := range v {
		paths = append(paths, p)
	}
	// By component, so that a directory comes before what is in it.
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, p := range paths {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if p == "." {
			continue
		}
		if err := w.entry(p, v[p]); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
	}
	for _, p := range slices.Backward(paths) {
		if e := v[p]; e.isDir() {
			if err := w.attributes(p, e); err != nil {
				return fmt.Errorf("%q: %w", p, err)
			}
		}
	}
	return nil
}

func sortKey(p string) string {
	if p == "." {
		return ""
	}
	return strings.ReplaceAll(p, "/", "\x00")
}

// place is a directory, opened, and a name in it.
type place struct {
	dir  int
	name string
}

func openPlace(root int, p string) (place, error) {
	fd, err := safepath.OpenBeneath(root, path.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	return place{fd, path.Base(p)}, err
}

func (p place) close() { _ = unix.Close(p.dir) }

// proc is a path by which the calls that take no descriptor reach the file
// itself: the name has no slash, and they follow no link.
func (p place) proc() string { return "/proc/self/fd/" + strconv.Itoa(p.dir) + "/" + p.name }

// both opens where a path is read from and where it is written to.
func (w *writer) both(p string, e entry) (from, to place, err error) {
	if from, err = openPlace(int(w.trees[e.tree].Root.Fd()), p); err != nil {
		return from, to, err
	}
	if to, err = openPlace(w.root, p); err != nil {
		from.close()
	}
	return from, to, err
}

// entry makes one file, or a directory without its attributes.
func (w *writer) entry(p string, e entry) error {
	from, to, err := w.both(p, e)
	if err != nil {
		return err
	}
	defer from.close()
	defer to.close()
	if e.isDir() {
		return unix.Mkdirat(to.dir, to.name, 0o700)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from.dir, from.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != e.mode {
		return errors.New("it changed meanwhile")
	}
	key := inode{e.tree, st.Ino}
	if st.Nlink > 1 {
		if first, ok := w.links[key]; ok {
			other, err := openPlace(w.root, first)
			if err != nil {
				return err
			}
			defer other.close()
			return unix.Linkat(other.dir, other.name, to.dir, to.name, 0)
		}
		w.links[key] = p
	}
	switch e.mode {
	case unix.S_IFREG:
		err = w.regular(from, to, st.Size)
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		var n int
		if n, err = unix.Readlinkat(from.dir, from.name, target); err == nil {
			err = unix.Symlinkat(string(target[:n]), to.dir, to.name)
		}
	default:
		err = unix.Mknodat(to.dir, to.name, e.mode|0o600, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	return copyAttributes(from, to, &st)
}

// regular copies a file's content: by sharing it where the file system can,
// else without its holes.
func (w *writer) regular(from, to place, size int64) error {
	in, err := safepath.OpenBeneath(from.dir, from.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	out, err := unix.Openat(to.dir, to.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(out, in)
	if err != nil {
		err = copyData(in, out, size)
	}
	w.size += size
	return errors.Join(err, unix.Close(out))
}

func copyData(in, out int, size int64) error {
	if err := unix.Ftruncate(out, size); err != nil {
		return err
	}
	for off := int64(0); off < size; {
		data, err := unix.Seek(in, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		end := size
		if err == nil {
			end, err = unix.Seek(in, data, unix.SEEK_HOLE)
		}
		if err != nil {
			return err
		}
		for at := data; at < end; {
			to := at
			n, err := unix.CopyFileRange(in, &at, out, &to, int(min(end-at, 1<<30)), 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err == nil && n == 0 {
				err = errors.New("it became shorter meanwhile")
			}
			if err != nil {
				return err
			}
		}
		off = end
	}
	return nil
}

// attributes sets those of a directory.
func (w *writer) attributes(p string, e entry) error {
	from, to, err := w.both(p, e)
	if err != nil {
		return err
	}
	defer from.close()
	defer to.close()
	var st unix.Stat_t
	if err := unix.Fstatat(from.dir, from.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return copyAttributes(from, to, &st)
}

// copyAttributes sets owner, mode, extended attributes and time, in the order in
// which one does not undo the other.
func copyAttributes(from, to place, st *unix.Stat_t) error {
	if err := unix.Fchownat(to.dir, to.name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(to.dir, to.name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	attrs, err := xattr.All(from.dir, from.name, xattr.Travels)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if err := unix.Lsetxattr(to.proc(), name, value, 0); err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	t := unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}
	return unix.UtimesNanoAt(to.dir, to.name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}
