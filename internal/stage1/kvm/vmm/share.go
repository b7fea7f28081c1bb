// SPDX-License-Identifier: Apache-2.0

package vmm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/forkexec"
)

// sharePaths are where the server of files is: Debian 12's, then where others and
// later ones have it.
func sharePaths() []string {
	return []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/bin/virtiofsd"}
}

// ServesFiles tells whether ServeFiles can.
func ServesFiles() bool {
	_, ok := find(sharePaths())
	return ok
}

// ServeFiles starts virtiofsd for one directory, at socket, which it makes, and
// returns its pid, which is the caller's to wait for, and a connection for
// Machine.Share. It confines itself: namespaces of its own with the directory as
// root, a filter, and of root's capabilities those that have to do with files.
func ServeFiles(dir, socket string) (pid int, share *os.File, err error) {
	program, ok := find(sharePaths())
	if !ok {
		return 0, nil, hint.Wrap(errors.New("cannot share files with the virtual machine: there is no virtiofsd"),
			"install it: Debian 12 has it in qemu-system-common, later ones in virtiofsd")
	}
	listen, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(listen), socket)
	defer f.Close()
	if err := unix.Bind(listen, &unix.SockaddrUnix{Name: socket}); err != nil {
		return 0, nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(listen, 1); err != nil {
		return 0, nil, os.NewSyscallError("listen", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	c := &forkexec.Child{}
	place(c, null, []*os.File{f})
	// What is mounted below dir is told to the guest as file systems of their own,
	// so that numbers of files are never two files'.
	argv := []string{program, fmt.Sprintf("--fd=%d", firstFD), "-o", "source=" + dir, "-o", "xattr", "-o", "announce_submounts",
		"-o", "modcaps=-mknod", "-o", "cache=auto", "-o", "log_level=err", "--rlimit-nofile=0"}
	if err := c.Exec(program, argv, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}); err != nil {
		return 0, nil, err
	}
	if pid, err = c.Start(); err != nil {
		return 0, nil, fmt.Errorf("cannot start virtiofsd: cannot %w", err)
	}
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return pid, nil, os.NewSyscallError("socket", err)
	}
	share = os.NewFile(uintptr(conn), socket)
	if err := unix.Connect(conn, &unix.SockaddrUnix{Name: socket}); err != nil {
		share.Close()
		return pid, nil, os.NewSyscallError("connect", err)
	}
	return pid, share, nil
}
