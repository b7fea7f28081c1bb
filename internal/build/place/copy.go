// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/linux/xattr"
)

// Options say how files are copied.
type Options struct {
	// KeepOwner: owners are those of the source; else everything is the caller's.
	KeepOwner bool
	// StrangersAreRoot goes with KeepOwner: in a user namespace, what belongs to a
	// user that it does not have becomes root's. Else that is an error.
	StrangersAreRoot bool
	// Skip, if not nil, leaves out what it says, by the source's path.
	Skip func(path string, fi os.FileInfo) bool
	// Notes is told of what cannot be copied (sockets); nil is nobody.
	Notes func(what, path string)
}

// Copy puts the file or directory src of the host at dst, a path of the image. A
// directory that is there is added to, files in it are replaced; nothing else
// takes the place of a directory, and no directory that of anything else.
// Directories that lead to dst are made. On an error nothing has changed.
func (r *Root) Copy(ctx context.Context, src, dst string, opt Options) error {
	return r.all(ctx, []step{{src: src, dst: dst}}, opt)
}

// CopyInto puts each of srcs into the directory dir of the image, under its own
// name: all of them or none.
func (r *Root) CopyInto(ctx context.Context, srcs []string, dir string, opt Options) error {
	steps := make([]step, len(srcs))
	for i, src := range srcs {
		name := filepath.Base(filepath.Clean(src))
		if name == "." || name == ".." || name == "/" {
			abs, err := filepath.Abs(src)
			if err != nil || filepath.Base(abs) == "/" {
				return fmt.Errorf("cannot copy %q into a directory: it has no name", src)
			}
			name = filepath.Base(abs)
		}
		steps[i] = step{src: src, dst: strings.TrimSuffix(dir, "/") + "/" + name}
	}
	return r.all(ctx, steps, opt)
}

// step is one copy: first into the stage, where it may fail, then to its place.
type step struct{ src, dst, staged string }

func (r *Root) all(ctx context.Context, steps []step, opt Options) error {
	stage, err := os.MkdirTemp(r.Stage, "copy-")
	if err != nil {
		return fmt.Errorf("cannot copy: %w", cause(err))
	}
	defer os.RemoveAll(stage)
	fail := func(s step, err error) error { return fmt.Errorf("cannot copy %q to %q: %w", s.src, s.dst, err) }
	for i := range steps {
		s := &steps[i]
		// cp's way to say that a link's directory is meant ends in a slash.
		if _, err := os.Lstat(s.src); err != nil {
			return fmt.Errorf("cannot copy %q: %w", s.src, cause(err))
		}
		s.staged = filepath.Join(stage, strconv.Itoa(i))
		c := &copier{ctx: ctx, opt: opt, linked: map[merge.Inode]string{}}
		if err := c.copy(s.src, s.staged); err != nil {
			return fail(*s, err)
		}
		if err := r.place(*s, false); err != nil {
			return fail(*s, err)
		}
	}
	for _, s := range steps {
		if err := r.place(s, true); err != nil {
			return fail(s, err)
		}
	}
	return nil
}

// place puts what is staged where it belongs, or only looks whether it can.
func (r *Root) place(c step, really bool) error {
	fi, err := os.Lstat(c.staged)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a socket
	}
	if err != nil {
		return err
	}
	clean, err := Clean(c.dst)
	if err != nil {
		return err
	}
	if !fi.IsDir() && (clean == "." || strings.HasSuffix(c.dst, "/")) {
		return hint.Wrap(errors.New("it names a directory, not a file"), "acbuild copy-to-dir copies into directories")
	}
	s, err := r.stack()
	if err != nil {
		return err
	}
	defer s.Close()
	at, err := resolve(s, clean, fi.IsDir())
	if err != nil {
		return err
	}
	if err := check(c.staged, at.entry, at.path()); err != nil || !really {
		return err
	}
	if len(at.names) == 0 {
		fd, err := r.enter(s, nil)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return r.content(c.staged, fd, at.entry)
	}
	fd, err := r.enter(s, at.names[:len(at.names)-1])
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return r.move(c.staged, fd, at.names[len(at.names)-1], at.entry)
}

