// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are doors to the kernel that no app needs.
var calls = map[string]attempt{
	"bpf": func([]string) error {
		attr := struct{ kind, key, value, entries uint32 }{2, 4, 4, 1} // an array map
		_, err := call(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		return err
	},
	"perf": func([]string) error { // of the whole machine
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}
		_, err := unix.PerfEventOpen(&attr, -1, 0, -1, 0)
		return err
	},
	"userfaultfd": func([]string) error { _, err := call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC); return err },
	"io_uring": func([]string) error {
		var params [120]byte
		_, err := call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])))
		return err
	},
	"add_key": func([]string) error {
		_, err := unix.AddKey("user", "rkt-escape-attempt", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	},
	// clock sets the host's clock: its tick, to what it is.
	"clock": func([]string) error {
		var t unix.Timex
		if _, err := unix.Adjtimex(&t); err != nil {
			return err
		}
		t.Modes = unix.ADJ_TICK
		_, err := unix.Adjtimex(&t)
		return err
	},
	"messages": func([]string) error { // of the kernel
		_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 512))
		return err
	},
	"module": func([]string) error { // an empty one, which the kernel sees only if it may come
		f, err := os.Open("/proc/self/exe")
		if err != nil {
			return err
		}
		return reached(unix.FinitModule(int(f.Fd()), "", 0), unix.ENOEXEC, unix.EINVAL)
	},
	"raw-memory-socket": func([]string) error { // AF_ALG, for one: CVE-2026-31431
		fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return reached(err, unix.EAFNOSUPPORT)
	},
	"vsock": func([]string) error { // the way to the host of a virtual machine
		fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return reached(err, unix.EAFNOSUPPORT)
	},
	// kexec takes away a kernel that was loaded to be the next: there is none.
	"kexec": func([]string) error { _, err := call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0); return err },
	// account switches accounting off: a file given would be written by the kernel.
	"account": func([]string) error { _, err := call(unix.SYS_ACCT, 0); return err },
	"swapon": func([]string) error { // to what cannot be swapped to
		err := call1(unix.SYS_SWAPON, "/attack")
		return reached(err, unix.EINVAL, unix.ETXTBSY) // it is no swap, and runs
	},
	"fanotify": func([]string) error { // of all that opens files, and may be denied them
		const content = 4 // FAN_CLASS_CONTENT
		_, err := call(unix.SYS_FANOTIFY_INIT, content, unix.O_RDONLY)
		return err
	},
	"quota": func([]string) error { // of a file system: is it on
		const sync = 0x800001
		_, err := call(unix.SYS_QUOTACTL, sync<<8, 0, 0, 0)
		return err
	},
	"ports": func([]string) error { // of the processor's
		_, err := call(ioperm, 0x80, 1, 1)
		return err
	},
	// clone3 is another way to a user namespace than unshare, with its flags where a
	// filter does not see them.
	"clone3": func([]string) error {
		args := struct{ flags, pidfd, child, parent, exit, stack, size, tls uint64 }{flags: unix.CLONE_NEWUSER, exit: uint64(unix.SIGCHLD)}
		pid, err := call(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		if err == nil && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return err
	},
	// setns-pidfd enters all namespaces of another process at once.
	"setns-pidfd": func(a []string) error {
		runtime.LockOSThread()
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWUTS|unix.CLONE_NEWNET)
	},
	"user-namespace": func([]string) error { return inUserNamespace(0, "no-op") },
	"no-op":          func([]string) error { return nil },
	// What a user namespace of one's own opens, once it is there.
	"user-namespace-proc":   func([]string) error { return inUserNamespace(unix.CLONE_NEWPID, "mount", "proc", "/tmp") },
	"user-namespace-sys":    func([]string) error { return inUserNamespace(unix.CLONE_NEWNET, "mount", "sysfs", "/tmp") },
	"user-namespace-umount": func(a []string) error { return inUserNamespace(0, "umount", a[0]) },
	"user-namespace-remount": func(a []string) error {
		return inUserNamespace(0, "remount", a[0])
	},
	// CVE-2022-0492, CVE-2022-0185.
	"user-namespace-release-agent": func([]string) error { return inUserNamespace(unix.CLONE_NEWCGROUP, "release-agent", "/tmp") },
	"user-namespace-fsconfig":      func([]string) error { return inUserNamespace(0, "fsconfig-long") },
}

// call1 is a call with a path.
func call1(number uintptr, path string) error {
	p, err := unix.BytePtrFromString(path)
	if err == nil {
		_, err = call(number, uintptr(unsafe.Pointer(p)), 0)
	}
	return err
}

// inUserNamespace runs another attempt in a user and mount namespace of its own.
func inUserNamespace(flags uintptr, attempt ...string) error {
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", attempt...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWNS | flags,
		UidMappings:                []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		GidMappingsEnableSetgroups: false,
	}
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	if string(out) != "done\n" {
		os.Stdout.Write(out)
		return errNothing
	}
	return nil
}
