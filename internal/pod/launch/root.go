// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// mountRoot stacks the app's layers and its writable directory, which is in the
// pod's directory dir wherever that is now, and returns the mount, which is nowhere yet and ends with its descriptor. Options are
// descriptors in place of paths: fsconfig(2) takes 255 bytes a value, and the
// host's paths do not show in the pod's mountinfo. "volatile": what a pod wrote
// need not be on disk before its mounts can end. No device works in it.
func mountRoot(app *contract.App, dir int, extra []string) (int, error) {
	if len(app.Layers) == 0 {
		return -1, errors.New("its image has no layers")
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	open := func(at int, path string) (string, error) {
		fd, err := unix.Openat(at, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("cannot open %s: %w", path, err)
		}
		fds = append(fds, fd)
		return strconv.Itoa(fd), nil
	}
	lower := make([]string, 0, len(app.Layers))
	for i := len(app.Layers) - 1; i >= 0; i-- { // overlayfs lists the topmost first
		name, err := open(unix.AT_FDCWD, app.Layers[i])
		if err != nil {
			return -1, err
		}
		lower = append(lower, name)
	}
	upper, err := open(dir, lifecycle.Below(app.Upper))
	if err != nil {
		return -1, err
	}
	work, err := open(dir, lifecycle.Below(app.Work))
	if err != nil {
		return -1, err
	}
	var options []string
	if joined := "lowerdir=" + strings.Join(lower, ":"); len(joined) < 250 {
		options = []string{joined}
	} else {
		for _, name := range lower { // since Linux 6.7
			options = append(options, "lowerdir+="+name)
		}
	}
	options = append(append(options, "upperdir="+upper, "workdir="+work, "volatile"), extra...)
	root := -1
	err = inDirectory("/proc/self/fd", func() (err error) {
		root, err = mount.New("overlay", unix.MOUNT_ATTR_NODEV, options...)
		return err
	})
	return root, err
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
