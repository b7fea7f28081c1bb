// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var processes = map[string]attempt{
	"sleep": func([]string) error {
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return nil
	},
	"uid": func([]string) error {
		fmt.Println("uid", os.Getuid())
		return nil
	},
	"is-user": func(a []string) error {
		if os.Getuid() != number(a[0]) {
			return errNothing
		}
		return nil
	},
	"ptrace": func(a []string) error {
		runtime.LockOSThread()
		pid := number(a[0])
		const seize = 0x4206
		_, err := call(unix.SYS_PTRACE, seize, uintptr(pid), 0, 0)
		if err == nil {
			const interrupt = 0x4207
			_, _ = call(unix.SYS_PTRACE, interrupt, uintptr(pid), 0, 0)
			_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
			err = unix.PtraceDetach(pid)
		}
		return err
	},
	// ptrace-kill makes another process exit.
	"ptrace-kill": func(a []string) error {
		runtime.LockOSThread()
		pid := number(a[0])
		const seize, exitKill = 0x4206, 0x100000
		if _, err := call(unix.SYS_PTRACE, seize, uintptr(pid), 0, exitKill); err != nil {
			return err
		}
		os.Exit(0) // PTRACE_O_EXITKILL
		return nil
	},
	"memory": func(a []string) error {
		f, err := os.OpenFile("/proc/"+a[0]+"/mem", os.O_RDWR, 0)
		if err == nil {
			err = f.Close()
		}
		return err
	},
	"process-root": func(a []string) error { return readable("/proc/" + a[0] + "/root") },
	"process-cwd":  func(a []string) error { return readable("/proc/" + a[0] + "/cwd") },
	"process-fds": func(a []string) error {
		e, err := os.ReadDir("/proc/" + a[0] + "/fd")
		if err == nil {
			err = errNothing
		}
		for _, fd := range e {
			if _, err = os.Readlink("/proc/" + a[0] + "/fd/" + fd.Name()); err == nil {
				break
			}
		}
		return err
	},
	"process-exe": func(a []string) error {
		_, err := os.Readlink("/proc/" + a[0] + "/exe")
		return err
	},
	"foreign-exe": foreignExe,
	"process-namespace": func(a []string) error {
		fd, err := unix.Open("/proc/"+a[0]+"/ns/mnt", unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	},
	// pidfd-namespace gets it by what Linux 6.11 has for it.
	"pidfd-namespace": func(a []string) error {
		const getMountNamespace = 0xff03 // PIDFD_GET_MNT_NAMESPACE
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return err
		}
		_, err = call(unix.SYS_IOCTL, uintptr(fd), getMountNamespace, 0)
		return absent(err, unix.ENOTTY)
	},
	// next-namespace finds mount namespaces beside its own (Linux 6.12).
	"next-namespace": func([]string) error {
		fd, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		info := struct {
			size, mounts uint32
			id           uint64
		}{size: 16}
		for _, request := range []uintptr{0x8010b70b, 0x8010b70c} { // NS_MNT_GET_NEXT, NS_MNT_GET_PREV
			if _, err = call(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&info))); err == nil {
				break
			}
		}
		if err == unix.ENOENT { // there are, but not for us: errors of that name are a kernel's that cannot
			return errNothing
		}
		return absent(err, unix.ENOTTY)
	},
	// namespace-handle opens a namespace by a handle, which for others is a guess of
	// small numbers (Linux 6.18).
	"namespace-handle": func([]string) error {
		const namespaces = -10003 // FD_NSFS_ROOT
		handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/proc/self/ns/mnt", unix.AT_SYMLINK_FOLLOW)
		if err != nil {
			return absent(err, unix.EOPNOTSUPP)
		}
		fd, err := unix.OpenByHandleAt(namespaces, handle, unix.O_RDONLY)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	},
	"steal-descriptor": func(a []string) error {
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return err
		}
		_, err = unix.PidfdGetfd(fd, 0, 0)
		return err
	},
	"read-memory": func(a []string) error { // EFAULT: allowed, and nothing there
		b := make([]byte, 1)
		local := []unix.Iovec{{Base: &b[0], Len: 1}}
		_, err := unix.ProcessVMReadv(number(a[0]), local, []unix.RemoteIovec{{Base: 4096, Len: 1}}, 0)
		return reached(err, unix.EFAULT)
	},
	"kcmp": func(a []string) error { // of its memory with our own
		_, err := call(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(number(a[0])), 1, 0, 0)
		return err
	},
	"kill": func(a []string) error { return unix.Kill(number(a[0]), 0) },
	// end is for a process that must survive it.
	"end": func(a []string) error {
		if err := unix.Kill(number(a[0]), unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		return unix.Kill(number(a[0]), 0)
	},
	"setns": func(a []string) error {
		runtime.LockOSThread()
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, 0)
	},
	"connect": func(a []string) error {
		c, err := net.Dial(a[0], a[1])
		if err == nil {
			err = c.Close()
		}
		return err
	},
	// session-key looks for a key of the host in the session's keyring.
	"session-key": func(a []string) error {
		_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", a[0], 0)
		return err
	},
	"user-key": func(a []string) error {
		_, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", a[0], 0)
		return err
	},
	// type pushes a key into the terminal that is this process's own: behind the
	// filter the kernel refuses by EIO where dev.tty.legacy_tiocsti is 0.
	"type": func([]string) error {
		c := byte('x')
		_, err := call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
		return reached(err, unix.EIO, unix.ENOTTY)
	},
	"paste": func([]string) error { // the console's selection; no console here
		c := byte(3)
		const tioclinux = 0x541c
		_, err := call(unix.SYS_IOCTL, 0, tioclinux, uintptr(unsafe.Pointer(&c)))
		return reached(err, unix.ENOTTY, unix.EIO, unix.EINVAL)
	},
	// eavesdrop waits for what is typed at a descriptor that was not meant for it.
	"eavesdrop": func(a []string) error {
		fmt.Println("listening")
		fds := []unix.PollFd{{Fd: int32(number(a[0])), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 20000); err != nil || n == 0 {
			return errNothing
		}
		n, err := unix.Read(number(a[0]), make([]byte, 64))
		if err == nil && n == 0 {
			err = io.EOF
		}
		return err
	},
	// terminal looks for the host's terminal, by its device numbers, among the
	// standard streams.
	"terminal": func(a []string) error {
		for fd := range 3 {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			if fmt.Sprint(st.Dev) == a[0] && fmt.Sprint(st.Rdev) == a[1] {
				fmt.Println("stream", fd)
				return nil
			}
		}
		return errNothing
	},
}

