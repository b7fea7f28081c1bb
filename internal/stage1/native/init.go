// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// processName is what ps shows; a program executed by descriptor has a number.
var processName = [...]byte{'r', 'k', 't', '-', 'i', 'n', 'i', 't', 0}

// supervisor is the pod's first process: it starts the apps that do not run yet,
// reaps, and decides when the pod is over.
type supervisor struct {
	doc  *contract.Pod
	ctl  Control
	apps []*app
	held []int // contract.Inherited's
	oom  int   // this process's oom_score_adj, open if an app wants its own

	// Of a Service; else empty.
	place     string // path of the only app's root
	endOthers func() // ends all processes of the app but this one
	lost      func() // `run` has ended

	mu         sync.Mutex // guards what follows and the apps' pids
	stopping   bool
	status     int // of the first app that failed
	handlerPID int // of the event handler that runs
}

// Init is the `init` entry point, in the pod that stage0 has assembled. It
// returns the pod's exit status, or an error if the pod did not come to run;
// then no process of it is left once Init's own has ended. The calling goroutine
// stays on the main thread.
func Init() (int, error) {
	runtime.LockOSThread()
	powerOff := deafen()                                                                // before all else: an app may run already
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&processName[0])), 0, 0, 0) // for ps
	// Nothing inside may trace, or open the descriptors of, this process. The lock
	// of a range of users is among them, and with users of its own the pod's root
	// has the ids that this process has: nothing else is in the way then.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	s, started, err := takeOver()
	if err != nil {
		return 0, err
	}
	if started > 0 {
		s.apps[0].pid = started // before a signal comes that is for it
	}
	go s.listen()
	go func() {
		for range powerOff {
			s.stop()
		}
	}()
	if started > 0 {
		if err := s.announce(s.apps[0], started); err != nil {
			return 0, err
		}
	} else {
		if err := s.startAll(); err != nil {
			return 0, err
		}
		if err := s.settle(); err != nil {
			return 0, err
		}
	}
	failpoint.Hit("native/apps-started")
	return s.reap(), nil
}

// takeOver takes the pod from stage0, with the pid of an app that runs already
// or 0. The pod's lock stays open, so that the pod runs as long as this process
// does, even if `run` was killed a moment ago.
func takeOver() (*supervisor, int, error) {
	in, err := contract.ParseInherited(os.Getenv(contract.EnvInherited))
	if err != nil {
		return nil, 0, err
	}
	for _, fd := range in.Descriptors() {
		unix.CloseOnExec(fd)
	}
	s := &supervisor{ctl: Control(in.Control), held: in.Held}
	if s.doc, err = poddir.DocumentIn(os.NewFile(uintptr(in.Pod), contract.File)); err != nil {
		return nil, 0, err
	}
	if len(in.Apps) != len(s.doc.Apps) {
		return nil, 0, fmt.Errorf("cannot run pod %s: it has %d apps, and %d were handed over", s.doc.UUID, len(s.doc.Apps), len(in.Apps))
	}
	for i := range s.doc.Apps {
		a := &app{App: &s.doc.Apps[i], root: in.Apps[i].Root, cgroup: in.Apps[i].Cgroup, groups: in.Apps[i].Groups, sockets: in.Apps[i].Sockets}
		if fd := in.Apps[i].Log; fd > 0 {
			a.out.log = os.NewFile(uintptr(fd), contract.LogDir+"/"+a.Name)
		}
		a.out.own = [2]int{in.Apps[i].Stdout, in.Apps[i].Stderr}
		a.out.pump(0, in.Apps[i].Out, a.Stdout)
		a.out.pump(1, in.Apps[i].Err, a.Stderr)
		if a.OOMScoreAdj != nil && s.oom == 0 {
			if s.oom, err = safepath.OpenInRoot(a.root, "proc/self/oom_score_adj", unix.O_RDWR); err != nil {
				return nil, 0, fmt.Errorf("cannot open own OOM score: %w", err)
			}
		}
		s.apps = append(s.apps, a)
	}
	return s, in.Started, nil
}

// startAll starts the apps, unless the pod is to end meanwhile.
func (s *supervisor) startAll() error {
	for _, a := range s.apps {
		if err := s.start(a); err != nil {
			return err
		}
		if s.isStopping() {
			break
		}
	}
	return nil
}

// deafen makes this process deaf to what apps may send to pid 1 and of which the
// Go runtime would die. What it returns hears of the signal by which systemd's
// tools have a container power off (systemd(1), SIGRTMIN+4).
func deafen() (powerOff <-chan os.Signal) {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP,
		unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGUSR1, unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM,
		unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGSYS)
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, unix.Signal(34+4)) // SIGRTMIN is the C library's
	return heard
}

