// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/native"
)

// Service is what systemd starts for an app: it asks `run` for what is the app's,
// supervises it, and ends with its status. When `run` ends, so does the pod.
func Service(app string) (int, error) {
	runtime.LockOSThread()
	unix.Umask(0)
	ctl, err := dial()
	if err != nil {
		return 0, err
	}
	if err := native.Control(ctl).Send(contract.Message{Kind: messageHello, App: app}, -1); err != nil {
		return 0, err
	}
	p, err := receivePossessions(ctl)
	if err != nil {
		return 0, fmt.Errorf("cannot run app %q: %w", app, err)
	}
	v := &native.Service{App: app, Control: ctl, Root: appsAt + "/" + app, Groups: p.groups, Lost: Off}
	if v.Journal, err = takeStreams(p.stdio); err != nil {
		return 0, err
	}
	if p.log >= 0 {
		v.Log = os.NewFile(uintptr(p.log), contract.LogDir+"/"+app)
	}
	v.End = func() { _, _ = unix.Write(p.kill, []byte("1")) }
	if v.Doc, err = poddir.DocumentIn(os.NewFile(uintptr(p.document), contract.File)); err != nil {
		return 0, err
	}
	if err := enterRoot(v); err != nil {
		return 0, fmt.Errorf("cannot run app %q: %w", app, err)
	}
	return v.Supervise()
}

// dial connects to `run`. Without one there is no pod.
func dial() (int, error) {
	ctl, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(ctl, &unix.SockaddrUnix{Name: controlAt}); err != nil {
		Off()
		return -1, fmt.Errorf("cannot reach rkt: %w", os.NewSyscallError("connect", err))
	}
	return ctl, nil
}

// Failed is what systemd starts when an app's service has failed. `run` knows already
// if the app has run; else it is told what systemd tells (systemd.exec(5), since
// version 251).
func Failed(app string) error {
	ctl, err := dial()
	if err != nil {
		return err
	}
	var why []string
	for _, name := range []string{"MONITOR_SERVICE_RESULT", "MONITOR_EXIT_CODE", "MONITOR_EXIT_STATUS"} {
		if v := os.Getenv(name); v != "" {
			why = append(why, v)
		}
	}
	return native.Control(ctl).Send(contract.Message{Kind: messageFailed, App: app, Text: strings.Join(why, ", ")}, -1)
}

// takeStreams makes the caller's streams this process's, and returns those that it
// was started with, which lead to the journal.
func takeStreams(caller [3]int) (journal [2]*os.File, err error) {
	for i := range journal {
		fd, err := unix.FcntlInt(uintptr(i+1), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return journal, os.NewSyscallError("fcntl", err)
		}
		journal[i] = os.NewFile(uintptr(fd), "journal")
	}
	for to, fd := range caller {
		if err := unix.Dup3(fd, to, 0); err != nil {
			return journal, os.NewSyscallError("dup3", err)
		}
		unix.Close(fd)
	}
	return journal, nil
}

// enterRoot takes the calling thread into a mount namespace of its own, in which
// the app's root has the pod's /proc. Nothing in it is shared: a shared mount
// cannot become a root (pivot_root(2)).
func enterRoot(v *native.Service) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	root, err := unix.Open(v.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: v.Root, Err: err}
	}
	defer unix.Close(root)
	return assemble.Proc(root, ownDir+"/place", v.Doc.Insecure.Paths)
}

// Off ends the pod at once: the kernel kills its first process.
func Off() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }
