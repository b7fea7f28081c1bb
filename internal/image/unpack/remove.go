// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// remove takes base out of the directory in, whatever it is.
func (x *extractor) remove(in *dir, base string) error {
	in.dirty = true
	if err := unix.Unlinkat(in.fd, base, 0); err != unix.EISDIR {
		return err
	}
	return x.removeTree(in, base)
}

// removeTree removes a directory and all below it. It holds two descriptors,
// however deep the tree is, and never follows a link.
func (x *extractor) removeTree(in *dir, base string) error {
	for rel := base; ; {
		up, name := split(rel)
		fd, err := openPlain(in.fd, up)
		if err != nil {
			return err
		}
		down, err := x.emptyDir(fd, name)
		if err == nil && down == "" {
			canonical := join(in.path, rel)
			x.dirs.forget(canonical)
			delete(x.implicit, canonical)
			delete(x.hiding, canonical)
			err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
		}
		_ = unix.Close(fd)
		switch {
		case err != nil:
			return err
		case down != "":
			rel = join(rel, down)
		case up == ".":
			return nil
		default:
			rel = up
		}
	}
}

// openPlain opens a directory below at, through no link.
func openPlain(at int, path string) (int, error) {
	return safepath.OpenBeneath(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// emptyDir unlinks what is in the directory name but directories; it names one
// of those, or "" if there is none left.
func (x *extractor) emptyDir(in int, name string) (down string, err error) {
	fd, err := openPlain(in, name)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	err = x.eachName(fd, func(name string, kind byte) error {
		if kind != unix.DT_DIR {
			if err := unix.Unlinkat(fd, name, 0); err != unix.EISDIR {
				return err
			}
		}
		down = name
		return errStop
	})
	if err == errStop {
		err = nil
	}
	return down, err
}

type stop struct{}

func (stop) Error() string { return "stop" }

var errStop error = stop{}

// eachName calls f for every name in the directory fd, from its beginning.
func (x *extractor) eachName(fd int, f func(name string, kind byte) error) error {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		// struct linux_dirent64 (getdents(2)): ino 8, off 8, reclen 2, type 1, name.
		for b := buf[:n]; len(b) > 19; {
			size := binary.NativeEndian.Uint16(b[16:])
			kind, name := b[18], b[19:size]
			b = b[size:]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			if s := string(name); s != "." && s != ".." {
				if err := f(s, kind); err != nil {
					return err
				}
			}
		}
	}
}
