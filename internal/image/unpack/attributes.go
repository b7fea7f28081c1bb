// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/xattr"
)

const paxXattr = "SCHILY.xattr."

// own gives what is behind a descriptor, of whatever kind, its owner.
func (x *extractor) own(fd int, hdr *tar.Header) error {
	if x.opt.Unowned {
		return nil
	}
	if err := unix.Fchownat(fd, "", hdr.Uid, hdr.Gid, unix.AT_EMPTY_PATH); err != nil {
		return ownerError(err, hdr)
	}
	return nil
}

// mode is hdr's; at least is what an ordinary user needs to go on.
func (x *extractor) mode(hdr *tar.Header, least uint32) uint32 {
	if x.opt.Unowned {
		return uint32(hdr.Mode)&0o1777 | least
	}
	return uint32(hdr.Mode) & 0o7777
}

// xattrs sets hdr's extended attributes through set, noting those left out.
func (x *extractor) xattrs(hdr *tar.Header, set func(name string, value []byte) error) error {
	if len(hdr.PAXRecords) == 0 {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if !xattr.Travels(name) || x.opt.Rootless && strings.HasPrefix(name, "trusted.") || x.opt.Unowned && strings.HasPrefix(name, "security.") {
			x.note("extended attribute %q of %q", shorten(name), shorten(hdr.Name))
			continue
		}
		err := set(name, []byte(hdr.PAXRecords[key]))
		switch {
		case err == nil:
			if name == "system.posix_acl_default" {
				x.acl = true
			}
		case errors.Is(err, unix.EPERM) && strings.HasPrefix(name, "user."):
			// Only files and directories can have them (xattr(7)).
			x.note("extended attribute %q of %q", shorten(name), shorten(hdr.Name))
		default:
			return fmt.Errorf("cannot set extended attribute %q: %w", shorten(name), err)
		}
	}
	return nil
}

// clearXattrs takes away what an earlier entry for the same directory set.
func (x *extractor) clearXattrs(fd int) error {
	var list []byte
	for size := 4 << 10; ; size *= 4 {
		list = make([]byte, size)
		n, err := unix.Flistxattr(fd, list)
		if err == unix.ERANGE && size < 1<<20 {
			continue
		}
		if err != nil {
			return err
		}
		list = list[:n]
		break
	}
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if n := string(name); xattr.Travels(n) {
			if err := unix.Fremovexattr(fd, n); err != nil && err != unix.ENODATA {
				return err
			}
		}
	}
	return nil
}

// dropInheritedACL undoes what a parent's default ACL did to a new inode.
func (x *extractor) dropInheritedACL(fd int, isDir bool) error {
	if !x.acl {
		return nil
	}
	names := []string{"system.posix_acl_access", "system.posix_acl_default"}
	if !isDir {
		names = names[:1]
	}
	for _, name := range names {
		if err := unix.Fremovexattr(fd, name); err != nil && err != unix.ENODATA && err != unix.EOPNOTSUPP {
			return err
		}
	}
	return nil
}

// nodeAttributes sets owner, mode, attributes and times of something that
// cannot be opened for it: a link, a fifo, a device.
func (x *extractor) nodeAttributes(in *dir, base string, hdr *tar.Header) error {
	fd, err := safepath.OpenBeneath(in.fd, base, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := x.own(fd, hdr); err != nil {
		return err
	}
	link := hdr.Typeflag == tar.TypeSymlink
	name, done, err := x.nameOf(in, base, fd, link)
	if err != nil {
		return err
	}
	defer done()
	if !link {
		if x.acl {
			_ = unix.Removexattr(name, "system.posix_acl_access")
		}
		if err := unix.Chmod(name, x.mode(hdr, 0o400)); err != nil {
			return err
		}
	}
	if err := x.xattrs(hdr, func(attr string, value []byte) error {
		if link {
			return unix.Lsetxattr(name, attr, value, 0)
		}
		return unix.Setxattr(name, attr, value, 0)
	}); err != nil {
		return err
	}
	ts := times(hdr)
	return unix.UtimesNanoAt(in.fd, base, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

// nameOf gives a path, good until done, to base in the directory in, which is
// open at fd. The kernel takes no descriptor for chmod (before Linux 6.6) and
// attributes (before 6.13) of what cannot be opened.
func (x *extractor) nameOf(in *dir, base string, fd int, link bool) (name string, done func(), err error) {
	switch {
	case x.opt.Rooted:
		// There is no /proc, or it is the image's. Nobody else is in this
		// tree, and no link leads out of it.
		if err := unix.Fchdir(in.fd); err != nil {
			return "", nil, err
		}
		return base, func() { _ = unix.Fchdir(x.dirs.root.fd) }, nil
	case link:
		return "/proc/self/fd/" + strconv.Itoa(in.fd) + "/" + base, func() {}, nil
	}
	// A magic link of proc leads to this very inode, or not at all.
	return "/proc/self/fd/" + strconv.Itoa(fd), func() {}, nil
}

// futimens sets the times of an open file; unix has no wrapper for it.
func futimens(fd int, ts [2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (x *extractor) opaqueAttr() string {
	if x.opt.Rootless {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

func (x *extractor) isOpaque(d *dir) (bool, error) {
	if d.opaque == unknown {
		var b [1]byte
		switch n, err := unix.Fgetxattr(d.fd, x.opaqueAttr(), b[:]); {
		case err == nil && n == 1 && b[0] == 'y':
			d.opaque = yes
		case err == nil, err == unix.ENODATA:
			d.opaque = no
		default:
			return false, err
		}
	}
	return d.opaque == yes, nil
}

// setOpaque hides the lower layers' content of d. Whiteouts in it have become
// pointless and go: overlayfs would list them by name in a directory that it
// does not merge.
func (x *extractor) setOpaque(d *dir) error {
	if is, err := x.isOpaque(d); err != nil || is {
		return err
	}
	if err := unix.Fsetxattr(d.fd, x.opaqueAttr(), []byte{'y'}, 0); err != nil {
		return fmt.Errorf("cannot mark %q opaque: %w", d.path, err)
	}
	d.opaque = yes
	delete(x.hiding, d.path)
	if d == x.dirs.root {
		x.res.Opaque = true
	}
	return x.eachName(d.fd, func(name string, kind byte) error {
		if kind != unix.DT_CHR && kind != unix.DT_UNKNOWN {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || !isWhiteout(&st) {
			return err
		}
		d.dirty = true
		return unix.Unlinkat(d.fd, name, 0)
	})
}
