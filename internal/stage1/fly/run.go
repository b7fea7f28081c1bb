// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Run is the `run` entry point: it starts the app, passes signals on, notes the
// pod's events, ends what the app left behind, and returns its exit status. The
// app is killed with it.
func Run() (int, error) {
	doc, app, err := document()
	if err != nil {
		return 0, err
	}
	if _, err := poddir.Descriptor(contract.EnvLockFD); err != nil {
		return 0, err
	}
	r := &runner{doc: doc, app: app}
	if r.events, err = poddir.OpenEvents("."); err != nil {
		return 0, err
	}
	signal.Ignore(unix.SIGPIPE) // a word on a stderr that nobody reads must not end the pod
	signals := poddir.Signals()
	r.events.Note(contract.RunLine(os.Getpid(), time.Now().UnixNano()))
	// What the app leaves behind becomes ours, to be ended with the pod.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	runtime.LockOSThread() // it is in the app's root, and the app ends with it
	if err := r.start(); err != nil {
		r.end()
		r.giveBack()
		return 0, fmt.Errorf("cannot run app %q: %w", app.Name, err)
	}
	go func() {
		for sig := range signals {
			r.signal(sig.(unix.Signal))
		}
	}()
	status := r.reap()
	r.events.Note(contract.ExitedLine(app.Name, status, time.Now().UnixNano()))
	failpoint.Hit("fly/ended")
	r.end()
	r.giveBack()
	return status, nil
}

// end waits until the app's output was passed on and sets the caller's terminal
// back.
func (r *runner) end() {
	r.out.Wait()
	if r.restore != nil {
		r.restore()
	}
}

// document reads the document in the working directory.
func document() (*contract.Pod, *contract.App, error) {
	doc, err := poddir.Document(".")
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(doc.Apps) != 1:
		return nil, nil, fmt.Errorf("cannot run pod %s: flavor fly runs one app, not %d", doc.UUID, len(doc.Apps))
	case doc.Limited():
		return nil, nil, fmt.Errorf("cannot run pod %s: flavor fly limits nothing", doc.UUID)
	}
	if f := doc.Lacking(Manifest().Features); f != "" {
		return nil, nil, fmt.Errorf("cannot run pod %s: flavor fly lacks the feature %q", doc.UUID, f)
	}
	return doc, &doc.Apps[0], nil
}

type runner struct {
	doc    *contract.Pod
	app    *contract.App
	events *poddir.EventLog
	cgroup int // 0 for none

	mu       sync.Mutex
	pid      int // of the app; 0 once it has ended
	stopping bool
	plain    bool // signals are passed on as they are

	master  int // of the app's terminal; 0 without
	restore func()
	out     sync.WaitGroup // of what carries the app's output
}

// process is what the app and what enters it have in common: all that the caller
// of rkt may do.
func process(app *contract.App, root int) (*appinit.Process, error) {
	have, _, err := caps.Bounding()
	if err != nil {
		return nil, err
	}
	p := &appinit.Process{Env: app.Environment, Dir: app.WorkingDir, Bounding: have, Rlimits: app.Rlimits}
	if p.Dir == "" {
		p.Dir = "/"
	}
	p.User, err = appinit.LookupUser(root, app.User, app.Group, app.SupplementaryGIDs, contract.Users{})
	return p, err
}

func (r *runner) start() error {
	if err := r.makeCgroup(); err != nil {
		return err
	}
	score, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer score.Close()
	root, err := enterRoot(r.doc, r.app)
	if err != nil {
		return err
	}
	p, err := process(r.app, root)
	if err != nil {
		return err
	}
	if p.Program, err = appinit.LookupProgram(root, r.app.Exec[0], p.Dir, p.Env); err != nil {
		return err
	}
	p.Argv, p.CgroupFD, p.DieWithParent = r.app.Exec, r.cgroup, true
	done, err := r.streams(p, root)
	if err != nil {
		return err
	}
	defer done()
	keep, err := appinit.SetOOMScore(int(score.Fd()), r.app.OOMScoreAdj)
	if err != nil {
		return err
	}
	r.mu.Lock() // a signal that comes now must find the pid
	r.pid, err = p.Start()
	pid := r.pid
	r.mu.Unlock()
	keep()
	if err != nil {
		return p.Failed(root, err)
	}
	now := time.Now().UnixNano()
	r.events.Note(contract.InitLine(pid, now) + contract.StartedLine(r.app.Name, pid, now))
	failpoint.Hit("fly/started")
	return nil
}

