// SPDX-License-Identifier: Apache-2.0

// Command attack is what a hostile image runs: it tries what its arguments say
// and writes "done" if that worked, and why not otherwise. It is static and is
// run in pods, and on the host, where the same attempts must work.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An attempt is one technique.
type attempt func(args []string) error

func main() {
	if len(os.Args) < 2 {
		fmt.Println("no attempt")
		os.Exit(1)
	}
	table := map[string]attempt{}
	for _, part := range []map[string]attempt{files, processes, calls, mounts} {
		for name, f := range part {
			table[name] = f
		}
	}
	args := os.Args[1:]
	if args[0] == "after" { // a file is there
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(args[1]); err == nil {
				break
			}
		}
		args = args[2:]
	}
	patient := args[0] == "until" // again and again, for what is yet to come
	if patient {
		args = args[1:]
	}
	f := table[args[0]]
	if args[0] == "others" { // against every other process but the first
		other := table[args[1]]
		f = func([]string) error { return others(other) }
		args = args[:1]
	}
	if f == nil {
		fmt.Println("no such attempt:", args[0])
		os.Exit(1)
	}
	err := f(args[1:])
	for end := time.Now().Add(20 * time.Second); patient && err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		err = f(args[1:])
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("done")
}

// errNothing: the attempt went through and found nothing.
var errNothing = errors.New("nothing there")

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// call makes a system call that x/sys has no function for.
func call(nr uintptr, args ...uintptr) (uintptr, error) {
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return r, errno
	}
	return r, nil
}

func text(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

// reached turns errors that only the call itself gives, behind the wall, into
// success.
func reached(err error, behind ...error) error {
	for _, b := range behind {
		if errors.Is(err, b) {
			return nil
		}
	}
	return err
}

// absent turns the errors of a kernel that does not know a call into the one for
// that.
func absent(err error, unknown error) error {
	if errors.Is(err, unknown) {
		return unix.ENOSYS
	}
	return err
}

var files = map[string]attempt{
	"read": func(a []string) error { // one byte at least
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		n, err := unix.Read(fd, make([]byte, 64))
		if err == nil && n == 0 {
			err = errNothing
		}
		return err
	},
	"list": func(a []string) error {
		e, err := os.ReadDir(a[0])
		if err == nil && len(e) == 0 {
			err = errNothing
		}
		return err
	},
	// For switches of the kernel: whoever may open them for writing may write.
	"open-write": func(a []string) error {
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	},
	"write": func(a []string) error { return os.WriteFile(a[0], []byte("attack"), 0o600) },
	"exists": func(a []string) error {
		_, err := os.Stat(a[0])
		return err
	},
	// holds tells whether a file has what only the host's has.
	"holds": func(a []string) error {
		b, err := os.ReadFile(a[0])
		if err == nil && !strings.Contains(string(b), a[1]) {
			err = errNothing
		}
		return err
	},
	"rename": func(a []string) error { return unix.Rename(a[0], a[1]) },
	// writable lists what of the trees can be opened for writing, processes aside.
	"writable": func(a []string) error { return writable(a) },
	// device makes a node of the null device and opens it.
	"device": func(a []string) error {
		if err := unix.Mknod(a[0], unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			return err
		}
		return openDevice(a[0])
	},
	"open-device": func(a []string) error { return openDevice(a[0]) },
	// handle opens a file of the host by a handle, on a mount of the same file
	// system (shocker, 2014).
	"handle": func(a []string) error {
		var raw []byte
		if _, err := fmt.Sscanf(a[2], "%x", &raw); err != nil {
			return err
		}
		at, err := unix.Open(a[0], unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		fd, err := unix.OpenByHandleAt(at, unix.NewFileHandle(int32(number(a[1])), raw), unix.O_RDONLY)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	},
	// descriptors finds what of the starter's is still open, and what leads out.
	"descriptors": func([]string) error {
		for fd := 3; fd < 1024; fd++ {
			path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
			if err == nil && !strings.HasPrefix(path, "anon_inode:") && !strings.HasPrefix(path, "/proc/self/fd") {
				fmt.Println("descriptor", fd, path)
				return nil
			}
		}
		return errNothing
	},
	// chroot-out is the oldest of them: a second chroot below the first.
	"chroot-out": func(a []string) error {
		_ = unix.Mkdir("/out", 0o755)
		if err := unix.Chroot("/out"); err != nil {
			return err
		}
		for range 64 {
			_ = unix.Chdir("..")
		}
		if err := unix.Chroot("."); err != nil {
			return err
		}
		_, err := os.Stat(a[0])
		return err
	},
	"immutable": func(a []string) error {
		f, err := os.Open(a[0])
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_IMMUTABLE)
	},
	// litter fills the app's root with what a careless remover trips over.
	"litter": func(a []string) error { return litter(a[0]) },
	"swap":   func(a []string) error { return swap(a) },
}

func openDevice(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func litter(outside string) error {
	deep := "/deep"
	for range 300 {
		if err := unix.Mkdir(deep, 0o755); err != nil {
			return err
		}
		deep += "/d"
		if len(deep) > 3900 {
			break
		}
	}
	var errs []error
	errs = append(errs,
		os.Symlink(outside, "/to-the-host"), os.Symlink(outside+"/precious", "/to-a-file"), os.Symlink("loop", "/loop"),
		os.Mkdir("/locked", 0o755), os.WriteFile("/locked/file", nil, 0), os.Chmod("/locked", 0),
		os.Mkdir("/new\nline", 0o700), os.WriteFile("/new\nline/\x1b[2J\xff", nil, 0o4777),
		os.WriteFile("/"+strings.Repeat("n", 255), nil, 0),
		unix.Mkfifo("/fifo", 0), unix.Mknod("/another", unix.S_IFCHR, int(unix.Mkdev(1, 3))), unix.Mknod("/socket", unix.S_IFSOCK, 0))
	return errors.Join(errs...)
}

// swap changes a directory for a link and back, as fast as it goes, until its
// output is read no more.
func swap(a []string) error {
	dir, other := a[0], a[0]+".other"
	if err := os.Symlink(a[1], other); err != nil {
		return err
	}
	fmt.Println("swapping")
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
			time.Sleep(time.Microsecond)
		}
	}
}
