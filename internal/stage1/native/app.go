// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// app is an app of the pod and its process.
type app struct {
	*contract.App
	root   int   // descriptor of its root
	cgroup int   // descriptor of its cgroup; 0 if the pod has none
	groups []int // what its process writes "0" to, to enter its cgroups
	// sockets are for its process alone; nil once it has them.
	sockets []contract.InheritedSocket
	pid     int // 0 before and after; guarded by supervisor.mu
	out     output
	// bounding is the app's capability bounding set, once it was started here.
	bounding caps.Set
}

// stopSignal is the app's own; the document has it as a number.
func (a *app) stopSignal() unix.Signal {
	if n, err := strconv.Atoi(a.StopSignal); err == nil && n > 0 && n < 65 {
		return unix.Signal(n)
	}
	return unix.SIGTERM
}

// start runs the app's pre-start handler and then the app.
func (s *supervisor) start(a *app) error {
	user, err := appinit.LookupUser(a.root, a.User, a.Group, a.SupplementaryGIDs, appinit.Inside(s.doc).Users)
	if err != nil {
		return fmt.Errorf("cannot run app %q: %w", a.Name, err)
	}
	if len(a.PreStart) > 0 {
		status, err := s.handler(a, a.PreStart)
		if s.isStopping() {
			return nil
		}
		if err == nil && status != 0 {
			err = fmt.Errorf("it ended with status %d", status)
		}
		if err != nil {
			return fmt.Errorf("cannot run pre-start handler of app %q: %w", a.Name, err)
		}
	}
	p, err := s.process(a, a.Exec)
	if err != nil {
		return fmt.Errorf("cannot run app %q: %w", a.Name, err)
	}
	p.User, p.Sockets, a.bounding = user, a.sockets, p.Bounding
	done, err := s.streams(a, p)
	if err != nil {
		return fmt.Errorf("cannot run app %q: %w", a.Name, err)
	}
	restore, err := appinit.SetOOMScore(s.oom, a.OOMScoreAdj)
	if err != nil {
		return fmt.Errorf("cannot run app %q: %w", a.Name, err)
	}
	s.mu.Lock() // a signal that comes now must find the pid
	pid, err := p.Start()
	p.CloseProc()
	a.pid = pid
	stopping := s.stopping
	s.mu.Unlock()
	restore()
	done()
	for _, s := range a.sockets {
		unix.Close(s.FD)
	}
	a.sockets = nil
	if err != nil {
		return fmt.Errorf("cannot run app %q: %w", a.Name, p.Failed(a.root, err))
	}
	if stopping {
		s.stop()
	}
	return s.announce(a, pid)
}

// announce tells `run` of the app and hands it a pidfd, from which it learns
// the pid that the host knows.
func (s *supervisor) announce(a *app, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("cannot watch app %q: %w", a.Name, err)
	}
	defer unix.Close(fd)
	return s.ctl.Send(contract.Message{Kind: contract.MessageStarted, App: a.Name, Time: time.Now().UnixNano()}, fd)
}

// process is what the app and everything that runs in its place have in common.
func (s *supervisor) process(a *app, argv []string) (*appinit.Process, error) {
	p, err := appinit.Confine(s.doc, a.App, appinit.Inside(s.doc))
	if err != nil {
		return nil, err
	}
	p.BeApart()
	if s.place != "" {
		p.Root, p.CgroupView = s.place, cgroupView
	} else if len(s.apps) > 1 {
		p.Root = "/" + a.Name
	}
	if p.Program, err = appinit.LookupProgram(a.root, argv[0], a.WorkingDir, a.Environment); err != nil {
		return nil, err
	}
	p.Argv = argv
	if p.Proc, err = p.OpenProc(a.root); err != nil {
		return nil, err
	}
	p.InCgroup(a.cgroup)
	p.Groups, p.OwnMounts = a.groups, true
	if p.Users.Private() {
		// A directory of the host's is not to be born in; its cgroup.procs, opened
		// by the host's root, is among the others.
		p.CgroupFD = 0
	}
	return p, nil
}

// handler runs an event handler to its end, as root of the app's root.
func (s *supervisor) handler(a *app, argv []string) (status int, err error) {
	p, err := s.process(a, argv)
	if err != nil {
		return 0, err
	}
	null, err := safepath.OpenInRoot(a.root, "dev/null", unix.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer unix.Close(null)
	streams, feed, err := appinit.CallerStreams(p.Users.Host(p.User.UID))
	if err != nil {
		return 0, err
	}
	defer streams.CloseApp()
	if feed >= 0 {
		unix.Close(feed)
	}
	p.Stdio = [3]int{null, streams.App[1], streams.App[2]}
	a.out.pump(0, streams.Pumps[0], contract.Inherit)
	a.out.pump(1, streams.Pumps[1], contract.Inherit)
	pid, err := p.Start()
	p.CloseProc()
	if err != nil {
		return 0, p.Failed(a.root, err)
	}
	s.mu.Lock()
	s.handlerPID = pid
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		s.stop()
	}
	status, err = wait.For(pid)
	s.mu.Lock()
	s.handlerPID = 0
	s.mu.Unlock()
	return status, err
}

func (s *supervisor) postStop(a *app) error {
	if len(a.PostStop) == 0 {
		return nil
	}
	status, err := s.handler(a, a.PostStop)
	if err == nil && status != 0 {
		err = fmt.Errorf("it ended with status %d", status)
	}
	if err != nil {
		return fmt.Errorf("cannot run post-stop handler of app %q: %w", a.Name, err)
	}
	return nil
}

// streams chooses the process's standard streams. done closes this side's
// copies once the process has its own.
func (s *supervisor) streams(a *app, p *appinit.Process) (done func(), err error) {
	if s.doc.Interactive && pty.IsTerminal(0) {
		slave, err := s.terminal(a, p.User)
		if err != nil {
			return nil, err
		}
		p.Stdio = [3]int{slave, slave, slave}
		p.Terminal = true
		return func() { unix.Close(slave) }, nil
	}
	app := a.App
	if s.place != "" { // all that is written goes to the journal, too
		diverted := *app
		app = &diverted
		for _, to := range []*contract.Stream{&app.Stdout, &app.Stderr} {
			if *to != contract.Null {
				*to = contract.Log
			}
		}
	}
	streams, err := appinit.OpenStreams(s.doc, app, a.root, p.User.UID, a.out.own)
	if err != nil {
		return nil, err
	}
	p.Stdio = streams.App
	for i, mode := range []contract.Stream{a.Stdout, a.Stderr} {
		a.out.pump(i, streams.Pumps[i], mode)
	}
	return streams.CloseApp, nil
}

// terminal makes a pty in the app's own /dev/pts and gives its master to `run`
// and its slave to the app.
func (s *supervisor) terminal(a *app, user appinit.Credential) (slave int, err error) {
	pts, err := safepath.OpenInRoot(a.root, "dev/pts", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pts)
	master, slave, err := pty.Open(pts)
	if err != nil {
		return -1, err
	}
	defer unix.Close(master)
	if err := unix.Fchown(slave, int(user.UID), -1); err != nil {
		unix.Close(slave)
		return -1, os.NewSyscallError("fchown", err)
	}
	pty.CopySize(slave, 0)
	if err := s.ctl.Send(contract.Message{Kind: contract.MessageTTY, App: a.Name}, master); err != nil {
		unix.Close(slave)
		return -1, err
	}
	return slave, nil
}
