// SPDX-License-Identifier: Apache-2.0

// Package merge reads a stack of trees in overlayfs form as the one tree that an
// overlay mount over them would show: for exporting, comparing and checking
// images and pods, without a mount and so without root's help. What overlayfs
// calls lowerdir and upperdir are all the same here: nothing is written.
//
// The trees may hold whatever a stranger put there. Everything is opened below
// the descriptors of their roots, following no link (linux/safepath), and what
// is no regular file is never opened.
package merge

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/linux/xattr"
)

// Stack is some trees, lowest first. It is for one goroutine at a time.
type Stack struct {
	roots []*os.File
	raw   bool
	marks string // what overlayfs's own attributes begin with
}

// The two places where overlayfs keeps its marks: the second one is for mounts
// of ordinary users (overlayfs option userxattr).
const (
	trustedMarks = "trusted.overlay."
	// UserMarks is what the names begin with in an ordinary user's mounts.
	UserMarks = "user.overlay."
)

// Marks is what the names of overlayfs's own attributes begin with in the mounts
// that this process makes.
func Marks() string {
	if userns.Initial() {
		return trustedMarks
	}
	return UserMarks
}

// Open opens trees by their absolute paths, lowest first. The caller closes the
// stack.
func Open(paths ...string) (*Stack, error) { return open(Marks(), paths) }

// OpenUser is Open for trees that an ordinary user unpacked.
func OpenUser(paths ...string) (*Stack, error) { return open(UserMarks, paths) }

func open(marks string, paths []string) (*Stack, error) {
	s := &Stack{marks: marks}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot open layer: %w", err)
		}
		s.roots = append(s.roots, f)
	}
	if len(s.roots) == 0 {
		return nil, errors.New("cannot merge layers: there are none")
	}
	return s, nil
}

// Raw is one tree as it lies on disk: whiteouts are entries, and overlayfs's
// marks are attributes like others. root stays the caller's.
func Raw(root *os.File) *Stack {
	return &Stack{roots: []*os.File{root}, raw: true, marks: Marks()}
}

// RawUser is Raw for a tree with the marks of an ordinary user's mount.
func RawUser(root *os.File) *Stack {
	return &Stack{roots: []*os.File{root}, raw: true, marks: UserMarks}
}

// Close closes the trees that Open opened.
func (s *Stack) Close() {
	for _, f := range s.roots {
		_ = f.Close()
	}
	s.roots = nil
}

// Inode tells whether two entries are one file.
type Inode struct{ Dev, Ino uint64 }

// Entry is a file, directory or whatever else of the merged tree.
type Entry struct {
	Path string // "." or clean and relative
	Stat unix.Stat_t

	s     *Stack
	parts []part // topmost first; of what is no directory, one
}

// part is where one layer has its share of an entry.
type part struct {
	layer int
	path  string
}

// Root is the merged tree's root.
func (s *Stack) Root() (*Entry, error) {
	e := &Entry{Path: ".", s: s}
	for i, r := range slices.Backward(s.roots) {
		opaque, _, err := xattr.Get(int(r.Fd()), ".", s.marks+"opaque")
		if err != nil {
			return nil, err
		}
		e.parts = append(e.parts, part{i, "."})
		if string(opaque) == "y" && !s.raw {
			break
		}
	}
	if err := unix.Fstat(int(s.roots[e.parts[0].layer].Fd()), &e.Stat); err != nil {
		return nil, fmt.Errorf("cannot read layer: %w", err)
	}
	if e.Type() != unix.S_IFDIR {
		return nil, errors.New("cannot read layer: it is not a directory")
	}
	return e, nil
}

// Type is the S_IF… bits of the mode.
func (e *Entry) Type() uint32 { return e.Stat.Mode & unix.S_IFMT }

// IsDir says whether it has children.
func (e *Entry) IsDir() bool { return e.Type() == unix.S_IFDIR }

// Inode identifies the file among all entries of all stacks: with its hard
// links, and with itself in another stack over the same tree.
func (e *Entry) Inode() Inode { return Inode{e.Stat.Dev, e.Stat.Ino} }

