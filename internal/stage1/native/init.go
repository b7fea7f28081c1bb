// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
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
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// processName is what ps shows; a program executed by descriptor has a number.
var processName = [...]byte{'r', 'k', 't', '-', 'i', 'n', 'i', 't', 0}

// supervisor is the pod's first process: it builds the apps' roots, starts
// them, reaps, and decides when the pod is over.
type supervisor struct {
	doc   *contract.Pod
	ctl   control
	shelf *shelf
	marks timing
	group string // the pod's cgroup, absolute on the host; "" where there is none
	apps  []*app
	oom   int // this process's oom_score_adj, open if an app wants its own

	mu         sync.Mutex // guards what follows and the apps' pids
	stopping   bool
	status     int // of the first app that failed
	handlerPID int // of the event handler that runs
}

// Init is the `init` entry point: the pod's first process. It returns the
// pod's exit status, or an error if the pod did not come to run; then no
// process of it is left once Init's own has ended. Its working directory is
// the pod's; the calling goroutine stays on the main thread.
func Init() (int, error) {
	runtime.LockOSThread()
	s := &supervisor{marks: newTiming()}
	s.marks.add("init started")
	fd, err := inherited(contract.EnvControlFD)
	if err != nil {
		return 0, err
	}
	s.ctl = control(fd)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&processName[0])), 0, 0, 0) // for ps
	// Nothing inside may trace, or open the descriptors of, this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	if err := s.separate(); err != nil {
		return 0, err
	}
	s.marks.add("init ready")
	roots, err := s.receivePod()
	if errors.Is(err, errAbandoned) {
		return 254, nil // stage0 has said why
	}
	if err != nil {
		return 0, err
	}
	s.marks.add("pod received")
	if err := s.setUp(roots); err != nil {
		return 0, err
	}
	s.marks.add("roots ready")
	// A single app without a handler is started before anything listens, so that
	// no second thread is needed until then; a signal waits in the socket.
	quick := s.alone() && len(s.apps[0].PreStart) == 0
	if !quick {
		s.hear()
	}
	for _, a := range s.apps {
		if err := s.start(a); err != nil {
			return 0, err
		}
		if s.isStopping() {
			break
		}
	}
	s.marks.add("apps started")
	if quick && !s.endsAtOnce() {
		s.hear()
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	failpoint.Hit("native/apps-started")
	if s.marks.wanted {
		_ = s.ctl.send(contract.Message{Kind: contract.MessageTiming, Text: s.marks.String()}, -1)
	}
	return s.reap(), nil
}

// hear makes this process deaf to what apps may send to pid 1 and of which the
// Go runtime would die, and listens to `run` instead.
func (s *supervisor) hear() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP,
		unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGUSR1, unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM,
		unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGSYS)
	go s.listen()
}

// endsAtOnce waits for a moment whether the only app ends, or somebody speaks.
// What ends at once needs no second thread to listen, and those cost as much as
// such an app does.
func (s *supervisor) endsAtOnce() bool {
	const moment = 3 // milliseconds
	fds := []unix.PollFd{{Fd: int32(s.apps[0].pidfd), Events: unix.POLLIN}, {Fd: int32(s.ctl), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, moment)
		if err != unix.EINTR {
			return err == nil && fds[0].Revents != 0
		}
	}
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
	for _, a := range s.apps {
		unix.Close(a.root)
		if a.cgroup > 0 {
			unix.Close(a.cgroup)
		}
	}
	s.shelf.close()
	if s.oom > 0 {
		unix.Close(s.oom)
	}
	return caps.Limit(keep)
}

func (s *supervisor) alone() bool { return len(s.doc.Apps) == 1 }

func (s *supervisor) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// separate does what needs no pod, while stage0 still writes it.
func (s *supervisor) separate() error {
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM {
		return os.NewSyscallError("setsid", err)
	}
	_, _ = unix.KeyctlJoinSessionKeyring("") // not the caller's keys; kernels without keys have none to leak
	unix.Umask(0)
	// What the host mounts later reaches volumes; nothing flows back.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if err == unix.EINVAL {
		return errors.New("cannot detach from the host's mounts: / is not a mount point here; in a chroot, bind its root over itself first")
	}
	if err != nil {
		return fmt.Errorf("cannot detach from the host's mounts: %w", err)
	}
	s.shelf, err = newShelf()
	return err
}

