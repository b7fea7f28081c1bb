// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/overlay"
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
// mount, which is nowhere yet and ends with its descriptor. "volatile": what a pod
// wrote need not be on disk before its mounts can end. No device works in it.
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
	open := func(inPod bool, path string) error {
		fd, err := t.open(inPod, path)
		if err == nil {
			fds = append(fds, fd)
		}
		return err
	}
	for i := len(app.Layers) - 1; i >= 0; i-- { // the topmost first
		if err := open(false, app.Layers[i]); err != nil {
			return -1, err
		}
	}
	for _, path := range []string{app.Upper, app.Work} {
		if err := open(true, lifecycle.Below(path)); err != nil {
			return -1, err
		}
	}
	n := len(app.Layers)
	return overlay.New(fds[:n], fds[n], fds[n+1], unix.MOUNT_ATTR_NODEV, append([]string{"volatile"}, extra...)...)
}
