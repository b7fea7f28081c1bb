// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// shelf is a small tmpfs on which the apps' roots are put together, and their
// /proc, /sys and /dev ahead of them, while the pod is still being written. Only
// who assembles the pod sees it. In a pod of several apps it becomes its first
// process's own root; in one of a single app it goes with the host's mounts.
type shelf struct {
	fd          int // the tmpfs, open for *at calls
	sys         int // made and masked, attached at .sys
	dev         int // with its device nodes, at .dev
	shm         int // /dev/shm of all apps, attached in the first; -1 until then
	empty       int // an empty read-only directory to hide things behind, at .empty
	hostNetwork bool
	procs       []int // of each app: where its /proc is to be
}

// shelfPlace is where the shelf is attached in the supervisor's mount namespace:
// a directory that is on every machine, and of which no pod needs anything.
const shelfPlace = "/proc/fs"

// Attributes of what apps may write to: no device nodes work and, but for the
// root itself, no set-user-ID program. A device cgroup is not needed then, unless
// an app may mount (docs/devices.md): a node that it makes with CAP_MKNOD cannot
// be opened.
const (
	noDevices = unix.MOUNT_ATTR_NODEV
	noTricks  = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID
	dataOnly  = noTricks | unix.MOUNT_ATTR_NOEXEC
)

// newShelf makes one; with an error what there is of it is to be closed.
func newShelf() (_ *shelf, err error) {
	s := &shelf{fd: -1, sys: -1, dev: -1, shm: -1, empty: -1}
	if s.fd, err = mount.New("tmpfs", noTricks, "mode=0755", "size=1m"); err != nil {
		return s, err
	}
	at, err := unix.Open(shelfPlace, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s, fmt.Errorf("cannot open %s: %w", shelfPlace, err)
	}
	defer unix.Close(at)
	if err := mount.Attach(s.fd, at); err != nil {
		return s, fmt.Errorf("cannot mount the pod's own tmpfs: %w", err)
	}
	if err := unix.Mkdirat(s.fd, procPlace, 0o555); err != nil {
		return s, os.NewSyscallError("mkdirat", err)
	}
	failpoint.Hit("assemble/shelf")
	err = s.add(&s.empty, ".empty", func() (int, error) {
		return mount.New("tmpfs", dataOnly|unix.MOUNT_ATTR_RDONLY, "mode=0555", "size=4k")
	}, func() error { return bindDevice("/dev/null", shelfPlace+"/.null") })
	if err == nil {
		err = s.add(&s.dev, ".dev", func() (int, error) {
			return mount.New("tmpfs", noTricks|unix.MOUNT_ATTR_NOEXEC, "mode=0755", "size=64k")
		}, fillDev)
	}
	return s, err
}

// addSys makes /sys; hostNetwork tells whose network it shows.
func (s *shelf) addSys(hostNetwork bool) error {
	s.hostNetwork = hostNetwork
	bound := false
	return s.add(&s.sys, ".sys", func() (fd int, err error) {
		fd, bound, err = newSys(unix.MOUNT_ATTR_RDONLY, hostNetwork)
		return fd, err
	}, func() error { return maskSys(bound) })
}

// add makes a part of the shelf, attaches it, and fills it.
func (s *shelf) add(fd *int, name string, make func() (int, error), fill func() error) (err error) {
	if *fd, err = make(); err == nil {
		err = place(s.fd, name, *fd)
	}
	if err == nil {
		err = fill()
	}
	if err != nil {
		return fmt.Errorf("cannot make the pod's /%s: %w", name[1:], err)
	}
	return nil
}

// close gives back what only the making of roots needs.
func (s *shelf) close() {
	for _, fd := range append(s.procs, s.fd, s.sys, s.dev, s.shm, s.empty) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// take attaches a part of the shelf, with all that is mounted in it, at target:
// itself if it is the last time, else a copy. It returns a descriptor of what is
// there now; the caller closes it.
func take(part, root int, target string, last bool) (int, error) {
	m, err := unix.Dup(part)
	if err == nil {
		unix.CloseOnExec(m)
	}
	if !last {
		m, err = mount.Clone(part, "", true)
	}
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	if err := place(root, target, m); err != nil {
		unix.Close(m)
		return -1, err
	}
	return m, nil
}

// place attaches a detached mount at a directory of the root, making it if the
// image has none, and closes nothing.
func place(root int, target string, m int) error {
	at, err := safepath.MkdirAllInRoot(root, target, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}
