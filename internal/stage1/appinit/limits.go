// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// join moves the process into its version 1 cgroups. It comes first, while the
// descriptors are open and nothing of the app's has run.
func (p *Process) join(c *forkexec.Child) {
	if len(p.Groups) == 0 {
		return
	}
	self := []byte("0")
	c.Keep(self)
	for _, fd := range p.Groups {
		c.Call("enter a cgroup", unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&self[0])), 1)
	}
}

// rlimits sets the process's limits, while it may still raise them. With users of
// its own descriptors are still to be opened then, however few it is to have: that
// limit is raised only, if need be, and limitFiles sets it.
func (p *Process) rlimits(c *forkexec.Child) error {
	for i := range p.Rlimits {
		l := &p.Rlimits[i]
		raise, err := mayRaise(l, p.Users)
		if err != nil {
			return err
		}
		to := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		if l.Resource == unix.RLIMIT_NOFILE && p.Users.Namespace > 0 {
			if !raise {
				continue
			}
			to.Cur = to.Max
		}
		setLimit(c, l, to)
	}
	return nil
}

// limitFiles sets what rlimits left.
func (p *Process) limitFiles(c *forkexec.Child) {
	for i := range p.Rlimits {
		if l := &p.Rlimits[i]; l.Resource == unix.RLIMIT_NOFILE && p.Users.Namespace > 0 {
			setLimit(c, l, unix.Rlimit{Cur: l.Soft, Max: l.Hard})
		}
	}
}

func setLimit(c *forkexec.Child, l *contract.Rlimit, to unix.Rlimit) {
	c.Keep(&to)
	c.Call(fmt.Sprintf("set limit %q", l.Name), unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), uintptr(unsafe.Pointer(&to)), 0)
}

// mayRaise tells whether a hard limit is above this process's own, and says what is
// missing if it cannot be: the kernel would only say that it is not permitted
// (getrlimit(2)).
func mayRaise(l *contract.Rlimit, users Users) (raise bool, err error) {
	var own unix.Rlimit
	if err := unix.Prlimit(0, l.Resource, nil, &own); err != nil {
		return false, fmt.Errorf("cannot read limit %q: %w", l.Name, err)
	}
	if l.Hard <= own.Max {
		return false, nil
	}
	if users.Private() && users.Namespace <= 0 {
		return false, fmt.Errorf("cannot raise the hard limit of %q to %s: rkt has %s, and what starts this app has left the host's privileges behind (--private-users)", l.Name, limitWord(l.Hard), limitWord(own.Max))
	}
	if own, err := caps.Current(); err != nil || own.Effective.Has(unix.CAP_SYS_RESOURCE) {
		return true, err
	}
	return false, hint.Wrap(fmt.Errorf("cannot raise the hard limit of %q to %s: rkt has %s and no CAP_SYS_RESOURCE", l.Name, limitWord(l.Hard), limitWord(own.Max)),
		fmt.Sprintf("ask for at most --rlimit=%s=%s", l.Name, limitWord(own.Max)))
}

func limitWord(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n)
}