// Top is the index, in the stack, of the tree that the entry's attributes and
// content come from.
func (e *Entry) Top() int { return e.parts[0].layer }

// Alone says whether no other tree has a share in a directory.
func (e *Entry) Alone() bool { return len(e.parts) == 1 }

// Opaque says whether a directory's topmost tree hides all that lie under it.
func (e *Entry) Opaque() (bool, error) {
	dir, name, done, err := e.at()
	if err != nil {
		return false, err
	}
	defer done()
	v, _, err := xattr.Get(dir, name, e.s.marks+"opaque")
	return string(v) == "y", err
}

// IsWhiteout says whether st is overlayfs's mark for "nothing here".
func IsWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// openDir opens a directory of one tree for reading.
func (s *Stack) openDir(p part) (int, error) {
	fd, err := safepath.OpenBeneath(int(s.roots[p.layer].Fd()), p.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	return fd, cause(err)
}

// at gives the topmost share by directory and name.
func (e *Entry) at() (dir int, name string, done func(), err error) {
	p := e.parts[0]
	up, name := split(p.path)
	fd, err := e.s.openDir(part{p.layer, up})
	if err != nil {
		return -1, "", nil, fmt.Errorf("cannot open %q: %w", up, err)
	}
	return fd, name, func() { _ = unix.Close(fd) }, nil
}

// Open opens a regular file for reading.
func (e *Entry) Open() (*os.File, error) {
	if e.Type() != unix.S_IFREG {
		return nil, fmt.Errorf("cannot open %q: it is no regular file", e.Path)
	}
	p := e.parts[0]
	fd, err := safepath.OpenBeneath(int(e.s.roots[p.layer].Fd()), p.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %q: %w", e.Path, cause(err))
	}
	f := os.NewFile(uintptr(fd), e.Path)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Ino != e.Stat.Ino || st.Dev != e.Stat.Dev) {
		err = errors.New("it changed meanwhile")
	}
	if err == nil && !e.s.raw {
		// The data of such a file lies in another tree. rkt asks for none, but a
		// kernel can be told to make some by default.
		var b [1]byte
		if _, gerr := unix.Fgetxattr(fd, e.s.marks+"metacopy", b[:]); gerr == nil || gerr == unix.ERANGE {
			err = errors.New("overlayfs has copied only its attributes (metacopy=on), which is not supported")
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open %q: %w", e.Path, err)
	}
	return f, nil
}

// Link is the target of a symbolic link.
func (e *Entry) Link() (string, error) {
	dir, name, done, err := e.at()
	if err != nil {
		return "", err
	}
	defer done()
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return "", fmt.Errorf("cannot read link %q: %w", e.Path, err)
	}
	return string(b[:n]), nil
}

// Xattrs are the extended attributes that travel with a file, and in a raw tree
// overlayfs's marks beside them; nil if there are none.
func (e *Entry) Xattrs() (map[string][]byte, error) {
	dir, name, done, err := e.at()
	if err != nil {
		return nil, err
	}
	defer done()
	all, err := xattr.All(dir, name, func(attr string) bool {
		return xattr.Travels(attr) || e.s.raw && strings.HasPrefix(attr, e.s.marks)
	})
	if err != nil {
		err = fmt.Errorf("cannot read %q: %w", e.Path, err)
	}
	return all, err
}

// Children lists a directory, sorted by name as bytes.
func (e *Entry) Children() ([]*Entry, error) {
	list, err := e.children()
	if err != nil {
		return nil, fmt.Errorf("cannot read directory %q: %w", e.Path, err)
	}
	return list, nil
}

// share is a layer's directory, open.
type share struct {
	part
	fd int
}

func (e *Entry) children() ([]*Entry, error) {
	shares, closeAll, err := e.s.open(e.parts)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	has := map[string][]int{} // which of shares have the name
	for i, sh := range shares {
		names, err := readNames(sh.fd)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			has[n] = append(has[n], i)
		}
	}
	var list []*Entry
	for name, in := range has {
		c, err := e.s.step(shares, in, name)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if c != nil {
			c.Path = join(e.Path, name)
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Entry) int { return cmp.Compare(a.Path, b.Path) })
	return list, nil
}

