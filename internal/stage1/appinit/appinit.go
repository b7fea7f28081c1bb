// SPDX-License-Identifier: Apache-2.0

// Package appinit is an app's last metres: whom it runs as, what it may do,
// and its program. All flavors that fork their apps share it.
package appinit

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/landlock"
	"github.com/rkt/rkt/internal/linux/lsm"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// A Process is to be started in a root of its own.
type Process struct {
	Program string   // as seen inside the root
	Argv    []string // with Argv[0]
	Env     []string
	Dir     string // working directory inside the root, entered as the user
	User    Credential
	// KeepGroups: its supplementary groups stay those of the caller.
	KeepGroups bool
	// Bounding is the capability bounding set. A root process starts with all
	// of it, another user's with what of it is Ambient.
	Bounding, Ambient caps.Set
	// Filter is the seccomp filter; nil for none. FilterFlags are what it is
	// installed with.
	Filter      []unix.SockFilter
	FilterFlags uintptr // SECCOMP_FILTER_FLAG_*
	NoNewPrivs  bool
	// Label is what security modules of the kernel confine the program by.
	Label lsm.Label
	// Proc is, where not the host's root starts the process, a descriptor of the
	// /proc in its root (OpenProc), for the label; 0 if nothing was run in that yet
	// and it is the child's.
	Proc int
	// Stdio are the descriptors that become 0, 1 and 2.
	Stdio [3]int
	// Sockets become 3, 4 …, and the environment tells of them.
	Sockets []contract.InheritedSocket
	// Terminal: Stdio[0] becomes the controlling terminal.
	Terminal bool
	// Root is the path, in the caller's root, of the mount that becomes the
	// process's root in a mount namespace of its own; "" stays where the
	// calling thread is.
	Root string
	// CgroupFD is the cgroup v2 directory to be born in; 0 for the caller's.
	CgroupFD int
	// Groups are files, opened for writing, by which it enters its cgroups in
	// version 1 hierarchies (cgroup.OpenTasks), and others that it cannot be born
	// in (cgroup.OpenProcs).
	Groups []int
	// Rlimits are set before anything is given up.
	Rlimits []contract.Rlimit
	// Users are the pod's own, if it has any.
	Users Users
	// Apart: nothing but its own processes can be traced from it (landlock.OwnDomain),
	// where the kernel can do that.
	Apart bool
	// OwnMounts: with users of its own it gets a mount namespace of its own.
	OwnMounts bool
	// OwnKeyring: it has not the caller's session keyring but a new one.
	OwnKeyring bool
	// DieWithParent: the process is killed when the thread that calls Start ends.
	DieWithParent bool
	// CgroupView mounts the process's own cgroup, read-only, at this directory
	// if it is there; "" does not.
	CgroupView string

	ownCgroups bool // it has a cgroup namespace of its own
}

// Start forks and returns the process's pid once it runs its program. Nothing
// between is visible: on error there is no process. The order of the steps is
// what makes them safe; each says why it is where it is.
func (p *Process) Start() (int, error) {
	c, done, err := p.Child()
	defer done()
	if err != nil {
		return 0, err
	}
	return c.Start()
}