// check refuses what move could not do, before anything is moved.
func check(staged string, merged *merge.Entry, name string) error {
	if merged == nil {
		return nil
	}
	fi, err := os.Lstat(staged)
	if err != nil {
		return err
	}
	if fi.IsDir() != merged.IsDir() {
		if fi.IsDir() {
			return fmt.Errorf("%q is there and is no directory", "/"+name)
		}
		return hint.Wrap(fmt.Errorf("%q is a directory", "/"+name), "acbuild copy-to-dir copies into directories")
	}
	if !fi.IsDir() {
		return nil
	}
	there, err := merged.Children()
	if err != nil {
		return err
	}
	list, err := os.ReadDir(staged)
	if err != nil {
		return err
	}
	for _, e := range list {
		i := slices.IndexFunc(there, func(m *merge.Entry) bool { return path.Base(m.Path) == e.Name() })
		if i >= 0 {
			if err := check(filepath.Join(staged, e.Name()), there[i], there[i].Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// move puts what is staged into a directory of the upper one, as name; merged is
// what is seen there.
func (r *Root) move(staged string, dir int, name string, merged *merge.Entry) error {
	fi, err := os.Lstat(staged)
	if err != nil {
		return err
	}
	if fi.IsDir() && merged != nil {
		fd, err := r.openDir(dir, name, merged)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return r.content(staged, fd, merged)
	}
	hidden, err := r.clear(dir, name)
	if err != nil {
		return err
	}
	if fi.IsDir() && hidden {
		fd, err := unix.Open(staged, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = r.opaque(fd)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return unix.Renameat(unix.AT_FDCWD, staged, dir, name)
}

// content moves what is in a staged directory into one that is there.
func (r *Root) content(staged string, dir int, merged *merge.Entry) error {
	list, err := os.ReadDir(staged)
	if err != nil {
		return err
	}
	there, err := merged.Children()
	if err != nil {
		return err
	}
	for _, e := range list {
		var m *merge.Entry
		if i := slices.IndexFunc(there, func(m *merge.Entry) bool { return path.Base(m.Path) == e.Name() }); i >= 0 {
			m = there[i]
		}
		if err := r.move(filepath.Join(staged, e.Name()), dir, e.Name(), m); err != nil {
			return err
		}
	}
	return nil
}

// copier copies trees of the host's, which are the caller's own to read.
type copier struct {
	ctx    context.Context //nolint:containedctx // of one copy
	opt    Options
	linked map[merge.Inode]string // files with several names, by the copy of the first
}

func (c *copier) copy(src, dst string) error {
	fi, err := os.Lstat(src)
	if err == nil && strings.HasSuffix(src, "/") {
		fi, err = os.Stat(src)
	}
	if err != nil {
		return err
	}
	if err := c.ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	st := new(unix.Stat_t)
	stat := unix.Lstat
	if fi.IsDir() {
		stat = unix.Stat
	}
	if err := stat(src, st); err != nil {
		return err
	}
	if !fi.IsDir() && st.Nlink > 1 {
		ino := merge.Inode{Dev: st.Dev, Ino: st.Ino}
		if first, ok := c.linked[ino]; ok {
			return os.Link(first, dst)
		}
		c.linked[ino] = dst
	}
	switch fi.Mode().Type() {
	case 0:
		err = c.file(src, dst)
	case os.ModeDir:
		err = c.dir(src, dst)
	case os.ModeSymlink:
		var target string
		if target, err = os.Readlink(src); err == nil {
			err = os.Symlink(target, dst)
		}
	case os.ModeNamedPipe, os.ModeDevice, os.ModeDevice | os.ModeCharDevice:
		if err = unix.Mknod(dst, st.Mode, int(st.Rdev)); err != nil {
			err = fmt.Errorf("%q: %w", src, err)
		}
	default:
		if c.opt.Notes != nil {
			c.opt.Notes("socket", src)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return c.finish(src, dst, st)
}

func (c *copier) dir(src, dst string) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range list {
		from := filepath.Join(src, e.Name())
		if c.opt.Skip != nil {
			fi, err := e.Info()
			if err != nil {
				return err
			}
			if c.opt.Skip(from, fi) {
				continue
			}
		}
		if err := c.copy(from, filepath.Join(dst, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) file(src, dst string) error {
	in, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	before, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		var after os.FileInfo
		if after, err = in.Stat(); err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
			err = fmt.Errorf("%q changed while it was copied", src)
		}
	}
	return errors.Join(err, out.Close())
}

// finish gives a copy its attributes; the time comes last.
func (c *copier) finish(src, dst string, st *unix.Stat_t) error {
	isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if c.opt.KeepOwner {
		uid, gid := int(st.Uid), int(st.Gid)
		if stranger(src, st) {
			if !c.opt.StrangersAreRoot {
				return hint.Wrap(fmt.Errorf("%q belongs to a user or group that your user namespace does not have", src), userns.SubIDs)
			}
			uid, gid = 0, 0
		}
		if err := os.Lchown(dst, uid, gid); err != nil {
			return err
		}
	}
	if !isLink {
		if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
			return err
		}
		if err := copyXattrs(src, dst); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dst, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// overflow is whose files look that are nobody's in a user namespace, if the
// machine has not set it otherwise (kernel.overflowuid).
const overflow = 65534

// stranger tells whether the file belongs to somebody that the user namespace does
// not have. It may have a user of the very number that such a file seems to be of;
// then whoever is root of the namespace may leave the file's access time alone
// (open(2), O_NOATIME).
func stranger(path string, st *unix.Stat_t) bool {
	if userns.Initial() || st.Uid != overflow && st.Gid != overflow {
		return false
	}
	if kind := st.Mode & unix.S_IFMT; st.Uid == overflow && (kind == unix.S_IFREG || kind == unix.S_IFDIR) {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOATIME|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
			return false
		}
	}
	return true
}

func copyXattrs(src, dst string) error {
	src = filepath.Clean(src)
	dir, err := os.Open(filepath.Dir(src))
	if err != nil {
		return err
	}
	defer dir.Close()
	all, err := xattr.All(int(dir.Fd()), filepath.Base(src), xattr.Travels)
	if err != nil {
		return err
	}
	for name, value := range all {
		if err := unix.Lsetxattr(dst, name, value, 0); err != nil {
			return fmt.Errorf("attribute %s of %q: %w", name, src, err)
		}
	}
	return nil
}

func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
