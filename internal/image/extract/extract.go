// SPDX-License-Identifier: Apache-2.0

// Package extract copies a merged tree (package merge) into a directory of the
// user's: content with its holes, owners, modes, extended attributes, hard
// links, devices, times to the nanosecond. No link is followed on either side,
// and a directory that cannot be finished is not there at all.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/linux/rmtree"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// Directory makes the directory path of what fill puts into an empty one, with
// the caller's own rights. path must not exist, unless overwrite: then the
// directory there is replaced, and removed, once the new one is whole. The root
// of the file system, what is a mount point and what is no directory is never
// replaced. On error path is as it was.
func Directory(path string, overwrite bool, fill func(dir *os.File) error) error {
	path, err := filepath.Abs(path)
	if err == nil {
		err = replaceable(path, overwrite)
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	temp := filepath.Join(filepath.Dir(path), ".rkt-extract-"+strconv.FormatUint(rand.Uint64(), 36))
	if err := os.Mkdir(temp, 0o700); err != nil {
		return fmt.Errorf("cannot write %q: %w", path, cause(err))
	}
	err = filled(temp, fill)
	if err == nil {
		err = replace(temp, path, overwrite)
	}
	if err != nil {
		_, rerr := rmtree.Remove(temp)
		return errors.Join(err, rerr)
	}
	return nil
}

// replaceable refuses what must not be written over.
func replaceable(path string, overwrite bool) error {
	var st, root, up unix.Stat_t
	err := unix.Lstat(path, &st)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Stat("/", &root); err != nil {
		return err
	}
	var real unix.Stat_t
	if unix.Stat(path, &real) == nil && real.Ino == root.Ino && real.Dev == root.Dev {
		return errors.New("it is the root of this system")
	}
	if !overwrite {
		return hint.Wrap(errors.New("it exists already"), "--overwrite replaces it")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New("it is there and is no directory")
	}
	if err := unix.Stat(filepath.Dir(path), &up); err != nil {
		return err
	}
	if up.Dev != st.Dev {
		return errors.New("something is mounted there")
	}
	return nil
}

func filled(temp string, fill func(*os.File) error) error {
	dir, err := os.Open(temp)
	if err != nil {
		return err
	}
	defer dir.Close()
	// What the place would hand down is not the image's.
	for _, acl := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		if err := unix.Fremovexattr(int(dir.Fd()), acl); err != nil && err != unix.ENODATA && err != unix.EOPNOTSUPP {
			return fmt.Errorf("cannot write %q: %w", temp, err)
		}
	}
	return fill(dir)
}

// replace puts temp in path's place. The old directory goes only when the new
// one has its name.
func replace(temp, path string, overwrite bool) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST && overwrite {
		if err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
			return fmt.Errorf("cannot write %q: %w", path, err)
		}
		_, err := rmtree.Remove(temp) // by now, the old one
		return err
	}
	if err == unix.EINVAL { // a file system that cannot promise it
		if _, serr := os.Lstat(path); errors.Is(serr, fs.ErrNotExist) {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, cause(err))
	}
	return nil
}

// Note is told of what could not be copied: "device", "socket", "attribute …",
// and of which file.
type Note func(what, path string)

// Tree copies what s shows into the empty directory dir, and gives dir the
// root's attributes. Without root's powers everything belongs to the caller, as
// with tar, and devices, set-id bits and privileged attributes are left out.
func Tree(ctx context.Context, s *merge.Stack, dir *os.File, note Note) error {
	root, err := s.Root()
	if err != nil {
		return err
	}
	c := &copier{ctx: ctx, to: int(dir.Fd()), root: os.Geteuid() == 0, note: note, linked: map[merge.Inode]string{}}
	return c.directory(root)
}

type copier struct {
	ctx    context.Context
	to     int
	root   bool
	note   Note
	linked map[merge.Inode]string
}

// directory copies the content of one that is made already, and then gives it
// its attributes: making what is in it changes its times, and it must be
// writable until then. No descriptor is held on the way down.
func (c *copier) directory(e *merge.Entry) error {
	children, err := e.Children()
	if err != nil {
		return err
	}
	if err := c.content(e, children); err != nil {
		return err
	}
	for _, child := range children {
		if child.IsDir() {
			if err := c.directory(child); err != nil {
				return err
			}
		}
	}
	fd, err := safepath.OpenBeneath(c.to, e.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		err = c.attributes(fd, ".", e)
		_ = unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", e.Path, cause(err))
	}
	return nil
}

