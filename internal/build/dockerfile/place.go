// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/rmtree"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
)

// placer puts copies into a tree, which is an overlay over what is there already.
type placer struct {
	root  int // descriptor of the tree
	owner *owner
	mode  func(mode uint32, directory bool) uint32 // nil keeps the modes
	// replace: a directory takes a file's place, and a file a directory's, as in an
	// archive that is unpacked.
	replace bool
	skip    *hiding
	links   map[[2]uint64]string // where a file with several names was put
	seen    map[string]seenFile  // what the files must be still; nil is anything
	met     map[string]bool      // those of seen that were copied
	warn    func(format string, args ...any)
}

// owner is whom copies belong to.
type owner struct{ uid, gid int }

// give makes a file o's.
func (o owner) give(dir int, name string) error {
	err := unix.Fchownat(dir, name, o.uid, o.gid, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.EINVAL && !userns.Initial() {
		return hint.Wrap(errors.New("your user namespace has no such owner"), userns.SubIDs)
	}
	return err
}

// directory opens the directory path, following links in the tree, and makes what
// is missing of it.
func (p *placer) directory(name string) (int, error) {
	real, there, err := engine.Resolve(p.root, name)
	if err != nil {
		return -1, err
	}
	at := real[:there]
	for _, n := range real[there:] {
		parent, err := safepath.OpenBeneath(p.root, strings.Join(at, "/"), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return -1, err
		}
		err = p.makeDirectory(parent, n)
		unix.Close(parent)
		if err != nil {
			return -1, &os.PathError{Op: "mkdir", Path: name, Err: err}
		}
		at = append(at[:len(at):len(at)], n)
	}
	return safepath.OpenBeneath(p.root, strings.Join(real, "/"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

func (p *placer) makeDirectory(parent int, name string) error {
	if err := unix.Mkdirat(parent, name, 0o755); err != nil {
		return err
	}
	if p.owner != nil && *p.owner != (owner{}) {
		if err := p.owner.give(parent, name); err != nil {
			return fmt.Errorf("cannot give it to %d:%d: %w", p.owner.uid, p.owner.gid, err)
		}
	}
	return unix.Fchmodat(parent, name, 0o755, 0)
}

// isDirectory says whether name is a directory of the tree.
func (p *placer) isDirectory(name string) (bool, error) {
	fd, err := safepath.OpenInRoot(p.root, name, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unix.Close(fd)
}

// into copies what m is of f to the path dest in the tree: a directory's content
// into the directory dest, anything else to dest itself.
func (p *placer) into(f *files, m match, dest string) error {
	st, err := f.stat(m.real)
	if err != nil {
		return err
	}
	p.met = map[string]bool{}
	if err := p.put(f, m, dest, &st); err != nil {
		return err
	}
	for _, rel := range sortedKeys(p.seen) {
		if !p.met[rel] {
			return &changedError{rel, true}
		}
	}
	return nil
}

func (p *placer) put(f *files, m match, dest string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := p.meet(m.real, st); err != nil {
			return err
		}
		there, err := p.isDirectory(dest)
		if err != nil {
			return err
		}
		fd, err := p.directory(dest)
		if err != nil {
			return notDirectory(dest, err)
		}
		defer unix.Close(fd)
		if err := p.content(f, m.real, "", fd); err != nil {
			return err
		}
		if there {
			return nil
		}
		return p.finish(f, m.real, fd, ".", st)
	}
	dir, err := p.directory(path.Dir(dest))
	if err != nil {
		return notDirectory(path.Dir(dest), err)
	}
	defer unix.Close(dir)
	return p.node(f, m.real, "", dir, path.Base(dest))
}

// meet compares a file with what it was.
func (p *placer) meet(rel string, st *unix.Stat_t) error {
	if was, ok := p.seen[rel]; p.seen != nil && (!ok || was.mode != st.Mode) {
		return changed(rel)
	}
	p.met[rel] = true
	return nil
}

func notDirectory(dest string, err error) error {
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%q in the image is not a directory", dest)
	}
	return err
}

// content copies what is in the directory rel into the directory dir.
func (p *placer) content(f *files, rel, below string, dir int) error {
	names, err := f.list(rel)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := p.node(f, path.Join(rel, n), path.Join(below, n), dir, n); err != nil {
			return err
		}
	}
	return nil
}

// node copies rel to name in the directory dir.
func (p *placer) node(f *files, rel, below string, dir int, name string) error {
	st, err := f.stat(rel)
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if skipped, err := p.skips(f, rel, below, isDir); err != nil || skipped {
		return err
	}
	if err := p.meet(rel, &st); err != nil {
		return err
	}
	var old unix.Stat_t
	err = unix.Fstatat(dir, name, &old, unix.AT_SYMLINK_NOFOLLOW)
	exists := err == nil
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	oldDir := exists && old.Mode&unix.S_IFMT == unix.S_IFDIR
	if p.replace && exists && isDir != oldDir {
		if _, err := rmtree.RemoveAt(dir, name, name); err != nil {
			return err
		}
		p.forget(dir, name)
		exists, oldDir = false, false
	}
	switch {
	case isDir && exists && !oldDir:
		return fmt.Errorf("cannot copy directory %q: in the image that is not a directory", rel)
	case !isDir && oldDir:
		return fmt.Errorf("cannot copy %q: in the image that is a directory", rel)
	case isDir:
		return p.tree(f, rel, below, dir, name, exists, &st)
	case exists:
		if err := unix.Unlinkat(dir, name, 0); err != nil {
			return &os.PathError{Op: "unlink", Path: name, Err: err}
		}
		p.forget(dir, name)
	}
	if err := p.file(f, rel, dir, name, &st); err != nil {
		return err
	}
	failpoint.Hit("dockerfile/copied")
	return nil
}

// forget takes what was in the directory dir by that name out of links, with all
// that was below it.
func (p *placer) forget(dir int, name string) {
	if len(p.links) == 0 {
		return
	}
	where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		clear(p.links)
		return
	}
	gone := path.Join(where, name)
	maps.DeleteFunc(p.links, func(_ [2]uint64, at string) bool { return at == gone || strings.HasPrefix(at, gone+"/") })
}

func (p *placer) skips(f *files, rel, below string, isDir bool) (bool, error) {
	hidden, open, err := f.hidden(rel)
	if err != nil {
		return false, err
	}
	if hidden && (!isDir || !open) {
		return true, nil
	}
	if hidden {
		if some, err := f.shows(rel); err != nil || !some {
			return true, err
		}
	}
	if p.skip == nil {
		return false, nil
	}
	if below == "" {
		below = path.Base(rel)
	}
	skipped, err := p.skip.hides(below)
	return skipped && (!isDir || !p.skip.exceptions()), err
}

func (p *placer) tree(f *files, rel, below string, dir int, name string, exists bool, st *unix.Stat_t) error {
	if !exists {
		if err := unix.Mkdirat(dir, name, 0o700); err != nil {
			return &os.PathError{Op: "mkdir", Path: name, Err: err}
		}
	}
	fd, err := safepath.OpenBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := p.content(f, rel, below, fd); err != nil {
		return err
	}
	return p.finish(f, rel, fd, ".", st)
}

// file copies what is no directory; nothing is in its place.
func (p *placer) file(f *files, rel string, dir int, name string, st *unix.Stat_t) error {
	key := [2]uint64{st.Dev, st.Ino}
	if st.Nlink > 1 {
		if done, err := p.relink(key, dir, name); done || err != nil {
			return err
		}
	}
	var err error
	switch kind := st.Mode & unix.S_IFMT; kind {
	case unix.S_IFREG:
		err = p.regular(f, rel, dir, name)
	case unix.S_IFLNK:
		var target string
		if target, err = f.link(rel); err == nil && p.seen != nil && p.seen[rel].content != fmt.Sprintf(" %q", target) {
			return changed(rel)
		}
		if err == nil {
			err = unix.Symlinkat(target, dir, name)
		}
	case unix.S_IFIFO:
		err = unix.Mknodat(dir, name, unix.S_IFIFO|0o600, 0)
	case unix.S_IFCHR, unix.S_IFBLK:
		err = unix.Mknodat(dir, name, kind|0o600, int(st.Rdev))
	default:
		p.warn("%q is a socket and not copied", rel)
		return nil
	}
	if is := (*changedError)(nil); errors.As(err, &is) {
		return err
	}
	if err != nil {
		return &os.PathError{Op: "copy", Path: rel, Err: err}
	}
	if st.Nlink > 1 && p.links != nil {
		if where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir)); err == nil {
			p.links[key] = path.Join(where, name)
		}
	}
	return p.finish(f, rel, dir, name, st)
}