// Child is Start without the fork: for a caller that has the process started by
// another (forkexec.First). done closes what was opened for it, with an error
// too; the child must have been started by then.
func (p *Process) Child() (c *forkexec.Child, done func(), err error) {
	c = &forkexec.Child{CgroupFD: p.CgroupFD}
	// A session of its own: no signal of the caller's terminal, no tty to push
	// keys into.
	c.Call("start a session", unix.SYS_SETSID)
	// Nor what whoever called rkt had blocked: programs wait for such signals.
	none := new(uint64)
	c.Keep(none)
	c.Call("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(none)), 0, 8)
	if p.OwnKeyring {
		// Kernels without keys have none to leak.
		c.Try("join a session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	}
	p.join(c)
	if err := c.LimitFiles(); err != nil {
		return nil, func() {}, err
	}
	high, err := p.stdio(c)
	if err == nil {
		high, err = p.sockets(c, high)
	}
	// What is needed of the caller's descriptors, behind what the program keeps.
	free := firstSocket + len(p.Sockets)
	var users, proc int
	first := free
	if err == nil && p.Users.Namespace > 0 {
		users, first = first, first+1
		high, err = p.borrow(c, p.Users.Namespace, users, high)
	}
	if err == nil && p.Proc > 0 {
		proc, first = first, first+1
		high, err = p.borrow(c, p.Proc, proc, high)
	}
	done = func() {
		for _, fd := range high {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return nil, done, err
	}
	// Nothing but these from here on: the image chooses the working directory,
	// and /proc/self/fd/N would lead out of it (as in CVE-2024-21626).
	c.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(first), 1<<32-1, 0)
	if err := lsm.OnExec(c, p.Label, p.labelBy(proc), first); err != nil {
		return nil, done, err
	}
	if err := p.enterUsers(c, users); err != nil {
		return nil, done, err
	}
	if first > free {
		c.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(free), 1<<32-1, 0)
	}
	if p.Root != "" {
		c.CloneFlags |= unix.CLONE_NEWNS
		if err := p.root(c); err != nil {
			return nil, done, err
		}
	} else {
		p.ownMounts(c)
	}
	if p.CgroupView != "" {
		if err := p.cgroupView(c); err != nil {
			return nil, done, err
		}
	} else if p.ownCgroups || len(p.Groups) > 0 { // /proc/self/cgroup is not to tell of the host
		c.Call("make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	if p.Apart { // when all is mounted
		if err := landlock.OwnDomain(c, free); err != nil {
			return nil, done, err
		}
	}
	if p.Users.Namespace <= 0 {
		if err := p.rlimits(c); err != nil {
			return nil, done, err
		}
	} else {
		p.limitFiles(c)
	}
	if err := p.privileges(c); err != nil {
		return nil, done, err
	}
	if p.DieWithParent {
		// After the ids: a change of them clears it.
		c.Call("end with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
	if p.Filter != nil {
		// The last thing before exec, so that it need not allow what only we
		// need.
		if err := p.filter(c); err != nil {
			return nil, done, err
		}
	}
	if err := c.Exec(p.Program, p.Argv, p.environment()); err != nil {
		return nil, done, err
	}
	return c, done, nil
}

// stdio places the three descriptors. They are first duplicated above 2, so
// that placing one does not overwrite another.
func (p *Process) stdio(c *forkexec.Child) (high []int, err error) {
	for i, fd := range p.Stdio {
		h, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return high, fmt.Errorf("cannot hand over descriptor %d: %w", fd, err)
		}
		high = append(high, h)
		c.Call("place a standard stream", unix.SYS_DUP3, uintptr(h), uintptr(i), 0)
	}
	if p.Terminal {
		c.Call("take the terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	return high, nil
}

// root makes p.Root the root of the child's new mount namespace (pivot_root(2),
// "pivot_root(".", ".")"). A path, not a descriptor: the new namespace has
// copies of our mounts, and only the kernel's copy of root and cwd point there.
func (p *Process) root(c *forkexec.Child) error {
	dir, err := c.String(p.Root)
	if err != nil {
		return err
	}
	dot, _ := c.String(".")
	slash, _ := c.String("/")
	if p.Users.Private() {
		// The mounts of a namespace of other users are locked in their places, and
		// such a one cannot be a root; a copy over it can.
		none, _ := c.String("")
		c.Call("bind the root", unix.SYS_MOUNT, dir, dir, none, unix.MS_BIND|unix.MS_REC)
	}
	c.Call("enter the root", unix.SYS_CHDIR, dir)
	c.Call("change the root", unix.SYS_PIVOT_ROOT, dot, dot)
	c.Call("leave the old root", unix.SYS_UMOUNT2, dot, unix.MNT_DETACH)
	c.Call("enter the root", unix.SYS_CHDIR, slash)
	return nil
}

// cgroupView shows the process its own cgroup as if it were the root of all. A
// root without a place for it has none.
func (p *Process) cgroupView(c *forkexec.Child) error {
	view, err := c.String(p.CgroupView)
	if err != nil {
		return err
	}
	fstype, _ := c.String("cgroup2")
	c.Call("make a cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	c.Try("mount the cgroup", unix.SYS_MOUNT, fstype, view, fstype,
		unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	return nil
}

// What these calls do, in errors.
const (
	setGroups = "set supplementary groups"
	setGroup  = "set the group"
	setUser   = "set the user"
)

// privileges gives up what the process must not have. Order: the bounding set
// while CAP_SETPCAP is there; ids with PR_SET_KEEPCAPS, so that the filter can
// still be installed without no_new_privs; capabilities; the working directory
// last, as the user, for whom links like /proc/1/root are closed. What is kept
// until exec does not survive it: exec computes a root process's set from the
// bounding set and leaves others what is ambient (capabilities(7),
// "Transformation of capabilities during execve()"). The ambient set is raised
// when no change of ids follows that would clear it.
func (p *Process) privileges(c *forkexec.Child) error {
	have, known, err := caps.Bounding()
	if err != nil {
		return err
	}
	if p.Users.Namespace > 0 {
		have = known // who enters a user namespace has all that there are
	}
	state := caps.Root(p.Bounding)
	if p.User.UID != 0 {
		state = caps.User(p.Bounding, p.Ambient)
	}
	if p.Filter != nil && !p.NoNewPrivs { // for seccomp(2) without no_new_privs
		state.Permitted |= caps.Of(unix.CAP_SYS_ADMIN)
		state.Effective |= caps.Of(unix.CAP_SYS_ADMIN)
	}
	plan := state.Plan(have)
	c.Keep(plan)
	for _, n := range plan.Drop {
		c.Call("drop "+caps.Name(int(n)), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0)
	}
	c.Call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	var groups uintptr
	if len(p.User.Groups) > 0 {
		groups = uintptr(unsafe.Pointer(&p.User.Groups[0]))
		c.Keep(p.User.Groups)
	}
	u, g := uintptr(p.User.UID), uintptr(p.User.GID)
	if !p.KeepGroups {
		c.Call(setGroups, unix.SYS_SETGROUPS, uintptr(len(p.User.Groups)), groups)
	}
	c.Call(setGroup, unix.SYS_SETRESGID, g, g, g)
	c.Call("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	c.Call(setUser, unix.SYS_SETRESUID, u, u, u)
	if p.Users.Private() {
		// What is the host's in the one that it has is out of its reach. Kernels
		// without keys have none to leak.
		c.Unless(unix.ENOSYS, "join a session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	}
	c.Call("set the file mode mask", unix.SYS_UMASK, 0o022)

	c.Call("set capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(plan.Header)), uintptr(unsafe.Pointer(plan.Data)))
	for _, n := range plan.Raise {
		c.Call("raise "+caps.Name(int(n)), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
	}
	dir, err := c.String(p.Dir)
	if err != nil {
		return err
	}
	c.Call("enter working directory "+p.Dir, unix.SYS_CHDIR, dir)
	if p.NoNewPrivs {
		c.Call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

func (p *Process) filter(c *forkexec.Child) error {
	if len(p.Filter) == 0 || len(p.Filter) > unix.BPF_MAXINSNS {
		return errors.New("cannot install the seccomp filter: it has no or too many instructions")
	}
	prog := &unix.SockFprog{Len: uint16(len(p.Filter)), Filter: &p.Filter[0]}
	c.Keep(prog)
	c.Keep(p.Filter)
	c.Call("install the seccomp filter", unix.SYS_SECCOMP,
		unix.SECCOMP_SET_MODE_FILTER, p.FilterFlags, uintptr(unsafe.Pointer(prog)))
	return nil
}

// Failed turns Start's error into one for people: the app's name and, for an
// exec that the kernel refused, what is missing.
func (p *Process) Failed(root int, err error) error {
	var fe *forkexec.Error
	if errors.As(err, &fe) && fe.Errno == unix.EINVAL && !userns.Initial() &&
		(fe.What == setUser || fe.What == setGroup || fe.What == setGroups) {
		return hint.Wrap(fmt.Errorf("cannot %s (%d:%d): the pod's user namespace does not have it", fe.What, p.User.UID, p.User.GID),
			"ids beyond your own come from /etc/subuid and /etc/subgid, see docs/rootless.md; --user=0 --group=0 is always there")
	}
	if errors.As(err, &fe) && fe.What == "execute "+p.Program {
		if why := Explain(root, p.Program, fe.Errno); why != "" {
			return fmt.Errorf("cannot execute %q: %s", p.Program, why)
		}
	}
	return fmt.Errorf("cannot %w", err)
}

// LendOutput makes pipes that the process will write to openable by its user,
// who may reach them again through /dev/stdout (as runc does). uid is as the
// caller knows it.
func LendOutput(uid uint32, fds ...int) error {
	if uid == 0 {
		return nil
	}
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFIFO && st.Uid != uid {
			if err := unix.Fchown(fd, int(uid), -1); err != nil && err != unix.EPERM && err != unix.EINVAL {
				return os.NewSyscallError("fchown", err) // EINVAL: no such user here, which is said later
			}
		}
	}
	return nil
}

// InCgroup has the process be born in a cgroup and see it, read-only, as its
// own; 0 is none, and then it sees none, and the one that it stays in as the root
// of all.
func (p *Process) InCgroup(fd int) {
	p.ownCgroups = true
	if p.CgroupFD = fd; fd > 0 {
		p.CgroupView = "/sys/fs/cgroup"
	}
}
