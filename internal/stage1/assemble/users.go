// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/netns"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// ownUsers is the user namespace of a pod with users of its own, which owns the
// others but those of its mounts and its processes: who assembles the pod stays
// the host's, mounts with the host's privileges, and only at the end do init and
// apps enter it (docs/decisions/0008). All methods go for nil, too.
type ownUsers struct {
	space *userns.Namespace
	users contract.Users
	back  func() error // nil while the thread is itself
}

// newUsers makes the user namespace and those of kinds, and takes the thread into
// these.
func newUsers(w *Wants, kinds int) (_ *ownUsers, err error) {
	space, err := userns.New(uint32(w.Users.First), uint32(w.Users.Count), uint64(kinds))
	if err != nil {
		return nil, err
	}
	// What the thread is in, and the descriptors, keep all of them.
	defer space.Release()
	u := &ownUsers{space: space, users: w.Users}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	failpoint.Hit("assemble/users")
	if kinds&unix.CLONE_NEWNET != 0 {
		fd, err := space.Open("net")
		if err != nil {
			return nil, err
		}
		if _, err := w.Network(fd); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	if err := space.Join(kinds); err != nil {
		return nil, err
	}
	if kinds&unix.CLONE_NEWNET != 0 {
		if err := netns.LoopbackUp(); err != nil {
			return nil, fmt.Errorf("cannot bring the pod's loopback up: %w", err)
		}
	}
	return u, nil
}

// fd is the user namespace's descriptor, 0 without one.
func (u *ownUsers) fd() int {
	if u == nil {
		return 0
	}
	return u.space.FD
}

// act has the thread make files as the pod's root, until stop.
func (u *ownUsers) act() (err error) {
	if u != nil && u.back == nil {
		u.back, err = u.space.ActAsRoot()
	}
	return err
}

func (u *ownUsers) stop() error {
	if u == nil || u.back == nil {
		return nil
	}
	err := u.back()
	u.back = nil
	return err
}

func (u *ownUsers) close() {
	if u != nil {
		u.space.Close()
	}
}

// mappedPlace is where mounts with mapped owners that the roots are made from are
// attached, one over the other, while they are needed: overlayfs takes no
// detached ones before Linux 6.15. It is away from the shelf, and so goes with
// the host's mounts: much of the pod's directory is not the pod's to see.
const mappedPlace = "/proc/driver"

// Mapped gives a descriptor of what is behind dir, a directory that is not a
// mount point, for the pod: with the pod's users in place of the owners there. For
// a pod with the host's users it is a copy of dir. The caller closes it.
func (a *Assembly) Mapped(dir int) (int, error) {
	if a.users == nil {
		return unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 3)
	}
	m, err := mount.Clone(dir, "", false)
	if err != nil {
		return -1, err
	}
	if err := mount.MapOwners(m, a.users.fd(), dir, false); err != nil {
		unix.Close(m)
		return -1, err
	}
	at, err := unix.Open(mappedPlace, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = mount.Attach(m, at)
		unix.Close(at)
	}
	if err != nil {
		unix.Close(m)
		return -1, fmt.Errorf("cannot attach a mount with mapped owners: %w", err)
	}
	return m, nil
}

// Private reports whether the pod has users of its own.
func (a *Assembly) Private() bool { return a.users != nil }
