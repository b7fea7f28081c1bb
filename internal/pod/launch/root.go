// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// trees are the directories that roots are made from.
type trees struct {
	pod int // the pod's directory, wherever that is now
	// mapped, for a pod with users of its own, gives a directory as these see it
	// (assemble.Assembly.Mapped).
	mapped func(dir int) (int, error)

	seen map[string]int // what mapped gave, by path; "" is pod
}

func (t *trees) close() {
	for _, fd := range t.seen {
		unix.Close(fd)
	}
}

// open opens a directory of the host's, or one in the pod's directory, for a root.
func (t *trees) open(inPod bool, path string) (int, error) {
	const how = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	at := unix.AT_FDCWD
	if inPod {
		at = t.pod
	}
	if t.mapped != nil {
		// Layers lie side by side: one mount of where they do is for all of them.
		parent := ""
		if !inPod {
			parent, path = filepath.Split(path)
		}
		var err error
		if at, err = t.parent(parent); err != nil {
			return -1, err
		}
	}
	fd, err := unix.Openat(at, path, how, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return fd, nil
}

func (t *trees) parent(path string) (int, error) {
	if fd, ok := t.seen[path]; ok {
		return fd, nil
	}
	dir, what := t.pod, "the pod's directory"
	if path != "" {
		what = path
		var err error
		if dir, err = openDir(path); err != nil {
			return -1, fmt.Errorf("cannot open %s: %w", path, err)
		}
		defer unix.Close(dir)
	}
	fd, err := t.mapped(dir)
	if err != nil {
		return -1, fmt.Errorf("cannot give %s to the pod's own users: %w", strings.TrimSuffix(what, "/"), err)
	}
	if t.seen == nil {
		t.seen = map[string]int{}
	}
	t.seen[path] = fd
	return fd, nil
}

// mountRoot stacks the app's layers and its writable directory, and returns the
// mount, which is nowhere yet and ends with its descriptor. Options are
// descriptors in place of paths: fsconfig(2) takes 255 bytes a value, and the
// host's paths do not show in the pod's mountinfo. "volatile": what a pod wrote
// need not be on disk before its mounts can end. No device works in it.
func (t *trees) mountRoot(app *contract.App, extra []string) (int, error) {
	if len(app.Layers) == 0 {
		return -1, errors.New("its image has no layers")
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	open := func(inPod bool, path string) (string, error) {
		fd, err := t.open(inPod, path)
		if err != nil {
			return "", err
		}
		fds = append(fds, fd)
		return strconv.Itoa(fd), nil
	}
	lower := make([]string, 0, len(app.Layers))
	for i := len(app.Layers) - 1; i >= 0; i-- { // overlayfs lists the topmost first
		name, err := open(false, app.Layers[i])
		if err != nil {
			return -1, err
		}
		lower = append(lower, name)
	}
	upper, err := open(true, lifecycle.Below(app.Upper))
	if err != nil {
		return -1, err
	}
	work, err := open(true, lifecycle.Below(app.Work))
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
