// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"container/list"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDirs is how many directories are kept open. Tars go depth first, so few
// suffice; an entry costs no openat2 as long as its parent is among them.
const maxDirs = 128

// maxLinks is the kernel's bound for links in one path.
const maxLinks = 40

// dir is an open directory of the tree. While it is open its times on disk are
// whatever our writing made of them; those it shall have are in times and are
// put back when it is closed. So no list of all directories is kept.
type dir struct {
	path    string // canonical: no link in it
	fd      int
	times   [2]unix.Timespec // access, modification
	dirty   bool             // the times on disk may differ
	opaque  tristate
	pinned  bool // not to be closed just now
	recency *list.Element
}

type tristate int8

const (
	unknown tristate = iota
	yes
	no
)

// dirs are the open directories, by canonical path.
type dirs struct {
	root   *dir
	byPath map[string]*dir
	order  *list.List // front: used last; the root is not in it
}

func newDirs(fd int) *dirs {
	d := &dirs{byPath: map[string]*dir{}, order: list.New()}
	d.root = &dir{path: ".", fd: fd, dirty: true, opaque: no}
	d.byPath["."] = d.root
	return d
}

func (ds *dirs) get(path string) *dir {
	d := ds.byPath[path]
	if d != nil && d.recency != nil {
		ds.order.MoveToFront(d.recency)
	}
	return d
}

// add takes d; the directory used longest ago may be closed for it, so a *dir
// is good until the second next call that opens one, unless it is pinned.
func (ds *dirs) add(d *dir) error {
	d.recency = ds.order.PushFront(d)
	ds.byPath[d.path] = d
	if ds.order.Len() <= maxDirs {
		return nil
	}
	oldest := ds.order.Back()
	for oldest.Value.(*dir).pinned {
		oldest = oldest.Prev()
	}
	return ds.drop(oldest.Value.(*dir))
}

// drop closes d and settles its times.
func (ds *dirs) drop(d *dir) error {
	err := d.settle()
	ds.forget(d.path)
	return err
}

// forget closes the directory at path, if it is open, because it is gone.
func (ds *dirs) forget(path string) {
	d := ds.byPath[path]
	if d == nil || d == ds.root {
		return
	}
	_ = unix.Close(d.fd)
	ds.order.Remove(d.recency)
	delete(ds.byPath, path)
}

func (d *dir) settle() error {
	if !d.dirty {
		return nil
	}
	d.dirty = false
	if err := unix.UtimesNanoAt(d.fd, ".", d.times[:], 0); err != nil {
		return fmt.Errorf("cannot set times of %q: %w", d.path, err)
	}
	return nil
}

// close settles all directories if settle is true, and closes all.
func (ds *dirs) close(settle bool) error {
	var errs error
	for _, d := range ds.byPath {
		if settle {
			if err := d.settle(); err != nil && errs == nil {
				errs = err
			}
		}
		if d != ds.root {
			_ = unix.Close(d.fd)
		}
	}
	clear(ds.byPath)
	return errs
}

// openDir opens a directory by its canonical path. A link in the path is ELOOP.
func (ds *dirs) openDir(path string) (*dir, error) {
	if d := ds.get(path); d != nil {
		return d, nil
	}
	at, rel := ds.root, path
	if p, base := split(path); p != "." {
		if d := ds.get(p); d != nil {
			at, rel = d, base
		}
	}
	fd, err := openPlain(at.fd, rel)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	d := &dir{path: path, fd: fd, times: [2]unix.Timespec{st.Atim, st.Mtim}}
	return d, ds.add(d)
}

// parent opens the directory that path names, following links of the layer as
// if its root were "/", which is what other unpackers do. If create is true,
// directories that are missing are made; otherwise they are ENOENT.
func (x *extractor) parent(path string, create bool) (*dir, error) {
	d, err := x.dirs.openDir(path)
	if err == nil {
		return d, nil
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	d, links, rest := x.dirs.root, 0, path
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if d != x.dirs.root {
				up, _ := split(d.path)
				if d, err = x.dirs.openDir(up); err != nil {
					return nil, err
				}
			}
			continue
		}
		next, err := x.dirs.openDir(join(d.path, name))
		if err == nil {
			d = next
			continue
		}
		var st unix.Stat_t
		switch serr := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
		case serr == unix.ENOENT, serr == nil && isWhiteout(&st):
			if !create {
				return nil, unix.ENOENT
			}
			if d, err = x.implicitDir(d, name, serr == nil); err != nil {
				return nil, err
			}
		case serr != nil:
			return nil, serr
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > maxLinks {
				return nil, unix.ELOOP
			}
			target, err := readlink(d.fd, name)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(target, "/") {
				d = x.dirs.root
			}
			if len(target)+1+len(rest) >= 2*unix.PathMax {
				return nil, unix.ENAMETOOLONG
			}
			rest = target + "/" + rest
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return nil, fmt.Errorf("%q is not a directory", join(d.path, name))
		default:
			return nil, err
		}
	}
	return d, nil
}

// implicitDir makes a directory that the stream did not announce. Over a
// whiteout of this layer it is opaque: the whiteout hides what is below.
func (x *extractor) implicitDir(in *dir, name string, overWhiteout bool) (*dir, error) {
	if !x.aci && strings.HasPrefix(name, whiteoutPrefix) {
		return nil, errors.New("a whiteout cannot be a directory")
	}
	if err := x.countEntry(); err != nil {
		return nil, err
	}
	path := join(in.path, name)
	if err := x.remember(x.implicit, path); err != nil {
		return nil, err
	}
	if len(path) >= unix.PathMax {
		return nil, unix.ENAMETOOLONG
	}
	if overWhiteout {
		if err := unix.Unlinkat(in.fd, name, 0); err != nil {
			return nil, err
		}
	}
	d, err := x.mkdir(in, name)
	if err != nil {
		return nil, err
	}
	if overWhiteout {
		if err := x.setOpaque(d); err != nil {
			return nil, err
		}
	}
	return d, x.plainDir(d)
}

// mkdir makes and opens a directory that must not exist. Mode and owner are
// still to be set.
func (x *extractor) mkdir(in *dir, name string) (*dir, error) {
	in.dirty = true
	if err := unix.Mkdirat(in.fd, name, 0o700); err != nil {
		return nil, err
	}
	fd, err := openPlain(in.fd, name)
	if err != nil {
		return nil, err
	}
	d := &dir{path: join(in.path, name), fd: fd, dirty: true, opaque: no}
	x.res.Files++
	if err := x.dirs.add(d); err != nil {
		return nil, err
	}
	return d, x.dropInheritedACL(fd, true)
}

// plainDir gives d what a directory without an entry has.
func (x *extractor) plainDir(d *dir) error {
	if err := x.own(d.fd, &tar.Header{}); err != nil { // root's
		return err
	}
	d.times, d.dirty = [2]unix.Timespec{}, true
	return unix.Fchmod(d.fd, 0o755)
}

// isWhiteout knows overlayfs's own mark (Documentation/filesystems/overlayfs).
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func readlink(at int, name string) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(at, name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
