// SPDX-License-Identifier: Apache-2.0

// Package lsm knows the security modules of a kernel that confine a program by a
// label which its starter chooses: AppArmor and SELinux.
package lsm

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
)

// Label is what a program is to be confined by; "" leaves that to the kernel,
// which keeps its starter's, or has rules of its own.
type Label struct {
	AppArmor string // a profile's name
	SELinux  string // a context, user:role:type:level
}

// Unconfined is the AppArmor profile that is none.
const Unconfined = "unconfined"

// HasAppArmor reports whether this kernel runs with AppArmor.
func HasAppArmor() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && bytes.HasPrefix(text, []byte("Y"))
}

// HasSELinux reports whether this kernel runs with SELinux: only then is there
// its file system.
func HasSELinux() bool {
	text, err := os.ReadFile("/proc/filesystems")
	return err == nil && bytes.Contains(text, []byte("\tselinuxfs\n"))
}

// OnExec has a child, once it executes its program, be confined by the label. The
// child must be in the pid namespace that it will stay in, with CAP_SYS_ADMIN, and
// have every descriptor below free, and none from there on.
//
// The label is written into a proc of the child's own making: whoever had control
// of the mounts at /proc could otherwise have it written to anything (CVE-2019-
// 16884, CVE-2025-52881).
func OnExec(c *forkexec.Child, l Label, free int) error {
	if l == (Label{}) {
		return nil
	}
	// What the calls get in turn.
	context, proc, attribute := uintptr(free), uintptr(free+1), uintptr(free+2)
	fstype, err := c.String("proc")
	if err != nil {
		return err
	}
	c.Call("open proc for a label", unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC)
	c.Call("make proc for a label", unix.SYS_FSCONFIG, context, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	c.Call("mount proc for a label", unix.SYS_FSMOUNT, context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	for _, w := range []struct{ file, text, what string }{
		{"thread-self/attr/apparmor/exec", "exec " + l.AppArmor, "take on AppArmor profile \"" + l.AppArmor + "\", which must be loaded"},
		{"thread-self/attr/exec", l.SELinux, "take on SELinux context \"" + l.SELinux + "\""},
	} {
		if w.text == "" || w.text == "exec " {
			continue
		}
		path, err := c.String(w.file)
		if err != nil {
			return err
		}
		text := []byte(w.text)
		c.Keep(text)
		c.Call(w.what, unix.SYS_OPENAT, proc, path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		c.Call(w.what, unix.SYS_WRITE, attribute, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
		c.Call(w.what, unix.SYS_CLOSE, attribute)
	}
	c.Call("close proc", unix.SYS_CLOSE_RANGE, uintptr(free), 1<<32-1, 0)
	return nil
}
