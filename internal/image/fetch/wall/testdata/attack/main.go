// SPDX-License-Identifier: Apache-2.0

// Command attack is what a helper does when somebody else has taken it over: it
// takes the same way behind the walls as libexec/rkt/fetch and then tries what
// its arguments say. It writes "done" if that worked, and why not otherwise.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/source"
)

func main() {
	kind, attempt, args := os.Args[1], os.Args[2], os.Args[3:]
	if kind != "free" {
		if err := source.Confine(wall.Kind(kind)); err != nil {
			fmt.Println("cannot confine:", err)
			os.Exit(1)
		}
	}
	if err := try(attempt, args); err != nil {
		fmt.Println(err)
		os.Exit(0)
	}
	fmt.Println("done")
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// call makes a system call that this program has no other name for.
func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func text(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

func try(attempt string, a []string) error {
	switch attempt {
	case "wait": // for the end of descriptor 0
		fmt.Println("waiting")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	case "read":
		_, err := os.ReadFile(a[0])
		return err
	case "list":
		_, err := os.ReadDir(a[0])
		return err
	case "write":
		f, err := os.OpenFile(a[0], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("attack")
		return err
	case "create":
		f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		_, err = f.WriteString("attack")
		return err
	case "create-beside": // the directory on descriptor 3
		fd, err := unix.Openat(3, "../"+a[0], unix.O_WRONLY|unix.O_CREAT, 0o666)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("attack"))
		return err
	case "chmod-beside":
		return unix.Fchmodat(3, "../"+a[0], 0o4755, 0)
	case "create-inside":
		fd, err := unix.Openat(3, a[0], unix.O_WRONLY|unix.O_CREAT, 0o666)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("attack"))
		return err
	case "setuid-file":
		if err := unix.Mknod(a[0], unix.S_IFREG|0o4755, 0); err != nil {
			return err
		}
		return os.Chmod(a[0], os.ModeSetuid|0o755)
	case "chmod":
		return unix.Chmod(a[0], 0o4777)
	case "chown":
		return unix.Chown(a[0], 4711, 4711)
	case "xattr":
		return unix.Setxattr(a[0], "user.attack", []byte("x"), 0)
	case "truncate":
		return unix.Truncate(a[0], 0)
	case "link":
		return unix.Link(a[0], a[1])
	case "symlink":
		return unix.Symlink("/etc/shadow", a[0])
	case "remove":
		return unix.Unlink(a[0])
	case "rename":
		return unix.Rename(a[0], a[1])
	case "write-descriptor":
		_, err := unix.Write(number(a[0]), []byte("attack"))
		return err
	case "reopen-descriptor":
		fd, err := unix.Open("/proc/self/fd/"+a[0], unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("attack"))
		return err
	case "read-descriptor":
		n, err := unix.Read(number(a[0]), make([]byte, 16))
		if err == nil && n == 0 {
			err = io.EOF
		}
		return err
	case "truncate-descriptor":
		return unix.Ftruncate(number(a[0]), 0)
	case "ptrace":
		return unix.PtraceAttach(number(a[0]))
	case "memory":
		f, err := os.OpenFile("/proc/"+a[0]+"/mem", os.O_RDWR, 0)
		if err == nil {
			_ = f.Close()
		}
		return err
	case "read-memory":
		b := make([]byte, 1)
		local := []unix.Iovec{{Base: &b[0], Len: 1}}
		_, err := unix.ProcessVMReadv(number(a[0]), local, []unix.RemoteIovec{{Base: uintptr(number(a[1])), Len: 1}}, 0)
		return err
	case "steal-descriptor":
		fd, err := unix.PidfdOpen(number(a[0]), 0)
		if err != nil {
			return err
		}
		_, err = unix.PidfdGetfd(fd, 0, 0)
		return err
	case "kill":
		return unix.Kill(number(a[0]), unix.SIGURG)
	case "kill-all":
		return unix.Kill(-1, 0)
	case "abstract":
		return dial("unix", "@"+a[0])
	case "unix", "tcp":
		return dial(attempt, a[0])
	case "listen":
		_, err := net.Listen("tcp", "127.0.0.1:0")
		return err
	case "bind":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: number(a[0])})
	case "socket":
		_, err := unix.Socket(number(a[0]), number(a[1]), 0)
		return err
	case "mount":
		err := unix.Mount("none", a[0], "tmpfs", 0, "")
		if err == nil { // without walls: the host is left as it was
			err = unix.Unmount(a[0], unix.MNT_DETACH)
		}
		return err
	case "chroot":
		return unix.Chroot(a[0])
	case "user-namespace":
		_, err := syscall.ForkExec(a[0], a, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
		return err
	case "mount-namespace":
		return unix.Unshare(unix.CLONE_NEWNS)
	case "setns":
		fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, 0)
	case "setuid":
		return call(unix.SYS_SETUID, 0)
	case "execute":
		return unix.Exec(a[0], a, nil)
	case "fork":
		_, err := syscall.ForkExec(a[0], a, nil)
		return err
	case "io_uring":
		var params [120]byte
		return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])))
	case "userfaultfd":
		return call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC)
	case "bpf":
		attr := struct{ kind, key, value, entries uint32 }{2, 4, 4, 1} // an array map
		return call(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	case "keyctl":
		return call(unix.SYS_ADD_KEY, text("user"), text("attack"), text("x"), 1, ^uintptr(3-1)) // own process's keyring
	case "handle":
		h, mnt, err := unix.NameToHandleAt(unix.AT_FDCWD, a[0], 0)
		if err != nil {
			return err
		}
		_ = mnt
		root, err := unix.Open("/", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		_, err = unix.OpenByHandleAt(root, h, unix.O_RDONLY)
		return err
	case "device": // made in the directory on descriptor 3, and opened
		if err := unix.Mknodat(3, "device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			return err
		}
		_, err := unix.Openat(3, "device", unix.O_RDWR, 0)
		return err
	case "type": // into the terminal on descriptor 2, as if the user did
		c := byte('x')
		return call(unix.SYS_IOCTL, 2, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
	case "memory-limit":
		b, err := unix.Mmap(-1, 0, 4<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err == nil {
			b[0] = 1
		}
		return err
	case "unknown-call":
		return call(4000)
	}
	return errors.New("no such attempt")
}

func dial(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.Close()
	}
	return err
}