// receivePod takes the pod from stage0: enters its directory, keeps its lock
// open, so that the pod runs as long as this process does, even if `run` was
// killed a moment ago, and returns the apps' roots.
func (s *supervisor) receivePod() (roots []int, err error) {
	dir, fds, err := s.ctl.receivePod()
	if err != nil {
		return nil, err
	}
	// By path: a descriptor of stage0's leads into its mount namespace.
	if err := unix.Chdir(dir); err != nil {
		return nil, fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	if s.doc, err = document("."); err != nil {
		return nil, err
	}
	roots = fds[1:]
	if len(roots) != len(s.doc.Apps) {
		return nil, fmt.Errorf("cannot run pod %s: it has %d apps, and %d roots were given", s.doc.UUID, len(s.doc.Apps), len(roots))
	}
	return roots, nil
}

// setUp does everything that needs the host's view, then leaves it.
func (s *supervisor) setUp(roots []int) error {
	doc := s.doc
	if err := unix.Sethostname([]byte(doc.Hostname)); err != nil {
		return fmt.Errorf("cannot set hostname %q: %w", doc.Hostname, err)
	}
	if doc.Network == "none" {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := s.makeCgroups(); err != nil {
		return err
	}
	var err error
	for i := range doc.Apps {
		a := &app{App: &doc.Apps[i]}
		s.apps = append(s.apps, a)
		if a.out.log, err = openLog(a.App); err != nil {
			return err
		}
		if s.group != "" {
			if a.cgroup, err = cgroup.Open(s.group + "/" + a.Name); err != nil {
				return err
			}
		}
		if a.OOMScoreAdj != nil && s.oom == 0 {
			if s.oom, err = unix.Open("/proc/self/oom_score_adj", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
				return fmt.Errorf("cannot open own OOM score: %w", err)
			}
		}
	}
	volumes := make([][]source, len(s.apps))
	for i, a := range s.apps {
		if volumes[i], err = openVolumes(a.App); err != nil {
			return err
		}
		defer closeVolumes(volumes[i])
	}
	// From here on nothing of the host is looked up by a path.
	for i, a := range s.apps {
		a.root = roots[i]
		if err := s.shelf.appRoot(doc, a.App, a.root, volumes[i], i == len(s.apps)-1); err != nil {
			return err
		}
	}
	failpoint.Hit("native/roots")
	// The only app lives in the supervisor's own mount namespace: one less to
	// make and to end. Of several each gets one, away from the others' roots.
	base := s.shelf.fd
	if s.alone() {
		base = roots[0]
	}
	if err := pivot(base); err != nil {
		return err
	}
	failpoint.Hit("native/pivot")
	return nil
}

// makeCgroups makes the pod's cgroup and one in it for each app. Where the host
// has no version 2 hierarchy, or does not let us, there is none: nothing
// depends on it yet but accounting.
func (s *supervisor) makeCgroups() error {
	if s.doc.Cgroup == "" {
		return nil
	}
	if err := cgroup.Create(s.doc.Cgroup); err != nil {
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			return nil
		}
		return err
	}
	failpoint.Hit("native/cgroup")
	s.group = s.doc.Cgroup
	for i := range s.doc.Apps {
		if err := cgroup.Create(s.group + "/" + s.doc.Apps[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// listen takes messages from `run` until that is gone. The kernel ends this
// process with `run` (PR_SET_PDEATHSIG), but not if stage0 died before it could
// ask for that.
func (s *supervisor) listen() {
	for {
		m, fd, ok := s.ctl.receive()
		if fd >= 0 {
			unix.Close(fd)
		}
		if !ok {
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
	time.AfterFunc(time.Duration(s.doc.StopSeconds)*time.Second, func() { _ = unix.Kill(-1, unix.SIGKILL) })
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
		_ = unix.Kill(-1, unix.SIGKILL)
		for _, a := range s.apps {
			a.out.drain(time.Duration(s.doc.StopSeconds) * time.Second)
		}
	}
	failpoint.Hit("native/app-ended")
	_ = s.ctl.send(contract.Message{Kind: contract.MessageExited, App: a.Name, Number: status, Time: time.Now().UnixNano()}, -1)
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

// loopbackUp brings lo up in the pod's network namespace (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot bring the pod's loopback up: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("cannot bring the pod's loopback up: %w", err)
	}
	return nil
}
