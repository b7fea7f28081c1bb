// SPDX-License-Identifier: Apache-2.0

// Package overlay stacks trees (the kernel's Documentation/filesystems/overlayfs).
package overlay

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
)

// New makes a detached overlay mount over lower, topmost first, with a writable
// directory and its work directory, all given by descriptors, which stay the
// caller's. Options are descriptors in place of paths: fsconfig(2) takes 255 bytes
// a value, and the host's paths do not show in mountinfo. The calling thread's
// working directory changes meanwhile, so it must not share it (CLONE_FS). attr are
// MOUNT_ATTR_ flags. More than some thirty layers need Linux 6.7.
func New(lower []int, upper, work, attr int, options ...string) (int, error) {
	names := make([]string, len(lower))
	for i, fd := range lower {
		names[i] = strconv.Itoa(fd)
	}
	var all []string
	if joined := "lowerdir=" + strings.Join(names, ":"); len(joined) < 250 {
		all = []string{joined}
	} else {
		for _, name := range names {
			all = append(all, "lowerdir+="+name)
		}
	}
	all = append(append(all, "upperdir="+strconv.Itoa(upper), "workdir="+strconv.Itoa(work)), options...)
	root := -1
	err := inDirectory("/proc/self/fd", func() (err error) {
		root, err = mount.New("overlay", attr, all...)
		return err
	})
	return root, err
}

// Stack is New for directories that are given by their paths, lower ones lowest
// first. It refuses an image without layers.
func Stack(lower []string, upper, work string, attr int, options ...string) (int, error) {
	if len(lower) == 0 {
		return -1, errors.New("its image has no layers")
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	paths := append(slices.Clone(lower), work, upper)
	slices.Reverse(paths)
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		fds = append(fds, fd)
	}
	return New(fds[2:], fds[0], fds[1], attr, options...)
}

// inDirectory runs do with dir as working directory and comes back.
func inDirectory(dir string, do func() error) error {
	back, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(back)
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("cannot enter %s: %w", dir, err)
	}
	err = do()
	if back := unix.Fchdir(back); err == nil && back != nil {
		err = os.NewSyscallError("fchdir", back)
	}
	return err
}
