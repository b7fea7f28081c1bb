// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/linux/xattr"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// stubs are the places that something is mounted over and that the image does
// not have. They are made in a tree of their own, the topmost lower one, so that
// nobody makes them in what the image gets.
type stubs []stub

type stub struct {
	path    []string // real: no component is a link
	missing int      // so many of them, the first ones, are the image's own
	file    bool
	// mayTouch: nothing is mounted here, so what is in the upper tree afterwards
	// is the command's doing.
	mayTouch bool
}

// View mounts the trees, lowest first, read-only and nowhere, and returns a
// descriptor of their root, which is the caller's to close. dir is a directory of
// the caller's in which empty ones may be made.
func View(trees []string, dir string) (int, error) {
	trees = slices.Clone(trees)
	for i := 0; len(trees) < 2; i++ { // overlayfs wants two
		empty := filepath.Join(dir, "empty"+strconv.Itoa(i))
		if err := os.Mkdir(empty, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return -1, err
		}
		trees = slices.Insert(trees, 0, empty)
	}
	const inert = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	fd, err := stack(inert, trees, "", "")
	if err != nil {
		return -1, fmt.Errorf("cannot look at the image's tree: %w", err)
	}
	return fd, nil
}

// Overlay mounts the trees of lower, lowest first, with upper for what is written,
// attached nowhere; work is an empty directory on upper's filesystem. The
// descriptor is the caller's to close, and ends the mount.
func Overlay(lower []string, upper, work string) (int, error) {
	return stack(unix.MOUNT_ATTR_NODEV, lower, upper, work)
}