func (c *copier) content(e *merge.Entry, children []*merge.Entry) error {
	fd, err := safepath.OpenBeneath(c.to, e.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", e.Path, cause(err))
	}
	defer unix.Close(fd)
	for _, child := range children {
		if c.ctx.Err() != nil {
			return errors.New("cannot write all files: interrupted")
		}
		if err := c.child(fd, child); err != nil {
			return fmt.Errorf("cannot write %q: %w", child.Path, cause(err))
		}
	}
	return nil
}

func (c *copier) child(in int, e *merge.Entry) error {
	name := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	if e.IsDir() {
		return unix.Mkdirat(in, name, 0o700)
	}
	if e.Stat.Nlink > 1 {
		if first, ok := c.linked[e.Inode()]; ok {
			return c.link(first, in, name)
		}
	}
	var err error
	switch e.Type() {
	case unix.S_IFREG:
		err = c.file(in, name, e)
	case unix.S_IFLNK:
		var target string
		if target, err = e.Link(); err == nil {
			err = unix.Symlinkat(target, in, name)
		}
	case unix.S_IFIFO:
		err = unix.Mknodat(in, name, unix.S_IFIFO|0o600, 0)
	case unix.S_IFCHR, unix.S_IFBLK:
		err = unix.Mknodat(in, name, e.Type()|0o600, int(e.Stat.Rdev))
		if err == unix.EPERM && !c.root {
			c.note("device", e.Path)
			return nil
		}
	default:
		c.note("socket", e.Path)
		return nil
	}
	if err == nil {
		err = c.attributes(in, name, e)
	}
	if err == nil && e.Stat.Nlink > 1 {
		c.linked[e.Inode()] = e.Path
	}
	return err
}

func (c *copier) link(first string, in int, name string) error {
	up, base := ".", first
	if i := strings.LastIndexByte(first, '/'); i >= 0 {
		up, base = first[:i], first[i+1:]
	}
	fd, err := safepath.OpenBeneath(c.to, up, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Linkat(fd, base, in, name, 0)
}

// file copies content, hole by hole.
func (c *copier) file(in int, name string, e *merge.Entry) error {
	from, err := e.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	fd, err := safepath.OpenBeneath(in, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), name)
	err = sparse(to, from, e.Stat.Size)
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return err
}

func sparse(to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		if errors.Is(err, unix.EINVAL) { // no holes on this file system
			data, err = at, nil
		}
		if err != nil {
			return err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil || hole > size {
			hole = size
		}
		if data >= size {
			break
		}
		if _, err := from.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, hole-data); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		at = hole
	}
	return to.Truncate(size)
}

// attributes gives name in the directory in what e has: the owner first, which
// takes capabilities and set-id bits away, the times last.
func (c *copier) attributes(in int, name string, e *merge.Entry) error {
	path := "/proc/self/fd/" + strconv.Itoa(in) + "/" + name
	link := e.Type() == unix.S_IFLNK
	mode := e.Stat.Mode & 0o7777
	if c.root {
		if err := unix.Fchownat(in, name, int(e.Stat.Uid), int(e.Stat.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("cannot give it to %d:%d: %w", e.Stat.Uid, e.Stat.Gid, err)
		}
	} else {
		mode &^= unix.S_ISUID | unix.S_ISGID // whose they would be is not who they are for
	}
	// The last name is ours alone to change, in a directory that only we can
	// enter.
	chmod := func(mode uint32) error {
		if link {
			return nil
		}
		return unix.Fchmodat(in, name, mode, 0)
	}
	least := uint32(0)
	if !c.root {
		least = 0o200 // an ordinary user sets attributes only of what may be written
	}
	if err := chmod(mode | least); err != nil {
		return err
	}
	xattrs, err := e.Xattrs()
	if err != nil {
		return err
	}
	for attr, value := range xattrs {
		err := unix.Lsetxattr(path, attr, value, 0)
		if err != nil && !c.root && (err == unix.EPERM || err == unix.EOPNOTSUPP) {
			c.note("attribute "+strconv.Quote(attr), e.Path)
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot set attribute %q: %w", attr, err)
		}
	}
	if mode&least != least {
		if err := chmod(mode); err != nil {
			return err
		}
	}
	m := unix.Timespec{Sec: e.Stat.Mtim.Sec, Nsec: e.Stat.Mtim.Nsec}
	return unix.UtimesNanoAt(in, name, []unix.Timespec{m, m}, unix.AT_SYMLINK_NOFOLLOW)
}

func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}
