// SPDX-License-Identifier: Apache-2.0

// Package forkexec starts a program after a list of system calls made in the
// child, in the order given. The syscall package's own fork offers a fixed
// list that has no place for a seccomp filter, a bounding set or pivot_root;
// here the caller writes the list in ordinary Go before the fork, and the
// child does nothing but walk it, so no Go code that could allocate or block
// runs between fork and exec.
package forkexec

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
)

// A Child is a program to be started and what is done before it runs. Its
// zero value is ready to use; it must not be copied after the first call is
// added and serves one Start only.
type Child struct {
	// CloneFlags are namespaces for the child (CLONE_NEWNS …).
	CloneFlags uint64
	// CgroupFD, if above 0, is a cgroup v2 directory the child is born in.
	CgroupFD int

	calls []call
	keep  []any // what the calls point into, held until the child is gone
	own   *byte // a variable of the environment; see TellPID
}

type call struct {
	what     string
	nr       uintptr
	args     [5]uintptr
	optional bool // no errno is a failure
	pass     syscall.Errno
	digits   *[16]byte // where to write what the call gives, in decimal; nil nowhere
}

// Error is a system call that did not work in the child.
type Error struct {
	What  string // what the call was to do
	Errno syscall.Errno
}

func (e *Error) Error() string { return e.What + ": " + e.Errno.Error() }

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Call appends a system call; what names it in errors. Pointers among the
// arguments must be kept alive by Keep.
func (c *Child) Call(what string, nr uintptr, args ...uintptr) {
	k := call{what: what, nr: nr}
	copy(k.args[:], args)
	c.calls = append(c.calls, k)
}

// Try is Call whose failure is of no consequence.
func (c *Child) Try(what string, nr uintptr, args ...uintptr) {
	c.Call(what, nr, args...)
	c.calls[len(c.calls)-1].optional = true
}

// Unless is Call for which one errno is no failure.
func (c *Child) Unless(pass syscall.Errno, what string, nr uintptr, args ...uintptr) {
	c.Call(what, nr, args...)
	c.calls[len(c.calls)-1].pass = pass
}

// Keep holds v until Start returns.
func (c *Child) Keep(v any) { c.keep = append(c.keep, v) }

// String returns the address of a NUL-terminated copy of s that lives until
// Start returns. A NUL inside s is an error.
func (c *Child) String(s string) (uintptr, error) {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		return 0, fmt.Errorf("cannot pass %q to the kernel: it has a NUL byte", s)
	}
	c.Keep(p)
	return uintptr(unsafe.Pointer(p)), nil
}

// Strings is String for an argument vector.
func (c *Child) Strings(v []string) (uintptr, error) {
	ptrs, err := syscall.SlicePtrFromStrings(v)
	if err != nil {
		return 0, fmt.Errorf("cannot pass an argument or variable to the kernel: it has a NUL byte")
	}
	c.Keep(ptrs)
	return uintptr(unsafe.Pointer(&ptrs[0])), nil
}

// Exec appends the last call: execve of path, as the child sees it then.
func (c *Child) Exec(path string, argv, env []string) error {
	p, err := c.String(path)
	if err != nil {
		return err
	}
	a, err := c.Strings(argv)
	if err != nil {
		return err
	}
	e, err := c.environment(env)
	if err != nil {
		return err
	}
	c.Call("execute "+path, unix.SYS_EXECVE, p, a, e)
	return nil
}

// verdict is what the child leaves in the memory it shares with its parent.
type verdict struct {
	failed int // 1 + index of the call, 0 while none failed
	errno  syscall.Errno
}

// cloneArgs is clone3's first argument (clone(2), CLONE_ARGS_SIZE_VER2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// cloneArgs asks that the parent's thread sleep until exec, and that until then
// the child use its memory: no page table is copied, no page faults in
// afterwards.
func (c *Child) cloneArgs() *cloneArgs {
	args := &cloneArgs{flags: c.CloneFlags | unix.CLONE_VFORK | unix.CLONE_VM, exitSignal: uint64(unix.SIGCHLD)}
	if c.CgroupFD > 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(c.CgroupFD)
	}
	return args
}

// Start forks. It returns when the child runs its program, or an *Error for
// the call that failed (the child is reaped then). The caller's thread should
// be locked if the calls or flags build on what that thread alone has. The
// child has that thread's signal mask, and no handlers.
func (c *Child) Start() (pid int, err error) {
	v := new(verdict)
	args := c.cloneArgs()
	syscall.ForkLock.Lock()
	pid, errno := fork(args, c.calls, v)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(c)
	if errno != 0 {
		return 0, &Error{"fork", errno}
	}
	if v.failed != 0 {
		_, _ = wait.For(pid)
		return 0, &Error{c.calls[v.failed-1].what, v.errno}
	}
	return pid, nil
}

// Do makes the calls on the calling thread itself, without a child.
func (c *Child) Do() error {
	var errno syscall.Errno
	failed := walk(c.calls, &errno)
	runtime.KeepAlive(c)
	if failed != 0 {
		return &Error{c.calls[failed-1].what, errno}
	}
	return nil
}

// fork must not grow the stack, allocate or leave a lock taken after the clone:
// in the child only this thread exists, in memory that others go on using.
//
//go:noinline
//go:norace
//go:nocheckptr
func fork(args *cloneArgs, calls []call, v *verdict) (pid int, errno syscall.Errno) {
	beforeFork()
	r, e := vfork(args, unsafe.Sizeof(*args))
	if e != 0 || r != 0 {
		afterFork()
		return int(r), syscall.Errno(e)
	}
	afterForkInChild()
	v.failed = walk(calls, &v.errno)
	leave(254)
	return
}

// walk makes the calls, in a child, and returns 1 + the index of the one that
// failed, 0 for none.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func walk(calls []call, errno *syscall.Errno) int {
	for i := range calls {
		k := &calls[i]
		r, _, e := syscall.RawSyscall6(k.nr, k.args[0], k.args[1], k.args[2], k.args[3], k.args[4], 0)
		if e != 0 && !k.optional && e != k.pass {
			*errno = e
			return i + 1
		}
		if k.digits != nil {
			write(k.digits, r)
		}
	}
	return 0
}

//go:noinline
//go:nosplit
//go:norace
func leave(status uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// vfork is clone3(2) with the size of args; args has CLONE_VM and CLONE_VFORK.
//
//go:noescape
func vfork(args *cloneArgs, size uintptr) (pid, errno uintptr)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()