func stack(attr int, lower []string, upper, work string) (int, error) {
	options := []string{}
	if upper != "" {
		options = overlayOptions()
	} else if !userns.Initial() {
		options = append(options, "userxattr")
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	add := func(key, path string) error {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		fds = append(fds, fd)
		options = append(options, key+"=/proc/self/fd/"+strconv.Itoa(fd))
		return nil
	}
	var err error
	for i := len(lower) - 1; i >= 0 && err == nil; i-- {
		err = add("lowerdir+", lower[i])
	}
	if upper != "" && err == nil {
		if err = add("upperdir", upper); err == nil {
			err = add("workdir", work)
		}
	}
	if err != nil {
		return -1, err
	}
	return mount.New("overlay", attr, options...)
}

// findStubs decides on the stubs and makes them in r.dir/skeleton.
func (r *runner) findStubs() error {
	view, err := View(append(r.step.Lower[:len(r.step.Lower):len(r.step.Lower)], r.step.Upper), r.dir)
	if err != nil {
		return err
	}
	defer unix.Close(view)
	if err := r.setHome(view); err != nil {
		return err
	}
	type want struct {
		path           string
		file, mayTouch bool
	}
	wants := []want{{path: "/dev"}, {path: "/proc"}, {path: "/sys"}, {path: "/tmp", mayTouch: true},
		{path: "/etc/hosts", file: true}, {path: "/etc/resolv.conf", file: true}}
	for i := range r.step.Mounts {
		m := &r.step.Mounts[i]
		file := m.Secret != nil
		if m.Trees != nil {
			var err error
			if file, err = r.isFile(m); err != nil {
				return fmt.Errorf("cannot mount at %s: %w", m.Target, err)
			}
		} else if m.Source != "" {
			st, err := os.Stat(m.Source)
			if err != nil {
				return fmt.Errorf("cannot mount at %s: %w", m.Target, err)
			}
			file = !st.IsDir()
		}
		wants = append(wants, want{path: m.Target, file: file})
	}
	for _, w := range wants {
		s := stub{file: w.file, mayTouch: w.mayTouch}
		if s.path, s.missing, err = Resolve(view, w.path); err != nil {
			return err
		}
		if s.missing == len(s.path) {
			continue
		}
		if err := r.makeStub(view, &s); err != nil {
			return err
		}
		r.stubs = append(r.stubs, s)
	}
	return r.touchParents(view)
}

// isFile tells whether what m shows of its trees is no directory.
func (r *runner) isFile(m *Mount) (bool, error) {
	fd, err := View(m.Trees, r.dir)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	at, err := safepath.OpenInRoot(fd, m.Source, unix.O_PATH)
	if err != nil {
		return false, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	err = unix.Fstat(at, &st)
	return st.Mode&unix.S_IFMT != unix.S_IFDIR, err
}

// setHome tells the command where its user is at home, as every runtime does.
func (r *runner) setHome(view int) error {
	if slices.ContainsFunc(r.step.Env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		return nil
	}
	c, err := appinit.LookupUser(view, r.step.User, r.step.Group, nil, contract.Users{})
	if err != nil {
		return err
	}
	home := c.Home
	switch {
	case home == "" && c.UID == 0:
		home = "/root"
	case home == "":
		home = "/"
	}
	r.step.Env = append(r.step.Env[:len(r.step.Env):len(r.step.Env)], "HOME="+home)
	return nil
}

// maxLinks is the kernel's own bound for links in one path.
const maxLinks = 40

// Resolve walks path below root as a process whose root that is would, and
// returns its real components: none is a link, "." or "..". The first there of
// them exist.
func Resolve(root int, path string) (real []string, there int, err error) {
	rest := strings.Split(path, "/")
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(real) > 0 {
				real = real[:len(real)-1]
			}
			there = min(there, len(real))
			continue
		}
		if there < len(real) { // nothing below what is missing
			real = append(real, name)
			continue
		}
		here := strings.Join(append(real[:len(real):len(real)], name), "/")
		fd, err := safepath.OpenBeneath(root, here, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if target, is := linkAt(fd, err); is {
			unix.Close(fd)
			if links++; links > maxLinks {
				return nil, 0, &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
			}
			if strings.HasPrefix(target, "/") {
				real, there = nil, 0
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		real = append(real, name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) && len(rest) == 0 {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		unix.Close(fd)
		there = len(real)
	}
	return real, there, nil
}

// linkAt tells whether what was opened is a link, and where that leads.
func linkAt(fd int, err error) (string, bool) {
	var st unix.Stat_t
	if err != nil || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err == nil
}

func (r *runner) skeleton() string { return filepath.Join(r.dir, "skeleton") }

// makeStub makes the stub and its parents; those of the image get the image's
// attributes in touchParents, when nothing is made in them any more.
func (r *runner) makeStub(view int, s *stub) error {
	at := r.skeleton()
	for i, name := range s.path {
		at = filepath.Join(at, name)
		var err error
		if i == len(s.path)-1 && s.file {
			var f *os.File
			if f, err = os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil {
				err = f.Close()
			}
		} else {
			err = os.Mkdir(at, 0o755)
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		mode := uint32(0o755)
		switch {
		case s.mayTouch:
			mode = 0o1777
		case i == len(s.path)-1 && s.file:
			mode = 0o644
		}
		if err := unix.Chmod(at, mode); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}

// touchParents gives those directories of the skeleton that the image has, too,
// the image's attributes: the topmost tree's count.
func (r *runner) touchParents(view int) error {
	done := map[string]bool{}
	for i := range r.stubs {
		s := &r.stubs[i]
		for n := s.missing; n > 0; n-- {
			path := strings.Join(s.path[:n], "/")
			if done[path] {
				continue
			}
			done[path] = true
			fd, err := safepath.OpenBeneath(view, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			err = copyAttributes(fd, filepath.Join(r.skeleton(), path))
			unix.Close(fd)
			if err != nil {
				return fmt.Errorf("cannot copy the attributes of %s: %w", path, err)
			}
		}
	}
	return nil
}

// copyAttributes gives the directory to what the directory behind from has.
func copyAttributes(from int, to string) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	attrs, err := xattr.All(from, ".", xattr.Travels)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if err := unix.Lsetxattr(to, name, value, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// makeUpper makes the upper tree, if it is missing.
func (s *Step) makeUpper() error {
	if _, err := os.Lstat(s.Upper); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return MakeUpper(s.Upper, s.Lower)
}

// MakeUpper makes an empty tree to be laid over those of lower, lowest first: the
// root of the stack has its attributes. Without lower trees, or with an error of
// another kind than "exists" already, it is root's, with mode 0755.
func MakeUpper(path string, lower []string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if len(lower) == 0 {
		return unix.Chmod(path, 0o755)
	}
	fd, err := unix.Open(lower[len(lower)-1], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: lower[len(lower)-1], Err: err}
	}
	defer unix.Close(fd)
	return copyAttributes(fd, path)
}

// sweep removes from the upper tree what is there only because a stub was: the
// mark that it was removed, or an empty copy of it.
func (r *runner) sweep() error {
	root, err := unix.Open(r.step.Upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: r.step.Upper, Err: err}
	}
	defer unix.Close(root)
	for i := range r.stubs {
		s := &r.stubs[i]
		for n := len(s.path); n > s.missing; n-- {
			if err := sweepOne(root, s, n); err != nil {
				return fmt.Errorf("cannot remove the place of a mount from the image: %w", err)
			}
		}
	}
	return nil
}

// sweepOne looks at the first n components of s.
func sweepOne(root int, s *stub, n int) error {
	name := s.path[n-1]
	dir, err := safepath.OpenBeneath(root, strings.Join(s.path[:n-1], "/"), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil { // the command made something else of the parent
		return nil
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil
	}
	last := n == len(s.path)
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFCHR && st.Rdev == 0:
		return unix.Unlinkat(dir, name, 0)
	case s.mayTouch:
	case kind == unix.S_IFDIR && !(last && s.file):
		if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != unix.ENOTEMPTY && err != unix.EEXIST {
			return err
		}
	case kind == unix.S_IFREG && last && s.file && st.Size == 0:
		return unix.Unlinkat(dir, name, 0)
	}
	return nil
}
