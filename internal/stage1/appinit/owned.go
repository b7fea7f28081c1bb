// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
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
func (p *Process) enterUsers(c *forkexec.Child) error {
	if p.Users.Namespace <= 0 {
		return nil
	}
	if err := p.rlimits(c); err != nil {
		return err
	}
	userns.Enter(c, p.Users.Namespace)
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
