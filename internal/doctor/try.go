// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/linux/nft"
)

// notTried is in the error of an attempt that this program cannot make here.
const notTried = "cannot be tried on this kind of machine"

// Try makes the attempt name; the process is in namespaces for it and ends with
// it. It returns what is to be said of it if it worked.
func Try(name string, args []string) (string, error) {
	runtime.LockOSThread()
	switch name {
	case "nothing":
		return "", nil
	case "seccomp":
		return "", trySeccomp()
	case "veth":
		c, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return "", err
		}
		own, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		return "", c.AddVeth(netlink.Veth{Name: "rkt-a", Peer: "rkt-b", NetNS: own})
	case "nftables":
		c, err := nft.Dial()
		if err != nil {
			return "", err
		}
		b := nft.NewBatch("rkt-doctor")
		b.AddTable("")
		return "", c.Commit(b)
	case "bridge":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return "", err
		}
		name, err := unix.BytePtrFromString("rkt-doctor")
		if err != nil {
			return "", err
		}
		const siocbraddbr = 0x89a0
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), siocbraddbr, uintptr(unsafe.Pointer(name))); errno != 0 {
			return "", os.NewSyscallError("SIOCBRADDBR", errno)
		}
		return "", nil
	}
	if len(args) > 0 {
		switch name {
		case "overlay":
			return "", tryOverlay(args[0], args[1:])
		case "idmap":
			return "", tryIdmap(args[0])
		case "kvm":
			return runGuest(args[0])
		}
	}
	return "", fmt.Errorf("cannot try %q: there is no such attempt", name)
}

// trySeccomp has one call refused, with an errno that nothing else gives.
func trySeccomp() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	const refused = unix.EXFULL
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_GETPPID},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(refused)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); errno != refused {
		return errors.New("a filter was installed, and refuses nothing")
	}
	return nil
}

// tryOverlay mounts an overlay in dir and writes through it.
func tryOverlay(dir string, options []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	top, err := os.MkdirTemp(dir, "overlay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(top)
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(top, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(top+"/lower/file", []byte("below"), 0o644); err != nil {
		return err
	}
	root, err := mount.New("overlay", unix.MOUNT_ATTR_NODEV, append([]string{"lowerdir=" + top + "/lower", "upperdir=" + top + "/upper", "workdir=" + top + "/work"}, options...)...)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, "file", unix.O_RDWR|unix.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(" and above")); err != nil {
		return os.NewSyscallError("write", err)
	}
	if b, err := os.ReadFile(top + "/upper/file"); err != nil || string(b) != "below and above" {
		return fmt.Errorf("what was written did not arrive: %q, %w", b, err)
	}
	if b, err := os.ReadFile(top + "/lower/file"); err != nil || string(b) != "below" {
		return fmt.Errorf("what lies below has changed: %q, %w", b, err)
	}
	return nil
}

// tryIdmap gives a mount in dir other users, and looks at one through it.
func tryIdmap(dir string) error {
	const first = 1 << 30
	holder := exec.Command("/proc/self/exe", "try", "wait")
	in, err := holder.StdinPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: 1}}
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	users, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	m, err := mount.Clone(unix.AT_FDCWD, dir, false)
	if err != nil {
		return err
	}
	if err := unix.MountSetattr(m, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users)}); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(m, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid != first {
		return fmt.Errorf("root's directory belongs to user %d there, not to %d", st.Uid, first)
	}
	return nil
}