// relink gives a file that was copied already one more name.
func (p *placer) relink(key [2]uint64, dir int, name string) (bool, error) {
	where, ok := p.links[key]
	if !ok {
		return false, nil
	}
	// In the detached mount paths begin at its root.
	from, err := safepath.OpenBeneath(p.root, strings.TrimPrefix(path.Dir(where), "/"), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, nil
	}
	defer unix.Close(from)
	err = unix.Linkat(from, path.Base(where), dir, name, 0)
	return err == nil, nil
}

func (p *placer) regular(f *files, rel string, dir int, name string) error {
	in, err := f.open(rel)
	if err != nil {
		return err
	}
	defer in.Close()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	h := sha256.New()
	if p.seen == nil {
		_, err = io.Copy(out, in)
	} else if _, err = io.Copy(io.MultiWriter(out, h), in); err == nil && p.seen[rel].content != " "+hex.EncodeToString(h.Sum(nil)) {
		err = changed(rel)
	}
	return errors.Join(err, out.Close())
}

// finish sets the attributes of what was copied; times last.
func (p *placer) finish(f *files, rel string, dir int, name string, st *unix.Stat_t) error {
	who := owner{}
	switch {
	case p.owner != nil:
		who = *p.owner
	case f.owned:
		who = owner{int(st.Uid), int(st.Gid)}
	}
	if err := who.give(dir, name); err != nil {
		return fmt.Errorf("cannot give %q to %d:%d: %w", rel, who.uid, who.gid, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFLNK {
		mode := st.Mode & 0o7777
		if p.mode != nil {
			mode = p.mode(mode, kind == unix.S_IFDIR)
		}
		if err := unix.Fchmodat(dir, name, mode, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: rel, Err: err}
		}
	}
	attrs, err := f.attributes(rel)
	if err != nil {
		return err
	}
	for n, v := range attrs {
		if err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), n, v, 0); err != nil {
			return &os.PathError{Op: "setxattr " + n, Path: rel, Err: err}
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	if err := unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: rel, Err: err}
	}
	return nil
}