// makeCgroup makes the pod's cgroup, by which gc finds what is left of it.
func (r *runner) makeCgroup() (err error) {
	if r.doc.Cgroup == "" {
		return nil
	}
	if err := cgroup.Create(r.doc.Cgroup); err != nil {
		return err
	}
	r.cgroup, err = cgroup.Open(r.doc.Cgroup)
	return err
}

// streams gives the app the caller's streams or, where they are a terminal, one
// of its own. done closes this side's copies once the app has its own.
func (r *runner) streams(p *appinit.Process, root int) (done func(), err error) {
	if r.doc.Interactive && pty.IsTerminal(0) {
		pts, err := unix.Open("/dev/pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: "/dev/pts", Err: err}
		}
		defer unix.Close(pts)
		return r.terminal(p, pts)
	}
	s, err := appinit.OpenStreams(r.doc, r.app, root, p.User.UID, [2]int{})
	if err != nil {
		return nil, err
	}
	p.Stdio = s.App
	r.passOn(s)
	return s.CloseApp, nil
}

// passOn carries what is written into pipes to the caller.
func (r *runner) passOn(s *appinit.Streams) {
	for i, fd := range s.Pumps {
		if fd >= 0 {
			r.out.Go(func() {
				if pty.CopyOut(i+1, fd) != nil {
					pty.Discard(fd)
				}
			})
		}
	}
}

// terminal makes a terminal of the host's, whose /dev/pts is pts, for p and
// connects the caller's to it.
func (r *runner) terminal(p *appinit.Process, pts int) (done func(), err error) {
	master, slave, err := pty.Open(pts)
	if err != nil {
		return nil, err
	}
	if err := unix.Fchown(slave, int(p.User.UID), -1); err != nil {
		return nil, os.NewSyscallError("fchown", err)
	}
	pty.CopySize(slave, 0)
	if r.restore, err = pty.Raw(0); err != nil {
		return nil, err
	}
	p.Stdio, p.Terminal = [3]int{slave, slave, slave}, true
	r.master = master
	r.out.Go(func() {
		if pty.CopyOut(1, master) != nil {
			r.signal(unix.SIGHUP) // nobody sees the app any more
			pty.Discard(master)
		}
	})
	go func() {
		if pty.CopyIn(master, 0) {
			r.signal(unix.SIGTERM)
		}
	}()
	return func() { unix.Close(slave) }, nil
}

// signal passes sig on. SIGTERM is the pod's stop: the app gets its own stop
// signal, and SIGKILL when its time is over.
func (r *runner) signal(sig unix.Signal) {
	if sig == unix.SIGWINCH && r.master > 0 {
		pty.CopySize(r.master, 0)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if sig == unix.SIGTERM && !r.plain {
		if n, err := strconv.Atoi(r.app.StopSignal); err == nil && n > 0 && n < 65 {
			sig = unix.Signal(n)
		}
		if !r.stopping {
			r.stopping = true
			time.AfterFunc(time.Duration(r.doc.StopSeconds)*time.Second, func() { r.signal(unix.SIGKILL) })
		}
	}
	if r.pid > 0 {
		_ = unix.Kill(r.pid, sig)
	}
}

// reap waits for the app's end, then kills what it left and waits for that.
func (r *runner) reap() (status int) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil: // ECHILD: nothing is left
			return status
		}
		r.mu.Lock()
		if pid == r.pid {
			r.pid, status = 0, wait.Status(ws)
		}
		over := r.pid == 0
		r.mu.Unlock()
		if over {
			killChildren()
		}
	}
}

// killChildren kills this process's children. Theirs become ours then, and are
// met in the next round.
func killChildren() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		b, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL) // not reaped yet, so still ours
			}
		}
	}
}

func (r *runner) giveBack() {
	if r.doc.Cgroup != "" {
		if err := cgroup.Remove(r.doc.Cgroup); err != nil {
			fmt.Fprintln(os.Stderr, "stage1:", err)
		}
	}
}