// readable tells whether a link of another process leads somewhere.
func readable(link string) error {
	_, err := os.ReadDir(link)
	return err
}

// others makes an attempt against all other processes but the first, once there
// are some.
func others(f attempt) error {
	err := errors.New("nobody is there")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		pids, readErr := os.ReadDir("/proc")
		if readErr != nil {
			return readErr
		}
		met := false
		for _, p := range pids {
			pid, convErr := strconv.Atoi(p.Name())
			if convErr != nil || pid == 1 || pid == os.Getpid() {
				continue
			}
			if exe, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline"); !strings.HasPrefix(string(exe), "/attack\x00sleep") {
				continue // not the app yet
			}
			met = true
			if err = f([]string{p.Name()}); err == nil {
				return nil
			}
		}
		if met {
			return err
		}
	}
	return err
}

// foreignExe looks for a process whose program is not the attacker's and can be
// written to, were it not running: only the mount stands between.
func foreignExe(a []string) error {
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &own); err != nil {
		return err
	}
	pids := a
	if len(a) == 0 {
		e, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, p := range e {
			if _, err := strconv.Atoi(p.Name()); err == nil {
				pids = append(pids, p.Name())
			}
		}
	}
	last := errNothing
	for _, p := range pids {
		var st unix.Stat_t
		if unix.Stat("/proc/"+p+"/exe", &st) != nil || st.Ino == own.Ino && st.Dev == own.Dev {
			continue
		}
		// It runs, so nothing is truncated; but a mount that may not be written to
		// is found before that.
		fd, err := unix.Open("/proc/"+p+"/exe", unix.O_WRONLY|unix.O_TRUNC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		if err = reached(err, unix.ETXTBSY); err == nil {
			return nil
		}
		last = fmt.Errorf("process %s: %w", p, err)
	}
	return last
}
