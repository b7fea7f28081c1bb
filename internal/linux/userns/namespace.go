// SPDX-License-Identifier: Apache-2.0

// Package userns tells of user namespaces (user_namespaces(7)): in which one this
// process is, and what a map of ids means. It makes them for others to enter, and
// lets a thread of the host deal with what belongs to one. A Go program has
// many threads and so cannot enter one itself; a process of forkexec can, though
// it shares its maker's memory, since it is a thread group of its own.
package userns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
)

// A Namespace is a user namespace that one range of the host's ids is mapped
// into, beginning at 0, users and groups alike.
type Namespace struct {
	// FD is a descriptor of it, close-on-exec.
	FD    int
	first uint32

	maker *forkexec.First // whose namespaces are to be joined; nil after Close
}

// New makes a user namespace, and those named by also (CLONE_NEWUTS …), which it
// owns and which a process keeps until Release. The calling thread must stay
// locked until Close. It needs CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID.
func New(first, count uint32, also uint64) (*Namespace, error) {
	maker, err := forkexec.Begin(&forkexec.Child{CloneFlags: unix.CLONE_NEWUSER | also})
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		err = hint.Wrap(err, "user namespaces are switched off here, or there are too many: see `sysctl user.max_user_namespaces`")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: cannot %w", err)
	}
	n := &Namespace{FD: -1, first: first, maker: maker}
	line := []byte("0 " + strconv.FormatUint(uint64(first), 10) + " " + strconv.FormatUint(uint64(count), 10) + "\n")
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := n.write(file, line); err != nil {
			n.Close()
			if errors.Is(err, unix.EPERM) {
				err = hint.Wrap(err, "it takes the machine's own root: in a container, or with a user's own rkt, there are no other users to give away")
			}
			return nil, fmt.Errorf("cannot map users %d to %d: %w", first, first+count-1, err)
		}
	}
	if n.FD, err = n.Open("user"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Namespace) path(name string) string {
	return "/proc/" + strconv.Itoa(n.maker.PID()) + "/" + name
}

func (n *Namespace) write(name string, b []byte) error {
	fd, err := unix.Open(n.path(name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, b)
	return os.NewSyscallError("write", err)
}

// Open opens one of the namespaces ("user", "net" …), before Release.
func (n *Namespace) Open(kind string) (int, error) {
	fd, err := unix.Open(n.path("ns/"+kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the %s namespace: %w", kind, err)
	}
	return fd, nil
}

// Join takes the calling thread into namespaces that were made with this one,
// before Release.
func (n *Namespace) Join(kinds int) error {
	fd, err := unix.PidfdOpen(n.maker.PID(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, kinds); err != nil {
		return fmt.Errorf("cannot join the namespaces: %w", err)
	}
	return nil
}

// Release has the process end that made the namespaces; what has joined them, and
// FD, keep them. Nobody waits for its end before Close: it has not even had to run
// so far, and where processors are short it would be long until it does. After
// Close it does nothing.
func (n *Namespace) Release() {
	if n.maker != nil {
		n.maker.End()
	}
}

// Close ends what New began, and closes FD.
func (n *Namespace) Close() {
	if n.maker != nil {
		n.maker.Kill()
		n.maker = nil
	}
	if n.FD >= 0 {
		unix.Close(n.FD)
		n.FD = -1
	}
}

// Enter has a child enter the namespace behind fd, with all capabilities there
// and none outside. It keeps its ids, which mean nothing there.
func Enter(c *forkexec.Child, fd int) {
	c.Call("enter the user namespace", unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWUSER)
}

// BecomeRoot has a child that has entered become its root.
func BecomeRoot(c *forkexec.Child) {
	c.Call("leave all groups", unix.SYS_SETGROUPS, 0, 0)
	c.Call("become root's group", unix.SYS_SETRESGID, 0, 0, 0)
	c.Call("become root", unix.SYS_SETRESUID, 0, 0, 0)
}

// ActAsRoot has the calling thread, which must be locked, make files as the
// namespace's root does, and still do all that the host's may. back undoes that.
//
// It is by its effective ids: through a mount with mapped owners nothing can be
// made for an owner outside of the map, overlayfs makes what it makes as who
// mounted it, and some parameters of namespaces ask for the ids alone
// (ipc_permissions).
func (n *Namespace) ActAsRoot() (back func() error, err error) {
	// A change of ids takes both away.
	var parentDeath int32
	if err := prctlGet(unix.PR_GET_PDEATHSIG, &parentDeath); err != nil {
		return nil, err
	}
	set := func(id uint32) error {
		const same = ^uintptr(0)
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, same, uintptr(id), same); e != 0 {
			return os.NewSyscallError("setresgid", e)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(id), same); e != 0 {
			return os.NewSyscallError("setresuid", e)
		}
		if err := raise(); err != nil {
			return err
		}
		if parentDeath != 0 {
			return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(parentDeath), 0, 0, 0)
		}
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("cannot act as root of the user namespace: %w", err) }
	uid, gid := unix.Geteuid(), unix.Getegid()
	if uid != 0 || gid != 0 {
		return nil, fail(errors.New("this process is not root"))
	}
	if err := set(n.first); err != nil {
		_ = set(0)
		return nil, fail(err)
	}
	return func() error {
		if err := set(0); err != nil {
			return fmt.Errorf("cannot become the host's root again: %w", err)
		}
		return nil
	}, nil
}

// raise makes all permitted capabilities of the calling thread effective.
func raise() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	return os.NewSyscallError("capset", unix.Capset(&hdr, &data[0]))
}

// A Place is a directory or file that is to be mounted with mapped owners.
type Place struct {
	Path      string
	Recursive bool
}

// Try tries whether each of the places can be mounted with mapped owners, and
// mounts nothing. The error is of the first that cannot, at index n.
func Try(places []Place) (n int, err error) {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // nothing has changed on it
		space, err := New(1<<30, 1, 0)
		if err == nil {
			for n = range places {
				if err = places[n].try(space.FD); err != nil {
					break
				}
			}
			space.Close()
		}
		errs <- err
	}()
	err = <-errs
	return n, err
}

func (p *Place) try(userns int) error {
	fd, err := unix.Open(p.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: p.Path, Err: err}
	}
	defer unix.Close(fd)
	m, err := mount.Clone(fd, "", p.Recursive)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	return mount.MapOwners(m, userns, fd, p.Recursive)
}

func prctlGet(option int, value *int32) error {
	_, _, e := unix.RawSyscall(unix.SYS_PRCTL, uintptr(option), uintptr(unsafe.Pointer(value)), 0)
	if e != 0 {
		return os.NewSyscallError("prctl", e)
	}
	return nil
}
