// SPDX-License-Identifier: Apache-2.0

// Package place puts files of the host's into a root that consists of read-only
// trees and a directory over them, as an overlay mount would, but without a mount
// and so without root's help: what it writes into the upper directory has
// overlayfs's form.
//
// What lies in the root may be a stranger's: links in it lead nowhere but into it.
package place

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

// Root is a root that is written to. It is for one goroutine, and the upper
// directory must be nobody else's meanwhile.
type Root struct {
	// Lower are absolute paths of trees, lowest first; there may be none.
	Lower []string
	// Upper is the directory that is written to, Stage another one of the same
	// file system, for what is on its way.
	Upper, Stage string
	// User: overlayfs's marks are those of an ordinary user's mounts.
	User bool
}

// maxLinks is how many links one path may lead through.
const maxLinks = 40

func (r *Root) stack() (*merge.Stack, error) {
	all := append(slices.Clone(r.Lower), r.Upper)
	if r.User {
		return merge.OpenUser(all...)
	}
	return merge.Open(all...)
}

// child is the entry called name of a directory, or nil.
func child(dir *merge.Entry, name string) (*merge.Entry, error) {
	if dir == nil || !dir.IsDir() {
		return nil, nil
	}
	list, err := dir.Children()
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if path.Base(e.Path) == name {
			return e, nil
		}
	}
	return nil, nil
}

// Clean is an image's path without its root's slash, "." for the root itself; one
// that climbs out is refused.
func Clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("cannot use path %q: it has a zero byte", name)
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", fmt.Errorf("cannot use path %q: it leads out of the image", name)
			}
		default:
			depth++
		}
	}
	if clean := strings.TrimPrefix(path.Clean("/"+name), "/"); clean != "" {
		return clean, nil
	}
	return ".", nil
}

// found is where a path leads: names from the root on, without links, and the
// entry there, nil if there is none.
type found struct {
	names []string
	entry *merge.Entry
}

func (f found) path() string {
	if len(f.names) == 0 {
		return "."
	}
	return strings.Join(f.names, "/")
}

// resolve follows a clean path, the last name's link only if last.
func resolve(s *merge.Stack, name string, last bool) (found, error) {
	root, err := s.Root()
	if err != nil {
		return found{}, err
	}
	todo := strings.Split(name, "/")
	at := []*merge.Entry{root} // entries of names; nil is what is not there yet
	var names []string
	links := 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(names) > 0 {
				names, at = names[:len(names)-1], at[:len(at)-1]
			}
			continue
		}
		dir := at[len(at)-1]
		if dir != nil && !dir.IsDir() {
			return found{}, fmt.Errorf("%q is no directory", "/"+dir.Path)
		}
		e, err := child(dir, part)
		if err != nil {
			return found{}, err
		}
		if e != nil && e.Type() == unix.S_IFLNK && (len(todo) > 0 || last) {
			if links++; links > maxLinks {
				return found{}, fmt.Errorf("%q leads through too many links", "/"+name)
			}
			target, err := e.Link()
			if err != nil {
				return found{}, err
			}
			if strings.HasPrefix(target, "/") {
				names, at = nil, at[:1]
			}
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		names, at = append(names, part), append(at, e)
	}
	return found{names, at[len(at)-1]}, nil
}

// enter opens the directory that names lead to in the upper directory, and makes
// there what is missing: directories of the lower trees with their attributes,
// new ones with mode 0755. The caller closes it.
func (r *Root) enter(s *merge.Stack, names []string) (int, error) {
	fd, err := unix.Open(r.Upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	at, err := s.Root()
	for _, name := range names {
		if err != nil {
			break
		}
		if at, err = child(at, name); err != nil {
			break
		}
		var next int
		if next, err = r.openDir(fd, name, at); err == nil {
			_ = unix.Close(fd)
			fd = next
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openDir opens a directory of the upper directory, or makes it; merged is what is
// seen there, nil for nothing.
func (r *Root) openDir(dir int, name string, merged *merge.Entry) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if err == nil || err != unix.ENOENT && err != unix.ENOTDIR {
		return fd, err
	}
	if merged != nil && !merged.IsDir() {
		return -1, fmt.Errorf("%q is no directory", "/"+merged.Path)
	}
	hidden, err := r.clear(dir, name)
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return -1, err
	}
	if fd, err = unix.Openat(dir, name, flags, 0); err != nil {
		return -1, err
	}
	if merged == nil {
		if err = unix.Fchmod(fd, 0o755); err == nil && hidden {
			err = r.opaque(fd)
		}
	} else {
		err = attributes(fd, merged)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// clear removes a whiteout or a file from the upper directory, and says whether
// it was a whiteout: what is made in its place must hide what lies lower.
func (r *Root) clear(dir int, name string) (whiteout bool, err error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return false, nil
	case err != nil:
		return false, err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return false, fmt.Errorf("%q is a directory", name)
	}
	return merge.IsWhiteout(&st), unix.Unlinkat(dir, name, 0)
}

func (r *Root) opaque(fd int) error {
	attr := merge.Marks()
	if r.User {
		attr = merge.UserMarks
	}
	return unix.Fsetxattr(fd, attr+"opaque", []byte("y"), 0)
}

// attributes gives a new directory what overlayfs copies up.
func attributes(fd int, e *merge.Entry) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != e.Stat.Uid || st.Gid != e.Stat.Gid {
		if err := unix.Fchown(fd, int(e.Stat.Uid), int(e.Stat.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, e.Stat.Mode&0o7777); err != nil {
		return err
	}
	all, err := e.Xattrs()
	if err != nil {
		return err
	}
	for name, value := range all {
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{e.Stat.Atim, e.Stat.Mtim}, 0)
}

// Prepare gives the upper directory's root the attributes of the lower one.
func (r *Root) Prepare() error {
	if len(r.Lower) == 0 {
		return nil
	}
	open := merge.Open
	if r.User {
		open = merge.OpenUser
	}
	s, err := open(r.Lower...)
	if err != nil {
		return err
	}
	defer s.Close()
	root, err := s.Root()
	if err != nil {
		return err
	}
	fd, err := unix.Open(r.Upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attributes(fd, root)
}

// Resolve tells the host's path of what a path of the image means, in whichever
// tree it lies: for reading, by somebody who has reason to trust it.
func (r *Root) Resolve(name string) (*os.File, error) {
	clean, err := Clean(name)
	if err != nil {
		return nil, err
	}
	s, err := r.stack()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f, err := resolve(s, clean, true)
	if err != nil {
		return nil, err
	}
	if f.entry == nil {
		return nil, os.ErrNotExist
	}
	return f.entry.Open()
}
