// SPDX-License-Identifier: Apache-2.0

// Package lsm knows the security modules of a kernel that confine a program by a
// label which its starter chooses: AppArmor and SELinux.
package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
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

// Loaded reports whether this kernel runs with AppArmor, has a profile of that
// name, and lets this process's children take it on. It changes nothing
// (aa_change_profile's AA_CHANGE_TEST). With an error that is not known: it does not
// mean that there is none.
func Loaded(profile string) (bool, error) {
	// A thread's attributes are for itself to write; another gets EACCES, and Go may
	// go on in another between the calls.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const path = "/proc/thread-self/attr/apparmor/current"
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return false, nil // a kernel without, or one that is older than 5.8
	}
	if err != nil {
		return false, fmt.Errorf("cannot ask for AppArmor profile %q: %w", profile, &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	switch _, err = unix.Write(fd, []byte("permprofile "+profile)); err {
	case nil:
		return true, nil
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.EINVAL: // none; not for these children; AppArmor does not run
		return false, nil
	}
	return false, fmt.Errorf("cannot ask for AppArmor profile %q: %w", profile, &os.PathError{Op: "write", Path: path, Err: err})
}

// HasSELinux reports whether this kernel runs with SELinux: only then is there
// its file system.
func HasSELinux() bool {
	text, err := os.ReadFile("/proc/filesystems")
	return err == nil && bytes.Contains(text, []byte("\tselinuxfs\n"))
}

// How a child reaches proc for its label, beside a descriptor of that which it has.
const (
	// OwnProc: it makes one of its own. Whoever had control of the mounts at /proc
	// could otherwise have the label written to anything (CVE-2019-16884, CVE-2025-
	// 52881). It takes CAP_SYS_ADMIN over the child's pid namespace, and a mount
	// namespace of the same owner.
	OwnProc = -1
	// ProcPath is /proc, in a root in which nothing but the caller has mounted yet.
	ProcPath = unix.AT_FDCWD
)

// OnExec has a child, once it executes its program, be confined by the label. The
// child must be in the pid namespace that it will stay in, and have every
// descriptor below free, and none from there on, which it has not afterwards
// either. proc is one of the constants, or a descriptor below free of what
// CheckProc has found to be proc.
func OnExec(c *forkexec.Child, l Label, proc, free int) error {
	if l == (Label{}) {
		return nil
	}
	// What the calls get in turn.
	at, attribute, place := uintptr(proc), uintptr(free), ""
	switch proc {
	case OwnProc:
		context, own := uintptr(free), uintptr(free+1)
		at, attribute = own, uintptr(free+2)
		fstype, err := c.String("proc")
		if err != nil {
			return err
		}
		c.Call("open proc for a label", unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC)
		c.Call("make proc for a label", unix.SYS_FSCONFIG, context, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
		c.Call("mount proc for a label", unix.SYS_FSMOUNT, context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	case ProcPath:
		place = "/proc/"
	}
	how := &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW}
	if proc != ProcPath {
		how.Resolve = unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH
	}
	c.Keep(how)
	for _, w := range []struct{ file, text, what string }{
		{"thread-self/attr/apparmor/exec", "exec " + l.AppArmor, "take on AppArmor profile \"" + l.AppArmor + "\", which must be loaded"},
		{"thread-self/attr/exec", l.SELinux, "take on SELinux context \"" + l.SELinux + "\""},
	} {
		if w.text == "" || w.text == "exec " {
			continue
		}
		path, err := c.String(place + w.file)
		if err != nil {
			return err
		}
		text := []byte(w.text)
		c.Keep(text)
		c.Call(w.what, unix.SYS_OPENAT2, at, path, uintptr(unsafe.Pointer(how)), unsafe.Sizeof(*how))
		c.Call(w.what, unix.SYS_WRITE, attribute, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
		c.Call(w.what, unix.SYS_CLOSE, attribute)
	}
	c.Call("close proc", unix.SYS_CLOSE_RANGE, uintptr(free), 1<<32-1, 0)
	return nil
}

// CheckProc reports whether fd is the root of a proc file system, and nothing that
// was put in its place.
func CheckProc(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	const root = 1 // PROC_ROOT_INO
	if fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != root {
		return errors.New("what is at /proc is not proc")
	}
	return nil
}
