// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
)

// A First is the first process of a pid namespace that costs no start of a
// program: it walks a list of system calls, starts a program as its child,
// watches that for a moment, and ends with it; only if the program lives on
// does it become a program itself. It works in the memory of the process that
// starts it, as any child between vfork and exec does, and runs no Go code but
// what is in this file.
type First struct {
	// Child is what it does first; CloneFlags must have CLONE_NEWPID.
	Child
	// App, if not nil, is then started as its child.
	App *Child
	// Moment is how long it waits for App's end; 0 does not.
	Moment time.Duration
	// Hangup is a socket whose other end, when it closes, ends the moment.
	Hangup int
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

// watch is what the first process and its App leave in the memory they share
// with their parent: numbers only, no pointer is ever written there.
type watch struct {
	args, appArgs *cloneArgs
	calls         []call
	appCalls      []call
	thenCalls     []call
	hasApp        bool
	fds           [2]unix.PollFd // pidfd, hangup
	moment        unix.Timespec
	deadline      bool // there is a moment

	failed    int // 1 + index in calls
	appFailed int // ‥ in appCalls
	thenStart int // ‥ in thenCalls
	errno     syscall.Errno

	pidfd             int32
	app               int
	started, finished unix.Timespec
	ended             bool
	status            uint32 // of wait4
}

// Start returns when the app has ended or the first process runs Then's
// program: at most Moment after the app runs its own. The calling thread is in
// vfork(2) all that time, and a SIGKILL that ends its process ends it at once.
// Errors: an *Error of Child or Then, an *AppError of App; no process is left
// then. The caller's thread should be locked.
func (f *First) Start() (Outcome, error) {
	w := &watch{
		args:     f.cloneArgs(),
		calls:    f.calls,
		deadline: f.Moment > 0,
		moment:   unix.NsecToTimespec(int64(f.Moment)),
	}
	w.fds[1] = unix.PollFd{Fd: int32(f.Hangup)}
	if f.App != nil {
		w.hasApp, w.appCalls, w.appArgs = true, f.App.calls, f.App.cloneArgs()
		w.appArgs.flags |= unix.CLONE_PIDFD
		w.appArgs.pidfd = uint64(uintptr(unsafe.Pointer(&w.pidfd)))
	}
	if f.Then != nil {
		w.thenCalls = f.Then.calls
	}
	syscall.ForkLock.Lock()
	pid, errno := first(w)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(f)
	var err error
	switch {
	case errno != 0:
		return Outcome{}, &Error{"make the pod's first process", errno}
	case w.failed != 0:
		err = &Error{w.calls[w.failed-1].what, w.errno}
	case w.appFailed != 0:
		err = &AppError{&Error{w.appCalls[w.appFailed-1].what, w.errno}}
	case w.hasApp && w.app <= 0:
		err = &AppError{&Error{"fork", w.errno}}
	case w.thenStart != 0:
		err = &Error{w.thenCalls[w.thenStart-1].what, w.errno}
	}
	if err != nil {
		_, _ = wait.For(pid)
		return Outcome{}, err
	}
	o := Outcome{PID: pid}
	if w.hasApp {
		o.App, o.Started = w.app, time.Unix(w.started.Unix())
	}
	if w.ended {
		o.Ended, o.Status, o.Finished = true, wait.Status(unix.WaitStatus(w.status)), time.Unix(w.finished.Unix())
	}
	return o, nil
}

// AppError is a system call that did not work in App.
type AppError struct{ Cause *Error }

func (e *AppError) Error() string { return e.Cause.Error() }

// Unwrap gives the Error.
func (e *AppError) Unwrap() error { return e.Cause }

// The functions below run on the calling thread's stack: first in the parent,
// firstMain in the first process, appMain in the app. None may grow the stack,
// allocate, write a pointer, or return to a frame that its parent still needs;
// that is why each process's part is a function of its own, which never
// returns.

//go:noinline
//go:norace
//go:nocheckptr
func first(w *watch) (pid int, errno syscall.Errno) {
	beforeFork()
	r, e := vfork(w.args, unsafe.Sizeof(*w.args))
	if e != 0 || r != 0 {
		afterFork()
		return int(r), syscall.Errno(e)
	}
	firstMain(w)
	return
}

//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func firstMain(w *watch) {
	afterForkInChild()
	if w.failed = walk(w.calls, w); w.failed != 0 {
		leave(254)
	}
	if w.hasApp {
		spawn(w)
		if w.app <= 0 || w.appFailed != 0 {
			leave(254)
		}
		if w.deadline {
			watchApp(w)
		}
		if w.ended {
			leave(uintptr(exitStatus(w.status)))
		}
	}
	w.thenStart = walk(w.thenCalls, w)
	leave(254)
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
	w.appFailed = walk(w.appCalls, w)
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

// walk makes the calls and returns 1 + the index of the one that failed.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func walk(calls []call, w *watch) int {
	for i := range calls {
		k := &calls[i]
		_, _, e := syscall.RawSyscall6(k.nr, k.args[0], k.args[1], k.args[2], k.args[3], k.args[4], 0)
		if e != 0 && !k.optional && e != k.pass {
			w.errno = e
			return i + 1
		}
	}
	return 0
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

//go:noinline
//go:nosplit
//go:norace
func leave(status uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}
