// SPDX-License-Identifier: Apache-2.0

// Package safepath opens and makes paths below a directory descriptor whose
// content a stranger wrote: an image's tree, a pod's root. The kernel does the
// confinement (openat2(2), Linux 5.6), so a link swapped between two calls
// cannot lead outside.
//
// There are two readings of a symbolic link below a root. "InRoot" follows it
// as a process chrooted there would: absolute targets start at the root and
// ".." stops at it. "Beneath" refuses every link: for trees that rkt writes
// itself and whose real directories it knows.
//
// Every descriptor returned is close-on-exec and the caller's to close. Errors
// are *os.PathError with the path below the root.
package safepath

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// retries bounds how often an openat2 that lost a race against a rename
// somewhere in the system (EAGAIN, openat2(2)) is tried again.
const retries = 128

// maxLinks is the kernel's own bound for links in one path (path_resolution(7)).
const maxLinks = 40

func open(root int, path string, how *unix.OpenHow) (int, error) {
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, path, how)
		switch {
		case err == nil:
			return fd, nil
		case err == unix.EINTR || err == unix.EAGAIN && try < retries:
			continue
		}
		return -1, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
}

// OpenInRoot opens path with flags (O_CLOEXEC is added), following links as if
// root were "/". It creates nothing; O_CREAT is refused.
func OpenInRoot(root int, path string, flags int) (int, error) {
	if flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) != 0 {
		return -1, &os.PathError{Op: "openat2", Path: path, Err: unix.EINVAL}
	}
	return openInRoot(root, path, flags, 0)
}

// OpenInMount is OpenInRoot that fails with EXDEV where the path leads over a
// mount point, even if it comes back.
func OpenInMount(root int, path string, flags int) (int, error) {
	return open(root, path, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

func openInRoot(root int, path string, flags int, mode uint32) (int, error) {
	if path == "" {
		path = "."
	}
	return open(root, path, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// OpenBeneath opens the relative path with flags (O_CLOEXEC is added); it fails
// with ELOOP if any component, the last one included, is a symbolic link, and
// with EXDEV if the path climbs above root. mode counts only with O_CREAT.
func OpenBeneath(root int, path string, flags int, mode uint32) (int, error) {
	if path == "" {
		path = "."
	}
	return open(root, path, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// FollowBeneath is OpenBeneath that follows symbolic links, none of which may lead
// out of root, nor be absolute: a process with any other root finds the same file.
func FollowBeneath(root int, path string, flags int) (int, error) {
	return open(root, path, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// MkdirAllInRoot opens the directory path (O_PATH), making it and every parent
// that is missing with mode (less the umask). Links are followed as if root
// were "/"; the missing directory that a dangling link names is made, so that
// "var/run/x" works where var/run points at a /run that does not exist yet.
// Directories that exist are left as they are.
func MkdirAllInRoot(root int, path string, mode uint32) (int, error) {
	fd, err := OpenInRoot(root, path, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	return makeAll(root, path, func(parent int, name string, last bool) error {
		return unix.Mkdirat(parent, name, mode)
	}, unix.O_DIRECTORY)
}

// CreateInRoot opens path (O_PATH), whatever it is; if it is missing, it makes
// an empty regular file with mode there, and missing parents with mode 0755
// (both less the umask). Links are followed as in MkdirAllInRoot. It is for
// files to be mounted over.
func CreateInRoot(root int, path string, mode uint32) (int, error) {
	fd, err := OpenInRoot(root, path, unix.O_PATH)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	return makeAll(root, path, func(parent int, name string, last bool) error {
		if last {
			return unix.Mknodat(parent, name, unix.S_IFREG|mode&0o7777, 0)
		}
		return unix.Mkdirat(parent, name, 0o755)
	}, 0)
}

// makeAll walks path from the root, calling create for each component that is
// missing. Every prefix is opened anew from root, so that the kernel, never a
// string, says where ".." and links lead.
func makeAll(root int, path string, create func(parent int, name string, last bool) error, lastFlag int) (int, error) {
	rest := components(path)
	parent, err := openInRoot(root, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	var prefix []string
	links, tries := 0, 0
	for len(rest) > 0 {
		name, last := rest[0], len(rest) == 1
		flags := unix.O_PATH | unix.O_DIRECTORY
		if last {
			flags = unix.O_PATH | lastFlag
		}
		here := strings.Join(append(prefix[:len(prefix):len(prefix)], name), "/")
		fd, err := openInRoot(root, here, flags, 0)
		if err == nil {
			_ = unix.Close(parent)
			parent, prefix, rest, tries = fd, append(prefix, name), rest[1:], 0
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			_ = unix.Close(parent)
			return -1, err
		}
		target, isLink := readlink(parent, name)
		if isLink {
			if links++; links > maxLinks {
				_ = unix.Close(parent)
				return -1, &os.PathError{Op: "mkdir", Path: path, Err: unix.ELOOP}
			}
			rest = append(components(target), rest[1:]...)
			if strings.HasPrefix(target, "/") {
				prefix = nil
				_ = unix.Close(parent)
				if parent, err = openInRoot(root, ".", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
					return -1, err
				}
			}
			continue
		}
		// EEXIST: somebody else made it, or a link came there, just now.
		err = create(parent, name, last)
		if tries++; err != nil && err != unix.EEXIST || tries > retries {
			_ = unix.Close(parent)
			if err == nil {
				err = unix.ENOENT // made, and removed each time
			}
			return -1, &os.PathError{Op: "mkdir", Path: here, Err: err}
		}
	}
	return parent, nil
}

// components splits path; "." and empty ones go, ".." stays for the kernel.
func components(path string) []string {
	var out []string
	for c := range strings.SplitSeq(path, "/") {
		if c != "" && c != "." {
			out = append(out, c)
		}
	}
	return out
}

func readlink(parent int, name string) (string, bool) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(parent, name, buf[:])
	if err != nil || n <= 0 {
		return "", false
	}
	return string(buf[:n]), true
}