// settle gives up what is not needed once the apps run, if one of them may
// trace: with CAP_SYS_PTRACE it can take this process over, and must gain
// nothing by that. Others cannot look into it. With a post-stop handler to come
// all is kept.
func (s *supervisor) settle() error {
	keep := caps.Of(unix.CAP_KILL)
	for _, a := range s.apps {
		if len(a.PostStop) > 0 {
			return nil
		}
		keep |= a.bounding
	}
	if !keep.Has(unix.CAP_SYS_PTRACE) {
		return nil
	}
	for _, fd := range s.held { // `run` has them as well, out of reach
		unix.Close(fd)
	}
	for _, a := range s.apps {
		unix.Close(a.root)
		if a.cgroup > 0 {
			unix.Close(a.cgroup)
		}
		for _, fd := range a.groups {
			unix.Close(fd)
		}
	}
	if s.oom > 0 {
		unix.Close(s.oom)
	}
	return caps.Limit(keep)
}

func (s *supervisor) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// listen takes messages from `run` until that is gone. The kernel ends this
// process with `run` (PR_SET_PDEATHSIG), but not if stage0 died before it could
// ask for that.
func (s *supervisor) listen() {
	for {
		m, fd, ok := s.ctl.Receive()
		if fd >= 0 {
			unix.Close(fd)
		}
		if !ok {
			if s.lost != nil {
				s.lost()
			}
			os.Exit(128 + int(unix.SIGKILL))
		}
		if m.Kind == contract.MessageSignal {
			s.signal(unix.Signal(m.Number))
		}
	}
}

// signal gives sig to every app's process. SIGTERM is the pod's stop: each app
// gets its own stop signal, and SIGKILL when its time is over.
func (s *supervisor) signal(sig unix.Signal) {
	if sig == unix.SIGTERM {
		s.stop()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if a.pid > 0 {
			_ = unix.Kill(a.pid, sig)
		}
	}
}

// stop asks every app to end and, after the pod's stop time, kills all that is
// left in the pod, which is all but this process.
func (s *supervisor) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if a.pid > 0 {
			_ = unix.Kill(a.pid, a.stopSignal())
		}
	}
	if s.handlerPID > 0 {
		_ = unix.Kill(s.handlerPID, unix.SIGTERM)
	}
	if s.stopping {
		return
	}
	s.stopping = true
	time.AfterFunc(time.Duration(s.doc.StopSeconds)*time.Second, s.killOthers)
}

// killOthers kills all processes of the pod, or of a Service's app, but this one.
func (s *supervisor) killOthers() {
	if s.endOthers != nil {
		s.endOthers()
		return
	}
	_ = unix.Kill(-1, unix.SIGKILL)
}

// reap waits for children until the last app has ended and returns the pod's
// status: that of the first app that failed, else 0. When an app fails, the
// others are stopped; when one ends well, the others go on.
func (s *supervisor) reap() int {
	if s.running() == 0 { // stopped before an app was started
		return 128 + int(unix.SIGTERM)
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD: cannot be while an app runs
			return s.status
		}
		if s.ended(pid, ws) {
			return s.status
		}
	}
}

// ended notes the end of a process and tells whether it was the last app's.
func (s *supervisor) ended(pid int, ws unix.WaitStatus) (last bool) {
	s.mu.Lock()
	var a *app
	for _, other := range s.apps {
		if other.pid == pid {
			a = other
		}
	}
	if a == nil {
		s.mu.Unlock()
		return false // a process that apps left behind
	}
	a.pid = 0
	status := wait.Status(ws)
	if s.status == 0 {
		s.status = status
	}
	s.mu.Unlock()
	if err := s.postStop(a); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
	running := s.running()
	if running == 0 {
		// The pod is over; what apps left behind holds their streams open.
		s.killOthers()
		for _, a := range s.apps {
			a.out.drain(time.Duration(s.doc.StopSeconds) * time.Second)
		}
	}
	failpoint.Hit("native/app-ended")
	_ = s.ctl.Send(contract.Message{Kind: contract.MessageExited, App: a.Name, Number: status, Time: time.Now().UnixNano()}, -1)
	if running == 0 {
		return true
	}
	if status != 0 {
		s.stop()
	}
	return false
}

// running counts the apps whose process has not ended.
func (s *supervisor) running() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		if a.pid > 0 {
			n++
		}
	}
	return n
}