func (s *Stack) open(parts []part) (shares []share, closeAll func(), err error) {
	closeAll = func() {
		for _, sh := range shares {
			_ = unix.Close(sh.fd)
		}
	}
	for _, p := range parts {
		fd, err := s.openDir(p)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		shares = append(shares, share{p, fd})
	}
	return shares, closeAll, nil
}

// step finds what name is in a merged directory, of which shares[in…] are the
// trees that may have it, topmost first; nil if it is nothing.
func (s *Stack) step(shares []share, in []int, name string) (*Entry, error) {
	e := &Entry{s: s}
	for k, i := range in {
		sh := shares[i]
		var st unix.Stat_t
		err := unix.Fstatat(sh.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return nil, err
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if !s.raw && IsWhiteout(&st) || len(e.parts) > 0 && !isDir {
			break
		}
		if len(e.parts) == 0 {
			e.Stat = st
		}
		e.parts = append(e.parts, part{sh.layer, join(sh.path, name)})
		if !isDir || s.raw {
			break
		}
		stop, redirect, err := s.read(sh.fd, name)
		if err != nil {
			return nil, err
		}
		if redirect != "" {
			lower, err := s.redirected(shares[i+1:], sh.layer, redirect)
			if err != nil {
				return nil, fmt.Errorf("it was renamed from %q: %w", redirect, err)
			}
			e.parts = append(e.parts, lower...)
			break
		}
		if stop || k+1 == len(in) {
			break
		}
	}
	if len(e.parts) == 0 {
		return nil, nil
	}
	return e, nil
}

// read reads overlayfs's marks of a directory.
func (s *Stack) read(dir int, name string) (opaque bool, redirect string, err error) {
	v, _, err := xattr.Get(dir, name, s.marks+"opaque")
	if err != nil {
		return false, "", err
	}
	r, _, err := xattr.Get(dir, name, s.marks+"redirect")
	return string(v) == "y", string(r), err
}

// redirected follows a rename that overlayfs noted (redirect_dir=on) in a pod's
// own tree: below holds the lower shares of the same directory, layer is the
// tree with the note. It gives the shares of the directory under its old name.
func (s *Stack) redirected(below []share, layer int, redirect string) ([]part, error) {
	names := strings.FieldsFunc(redirect, func(r rune) bool { return r == '/' })
	if slices.Contains(names, "..") || slices.Contains(names, ".") || len(names) == 0 {
		return nil, errors.New("that is no name")
	}
	if strings.HasPrefix(redirect, "/") {
		var roots []part
		for i := layer - 1; i >= 0; i-- {
			roots = append(roots, part{i, "."})
		}
		var closeAll func()
		var err error
		if below, closeAll, err = s.open(roots); err != nil {
			return nil, err
		}
		defer closeAll()
	}
	for k, name := range names {
		all := make([]int, len(below))
		for i := range all {
			all[i] = i
		}
		e, err := s.step(below, all, name)
		switch {
		case err != nil:
			return nil, err
		case e == nil || !e.IsDir():
			return nil, unix.ENOENT
		case k == len(names)-1:
			return e.parts, nil
		}
		shares, closeAll, err := s.open(e.parts)
		if err != nil {
			return nil, err
		}
		defer closeAll()
		below = shares
	}
	return nil, unix.ENOENT
}

// Walk calls f for the root and everything in it: a directory before its
// content, what is in it sorted by name, so that the same tree always gives the
// same order.
func (s *Stack) Walk(f func(*Entry) error) error {
	root, err := s.Root()
	if err != nil {
		return err
	}
	return root.Walk(f)
}

// Walk is Stack.Walk from e on.
func (e *Entry) Walk(f func(*Entry) error) error {
	if err := f(e); err != nil || !e.IsDir() {
		return err
	}
	list, err := e.Children()
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := c.Walk(f); err != nil {
			return err
		}
	}
	return nil
}

func readNames(fd int) ([]string, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(dup), "directory")
	defer d.Close()
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return nil, cause(err)
	}
	names, err := d.Readdirnames(-1)
	return names, cause(err)
}

func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

func cause(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