// parseMode reads --chmod: octal, or chmod(1)'s symbols.
func parseMode(text string) (func(mode uint32, directory bool) uint32, error) {
	bad := fmt.Errorf("mode %q is neither octal nor like u=rwX,go=rX", text)
	if n, ok := octal(text); ok {
		return func(uint32, bool) uint32 { return n }, nil
	}
	var ops []func(uint32, bool) uint32
	for clause := range strings.SplitSeq(text, ",") {
		op, ok := symbolic(clause)
		if !ok {
			return nil, bad
		}
		ops = append(ops, op)
	}
	return func(mode uint32, dir bool) uint32 {
		for _, op := range ops {
			mode = op(mode, dir)
		}
		return mode
	}, nil
}

func octal(s string) (n uint32, ok bool) {
	if s == "" || len(s) > 5 {
		return 0, false
	}
	for _, c := range s {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | uint32(c-'0')
	}
	return n, n <= 0o7777
}

// symbolic reads one clause, [ugoa]*[-+=][rwxXst]*.
func symbolic(clause string) (func(uint32, bool) uint32, bool) {
	i := strings.IndexAny(clause, "+-=")
	if i < 0 {
		return nil, false
	}
	who, op, perms := clause[:i], clause[i], clause[i+1:]
	var mask uint32
	for _, w := range who {
		switch w {
		case 'u':
			mask |= 0o4700
		case 'g':
			mask |= 0o2070
		case 'o':
			mask |= 0o1007
		case 'a':
			mask |= 0o7777
		default:
			return nil, false
		}
	}
	if who == "" {
		mask = 0o7777
	}
	if strings.Trim(perms, "rwxXst") != "" {
		return nil, false
	}
	return func(mode uint32, dir bool) uint32 {
		var bits uint32
		for _, p := range perms {
			switch p {
			case 'r':
				bits |= 0o444
			case 'w':
				bits |= 0o222
			case 'x':
				bits |= 0o111
			case 'X':
				if dir || mode&0o111 != 0 {
					bits |= 0o111
				}
			case 's':
				bits |= 0o6000
			case 't':
				bits |= 0o1000
			}
		}
		bits &= mask
		switch op {
		case '+':
			return mode | bits
		case '-':
			return mode &^ bits
		default:
			return mode&^(mask&0o777) | bits
		}
	}, true
}
