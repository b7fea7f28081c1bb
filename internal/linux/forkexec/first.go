// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
)

// A First is the first process of a pid namespace that costs no start of a
// program: it walks a list of system calls, waits to be told the rest, starts a
// program as its child, watches that for a moment, and ends with it; only if the
// program lives on does it become a program itself. Until then it shares the
// memory and the descriptors of the process that made it, and runs no Go code but
// what is in this file, on a stack of its own.
//
// It is killed when the thread that called Begin ends.
type First struct {
	w     *watch
	pid   int
	self  int // pidfd of this process, by which the first one sees that it is gone
	stack []byte
	keep  []any
}

// A Rest is what a First does once the namespace has been made ready for it.
type Rest struct {
	Child // first, this
	// App, if not nil, is then started as its child.
	App *Child
	// Moment is how long it waits for App's end; 0 does not.
	Moment time.Duration
	// Then is what it goes on with if there is no App or that lives on; the last
	// call is an exec.
	Then *Child
}

// An Outcome is what came of a First: it has ended with its App, or goes on by
// its own program.
type Outcome struct {
	PID int // of the first process; the caller waits for it
	// App is the app's pid in the new namespace, 0 without an app.
	App     int
	Started time.Time // zero without an app
	// Ended: the app has, with Status (128+n for signal n), and the first process
	// ends with the same.
	Ended    bool
	Status   int
	Finished time.Time
}

// watch is the memory by which the processes understand each other. The first
// process and the app write numbers only, no pointer.
type watch struct {
	args  *cloneArgs
	main  uintptr // firstMain's code
	mask  uint64  // of the calling thread's signals
	begin []call
	fds   [2]unix.PollFd // app, parent

	told     uint32 // set when what follows is there
	rest     []call
	appArgs  *cloneArgs // nil without an app
	appCalls []call
	moment   unix.Timespec
	watched  bool
	then     []call

	tid int32 // cleared by the kernel when the first process is done with this memory

	failed    failure
	errno     syscall.Errno
	pidfd     int32
	app       int
	started   unix.Timespec
	finished  unix.Timespec
	ended     bool
	status    uint32 // of wait4
	pollLater unix.Timespec
	never     unix.Timespec
}

// failure is where a call failed: 1 + its index, in one of the lists.
type failure struct{ begin, rest, app, then int }

// stackSize is plenty: nothing here may need more than the few hundred bytes that
// a chain of nosplit functions is held to.
const stackSize = 16 << 10

// Begin makes the first process, which walks c's list while the caller goes on.
// The calling thread must stay locked until Wait or Kill.
func Begin(c *Child) (*First, error) {
	self, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("cannot watch own process: %w", err)
	}
	f := &First{self: self, stack: make([]byte, stackSize), keep: []any{c}}
	main := firstMain
	w := &watch{begin: c.calls, main: **(**uintptr)(unsafe.Pointer(&main))}
	f.w = w
	w.fds[1] = unix.PollFd{Fd: int32(self), Events: unix.POLLIN}
	w.args = &cloneArgs{
		flags:      c.CloneFlags | unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID,
		exitSignal: uint64(unix.SIGCHLD),
		stack:      uint64(uintptr(unsafe.Pointer(&f.stack[0]))),
		stackSize:  stackSize,
		parentTID:  uint64(uintptr(unsafe.Pointer(&w.tid))),
		childTID:   uint64(uintptr(unsafe.Pointer(&w.tid))),
	}
	syscall.ForkLock.Lock()
	pid, errno := makeFirst(w)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		unix.Close(self)
		return nil, &Error{"make the pod's first process", errno}
	}
	f.pid = pid
	return f, nil
}

// PID is the first process's.
func (f *First) PID() int { return f.pid }

// Go tells the first process the rest. The caller must not close what that needs,
// nor change the memory it points to, before Wait returns.
func (f *First) Go(r *Rest) {
	w := f.w
	f.keep = append(f.keep, r)
	w.rest = r.calls
	w.watched, w.moment = r.Moment > 0, unix.NsecToTimespec(int64(r.Moment))
	if r.App != nil {
		w.appCalls, w.appArgs = r.App.calls, r.App.cloneArgs()
		w.appArgs.flags |= unix.CLONE_PIDFD
		w.appArgs.pidfd = uint64(uintptr(unsafe.Pointer(&w.pidfd)))
	}
	if r.Then != nil {
		w.then = r.Then.calls
	}
	atomic.StoreUint32(&w.told, 1)
	_, _, _ = unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.told)), futexWakePrivate, 1)
}

// ErrKilled: somebody ended the first process before it had started its app.
var ErrKilled = errors.New("its first process was killed")

// Wait returns when the app has ended or the first process runs Then's program:
// at most Moment after the app runs its own. Errors: an *Error of the lists, an
// *AppError of App, or ErrKilled; no process is left then.
func (f *First) Wait() (Outcome, error) {
	f.separate()
	w := f.w
	var err error
	switch {
	case w.failed.begin != 0:
		err = &Error{w.begin[w.failed.begin-1].what, w.errno}
	case w.failed.rest != 0:
		err = &Error{w.rest[w.failed.rest-1].what, w.errno}
	case w.failed.app != 0:
		err = &AppError{&Error{w.appCalls[w.failed.app-1].what, w.errno}}
	case w.appArgs != nil && w.app <= 0 && w.errno == 0:
		err = ErrKilled
	case w.appArgs != nil && w.app <= 0:
		err = &AppError{&Error{"fork", w.errno}}
	case w.failed.then != 0:
		err = &Error{w.then[w.failed.then-1].what, w.errno}
	}
	if err != nil {
		_, _ = wait.For(f.pid)
		return Outcome{}, err
	}
	o := Outcome{PID: f.pid}
	if w.appArgs != nil {
		o.App, o.Started = w.app, time.Unix(w.started.Unix())
	}
	if w.ended {
		o.Ended, o.Status, o.Finished = true, wait.Status(unix.WaitStatus(w.status)), time.Unix(w.finished.Unix())
	}
	return o, nil
}

