// SPDX-License-Identifier: Apache-2.0

package landlock

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
)

// domainABI is the first that can let files be moved to other directories, which
// every domain otherwise forbids.
const domainABI = 2

// beneath is struct landlock_path_beneath_attr, which is packed: 12 bytes.
type beneath struct {
	rights uint64
	fd     int32
}

// OwnDomain has a child be in a domain of its own that allows everything below its
// root. What is in a domain can trace only what is in the same or in one below it,
// whatever its user and its capabilities, and tracing is also what most links and
// files of /proc/PID ask for (landlock(7), "Ptrace restrictions"); who is in none
// can trace it as ever. But nothing in a domain changes mounts, CAP_SYS_ADMIN or
// not.
//
// The child has every descriptor below free, and none from there on, which it has
// not afterwards either, and CAP_SYS_ADMIN or no_new_privs. Where the kernel has no
// Landlock of ABI 2 (Linux 5.19) it does nothing.
func OwnDomain(c *forkexec.Child, free int) error {
	if ABI() < domainABI {
		return nil
	}
	slash, err := c.String("/")
	if err != nil {
		return err
	}
	// What the calls get in turn.
	root, set := uintptr(free), uintptr(free+1)
	attr := &struct{ fs uint64 }{unix.LANDLOCK_ACCESS_FS_REFER}
	rule := &beneath{unix.LANDLOCK_ACCESS_FS_REFER, int32(root)}
	c.Keep(attr)
	c.Keep(rule)
	const what = "make a Landlock domain"
	here := unix.AT_FDCWD
	c.Call(what, unix.SYS_OPENAT, uintptr(here), slash, unix.O_PATH|unix.O_CLOEXEC, 0)
	c.Call(what, unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr), 0)
	c.Call(what, unix.SYS_LANDLOCK_ADD_RULE, set, rulePathBeneath, uintptr(unsafe.Pointer(rule)), 0)
	c.Call("enter a Landlock domain", unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0)
	c.Call("close the ruleset", unix.SYS_CLOSE_RANGE, uintptr(free), 1<<32-1, 0)
	return nil
}
