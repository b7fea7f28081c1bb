// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/lsm"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Users are the pod's own users and groups, seen from where the caller stands.
type Users struct {
	contract.Users
	// Namespace is a descriptor of the pod's user namespace, or of a process in it,
	// for a caller outside; 0 for one inside.
	Namespace int
}

// Inside are the users that document has, for who is in the pod's user namespace:
// numbers mean there what they mean in the image.
func Inside(doc *contract.Pod) Users { return Users{Users: contract.Users{Count: doc.Users.Count}} }

// enterUsers has a process of a caller outside enter the pod's user namespace.
// All that takes a privilege over the host's things must be done by then.
// namespace is its descriptor in the process; 0 for none.
func (p *Process) enterUsers(c *forkexec.Child, namespace int) error {
	if namespace <= 0 {
		return nil
	}
	if err := p.rlimits(c); err != nil {
		return err
	}
	userns.Enter(c, namespace)
	return nil
}

// ownMounts gives a process with users of its own a mount namespace that is
// theirs: with the capabilities for it the app may mount in it, but can neither
// take away nor change what it was given (mount_namespaces(7), "Restrictions on
// mount namespaces").
func (p *Process) ownMounts(c *forkexec.Child) {
	if p.Users.Private() && p.OwnMounts {
		c.Call("make a mount namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	}
}

// borrow has the child have a descriptor of the caller's at place for a while. What
// is opened for that is appended to high.
func (p *Process) borrow(c *forkexec.Child, fd, place int, high []int) ([]int, error) {
	h, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, max(10, place+1))
	if err != nil {
		return high, fmt.Errorf("cannot hand over descriptor %d: %w", fd, err)
	}
	c.Call("place a descriptor", unix.SYS_DUP3, uintptr(h), uintptr(place), unix.O_CLOEXEC)
	return append(high, h), nil
}

// labelBy is how the child reaches proc for its label; proc is p.Proc as the child
// has it. Who is not the host's root, or enters another's mounts, cannot mount one.
func (p *Process) labelBy(proc int) int {
	switch {
	case proc > 0:
		return proc
	case p.Users.Private() || !userns.Initial():
		return lsm.ProcPath
	}
	return lsm.OwnProc
}

// OpenProc opens the /proc of an app's root for p.Proc, if the label needs it: 0 if
// not. CloseProc closes it.
func (p *Process) OpenProc(root int) (int, error) {
	if p.Label == (lsm.Label{}) || p.labelBy(0) == lsm.OwnProc {
		return 0, nil
	}
	fd, err := safepath.OpenInRoot(root, "proc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	if err := lsm.CheckProc(fd); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("cannot take on a label: %w", err)
	}
	return fd, nil
}

// CloseProc gives up what OpenProc has opened.
func (p *Process) CloseProc() {
	if p.Proc > 0 {
		unix.Close(p.Proc)
		p.Proc = 0
	}
}