// End has a first process end that has not been told the rest, and does not wait
// for that. Kill has to follow.
func (f *First) End() { _ = unix.Kill(f.pid, unix.SIGKILL) }

// Kill ends a first process that has not been told the rest.
func (f *First) Kill() {
	f.End()
	f.separate()
	_, _ = wait.For(f.pid)
}

// separate waits until the first process no longer uses this one's memory.
func (f *First) separate() {
	for {
		tid := atomic.LoadInt32(&f.w.tid)
		if tid == 0 {
			break
		}
		// Not private: the kernel's own wake-up is not.
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&f.w.tid)), futexWait, uintptr(tid), 0, 0, 0)
	}
	unix.Close(f.self)
	if f.w.pidfd > 0 {
		unix.Close(int(f.w.pidfd))
	}
	runtime.KeepAlive(f)
}

// futex(2)'s operations.
const (
	futexWait        = 0
	futexWaitPrivate = 128
	futexWakePrivate = 129
)

// AppError is a system call that did not work in App.
type AppError struct{ Cause *Error }

func (e *AppError) Error() string { return e.Cause.Error() }

// Unwrap gives the Error.
func (e *AppError) Unwrap() error { return e.Cause }

// makeFirst clones. All signals are blocked meanwhile, so that no handler of
// Go's runs in the child; CLONE_CLEAR_SIGHAND takes them from it.
//
//go:noinline
//go:norace
//go:nocheckptr
func makeFirst(w *watch) (pid int, errno syscall.Errno) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, 0, uintptr(unsafe.Pointer(&w.mask)), 8, 0, 0)
	beforeFork()
	r, e := cloneFirst(w.args, unsafe.Sizeof(*w.args), w, w.main)
	afterFork()
	return int(r), syscall.Errno(e)
}

// cloneFirst is clone3(2); the child calls main, a Go function, with w on the
// stack that args name. By address: the wrapper through which assembly calls Go
// by name is instrumented by the race detector.
//
//go:noescape
func cloneFirst(args *cloneArgs, size uintptr, w *watch, main uintptr) (pid, errno uintptr)

// loadAcquire is atomic.LoadUint32, which calls the race detector's runtime in
// programs built with it.
//
//go:noescape
func loadAcquire(p *uint32) uint32

// firstMain is the first process. Neither it nor what it calls may grow the stack,
// allocate, write a pointer or look at the current goroutine: to the Go runtime
// this process is not there.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func firstMain(w *watch) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&w.mask)), 0, 8, 0, 0)
	if w.failed.begin = walk(w.begin, &w.errno); w.failed.begin != 0 {
		leave(254)
	}
	hear(w)
	if w.failed.rest = walk(w.rest, &w.errno); w.failed.rest != 0 {
		leave(254)
	}
	if w.appArgs != nil {
		spawn(w)
		if w.app <= 0 || w.failed.app != 0 {
			leave(254)
		}
		if w.watched {
			watchApp(w)
		}
		if w.ended {
			leave(uintptr(exitStatus(w.status)))
		}
	}
	w.failed.then = walk(w.then, &w.errno)
	leave(254)
}

// hear waits to be told the rest. The kernel ends this process with its parent,
// but not if that died before this one could ask for it; so it looks from time to
// time.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func hear(w *watch) {
	w.pollLater.Nsec = 20e6
	for loadAcquire(&w.told) == 0 {
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.told)), futexWaitPrivate, 0, uintptr(unsafe.Pointer(&w.pollLater)), 0, 0)
		if loadAcquire(&w.told) != 0 {
			return
		}
		w.never.Nsec = 0
		if r, _, _ := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds[1])), 1, uintptr(unsafe.Pointer(&w.never)), 0, 0, 0); r == 1 {
			leave(128 + uintptr(unix.SIGKILL))
		}
		if w.pollLater.Nsec < 500e6 {
			w.pollLater.Nsec *= 2
		}
	}
}

// spawn starts the app. Only the parent of the two returns from it.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func spawn(w *watch) {
	r, e := vfork(w.appArgs, unsafe.Sizeof(*w.appArgs))
	if e == 0 && r == 0 {
		appMain(w)
	}
	if e != 0 {
		w.errno = syscall.Errno(e)
		return
	}
	w.app = int(r)
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&w.started)), 0)
}

//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func appMain(w *watch) {
	w.failed.app = walk(w.appCalls, &w.errno)
	leave(254)
}

// watchApp waits for the app's end, for the moment at most, and then ends what
// the app left behind and takes its status.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func watchApp(w *watch) {
	w.fds[0].Fd, w.fds[0].Events = w.pidfd, unix.POLLIN
	r, _, e := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&w.fds[0])), 2, uintptr(unsafe.Pointer(&w.moment)), 0, 0, 0)
	if e != 0 || r == 0 || w.fds[0].Revents == 0 {
		return
	}
	for {
		r, _, e = syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(w.app), uintptr(unsafe.Pointer(&w.status)), 0, 0, 0, 0)
		if e != syscall.EINTR {
			break
		}
	}
	if e != 0 {
		return
	}
	syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0)
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&w.finished)), 0)
	w.ended = true
}

// exitStatus is wait.Status, which is not for this place.
//
//go:nosplit
//go:norace
func exitStatus(ws uint32) uint32 {
	if sig := ws & 0x7f; sig != 0 {
		return 128 + sig
	}
	return ws >> 8 & 0xff
}
