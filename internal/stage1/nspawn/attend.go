// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	machined "github.com/rkt/rkt/internal/stage1/machine"
	"github.com/rkt/rkt/internal/stage1/native"
	"github.com/rkt/rkt/internal/stage1/notify"
)

// runner is `run` while the pod lives. Only attend, in one goroutine, changes it.
type runner struct {
	doc          *contract.Pod
	documentPath string
	handed       []assemble.Handed // in the document's order
	events       *poddir.EventLog
	network      int
	relay        *notify.Relay // to the service manager; nil without
	nspawn       process
	heard        chan string
	signals      chan os.Signal
	news         chan event

	apps     map[string]*running
	init     int // pid of systemd; 0 until an app's service has come
	stopping bool
	killed   bool // by us
	status   int  // of the first app that failed

	terminal  native.Terminal
	connected bool // the terminal is
}

// process is one that `run` has started. The descriptor is never another's.
type process struct{ pid, fd int }

// running is an app as `run` knows it.
type running struct {
	index   int
	ctl     int  // to its service; -1 before and after
	started bool // there is, or was, a process
	ended   bool
}

// event is what happened, told by a goroutine that waits for such things.
type event struct {
	kind   int
	app    string
	ctl    int
	pid    int
	fd     int
	m      contract.Message
	status int
}

const (
	eventHello  = iota // a service has come: app, ctl, pid
	eventFailed        // systemd could not start an app's service: app, m
	eventSaid          // a service says m, with fd, on ctl
	eventGone          // a service has closed ctl, which is to be closed
	eventNspawn        // systemd-nspawn has ended
	eventForce         // the time to stop is over
)

// bootTime bounds how long systemd has from its start until the service of each app
// has come: as long as it gives by itself to what it starts
// (systemd-system.conf(5), DefaultTimeoutStartSec).
var bootTime = 90 * time.Second

func (r *runner) name(doc *contract.Pod) {
	for i := range doc.Apps {
		r.apps[doc.Apps[i].Name] = &running{index: i, ctl: -1}
	}
}

func (r *runner) waitNspawn() {
	status, err := wait.For(r.nspawn.pid)
	if err != nil {
		status = 255
	}
	r.news <- event{kind: eventNspawn, status: status}
}

// attend serves the pod until it has ended.
func (r *runner) attend() (int, error) {
	var failed error
	ending := false
	boot := time.NewTimer(bootTime)
	defer boot.Stop()
	for {
		select {
		case sig := <-r.signals:
			r.signal(sig.(unix.Signal))
		case <-boot.C:
			if name := r.awaited(); name != "" && failed == nil && !r.stopping {
				failed = fmt.Errorf("cannot run app %q: systemd in the pod has not come to it within %v", name, bootTime)
			}
		case e := <-r.news:
			switch e.kind {
			case eventHello:
				if err := r.hello(e); err != nil && failed == nil {
					failed = fmt.Errorf("cannot run app %q: %w", e.app, err)
				}
			case eventFailed:
				if a := r.apps[e.app]; a != nil && a.awaited() && failed == nil && !r.stopping {
					failed = fmt.Errorf("cannot run app %q: systemd in the pod cannot start its service%s", e.app, reason(e.m.Text))
				}
			case eventSaid:
				r.said(e)
			case eventGone:
				if !r.gone(e) && failed == nil {
					failed = errSilent
				}
			case eventForce:
				r.end()
			case eventNspawn:
				failpoint.Hit("nspawn/machine-ended")
				return r.over(failed, ending, e.status)
			}
		}
		if !ending && (failed != nil || r.allEnded()) {
			ending = true
			well := failed == nil
			go func() {
				if well {
					flush(r.doc)
				}
				r.news <- event{kind: eventForce}
			}()
		}
	}
}

// errSilent: the app's service could not run it, and has said why on the caller's
// stderr.
var errSilent = errors.New("cannot start an app")

// awaited is an app whose service has not come yet; "" if there is none.
func (r *runner) awaited() string {
	for i := range r.doc.Apps {
		if name := r.doc.Apps[i].Name; r.apps[name].awaited() {
			return name
		}
	}
	return ""
}

func (a *running) awaited() bool { return a.ctl < 0 && !a.started && !a.ended }

// end kills all of the pod: its cgroup, in which systemd-nspawn is, too, whatever of
// it hangs, is stopped or frozen. What is left to be tidied up giveBack does.
func (r *runner) end() {
	r.killed = true
	failpoint.Hit("nspawn/before-kill")
	_ = cgroup.Kill(r.doc.Cgroup)
	// And if somebody has taken it out of there, or the cgroup away.
	_ = unix.PidfdSendSignal(r.nspawn.fd, unix.SIGKILL, nil, 0)
}

// over settles the accounts of a pod whose machine has ended; status is
// systemd-nspawn's.
func (r *runner) over(failed error, expected bool, status int) (int, error) {
	now := time.Now().UnixNano()
	for i := range r.doc.Apps {
		name := r.doc.Apps[i].Name
		a := r.apps[name]
		if a.ended {
			continue
		}
		if a.started {
			r.exited(a, name, 128+int(unix.SIGKILL), now)
			continue
		}
		if failed != nil || r.stopping || expected {
			continue
		}
		text := "systemd-nspawn ended before app " + name + " was started"
		if said := r.lastWords(); said != "" {
			text += ": " + said
		}
		if status == 128+int(unix.SIGKILL) && !r.killed { // stop --force
			fmt.Fprintf(os.Stderr, "stage1: pod %s was killed: %s\n", r.doc.UUID, text)
			return status, nil
		}
		failed = fmt.Errorf("cannot run pod %s: %s", r.doc.UUID, text)
	}
	if failed == errSilent {
		return 254, nil
	}
	if r.status == 0 && r.stopping && !r.allStarted() {
		r.status = 128 + int(unix.SIGTERM)
	}
	return r.status, failed
}

// hello takes a service in and gives it what is its app's.
func (r *runner) hello(e event) error {
	a := r.apps[e.app]
	init := pidfd.Parent(e.pid)
	// systemctl start of what has run, since a pod's app runs once; or somebody whom
	// systemd has not started.
	if a == nil || !a.awaited() || init == 0 || pidfd.Parent(init) != r.nspawn.pid {
		_ = unix.Shutdown(e.ctl, unix.SHUT_RDWR) // its end is to come
		return nil
	}
	a.ctl = e.ctl
	if r.init == 0 {
		r.init = init
		now := time.Now().UnixNano()
		r.events.Note(contract.InitLine(r.init, now))
		failpoint.Hit("nspawn/first-service")
		if program := os.Getenv(contract.EnvMachine); program != "" {
			leader := fmt.Sprint(r.init)
			go func() {
				pid, err := machined.Register(program, "", leader)
				if err == nil {
					_, err = wait.For(pid)
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, "stage1:", err)
				}
			}()
		}
	}
	if err := r.give(a.ctl, a.index); err != nil {
		return err
	}
	failpoint.Hit("nspawn/given")
	if r.stopping {
		r.tell(a, unix.SIGTERM)
	}
	return nil
}

// said takes what an app's service says. What it may say once it may not say again:
// it is in the pod, and what it says goes to the host's disk and terminal.
func (r *runner) said(e event) {
	a := r.apps[e.app]
	defer func() {
		if e.fd >= 0 {
			unix.Close(e.fd)
		}
	}()
	if a == nil || a.ctl != e.ctl || a.ended {
		return // one that was sent away, or that has nothing to say any more
	}
	switch e.m.Kind {
	case contract.MessageStarted:
		if a.started {
			return
		}
		a.started = true
		// One that has ended already has no pid any more.
		r.events.Note(contract.StartedLine(e.app, pidfd.PID(e.fd), e.m.Time))
		onHost(func() { r.relay.Started(e.app) })
		failpoint.Hit("nspawn/app-started")
	case contract.MessageExited:
		r.exited(a, e.app, int(uint8(e.m.Number)), e.m.Time)
	case contract.MessageTTY:
		if !r.doc.Interactive || r.connected || e.fd < 0 {
			return
		}
		r.connected = true
		r.terminal.Connect(e.fd, func(sig unix.Signal) { r.signals <- sig })
		e.fd = -1
	}
}

// exited notes an app's end; when one fails, the others are stopped.
func (r *runner) exited(a *running, name string, status int, at int64) {
	if a.ended {
		return
	}
	a.ended = true
	r.events.Note(r.doc.OOMLine(name, cgroup.OOMKills, at) + contract.ExitedLine(name, status, at))
	failpoint.Hit("nspawn/app-ended")
	if status == 0 {
		return
	}
	if r.status == 0 {
		r.status = status
	}
	r.stop()
}

// gone takes leave of a service. ok is false for one that could not start its app.
func (r *runner) gone(e event) (ok bool) {
	defer unix.Close(e.ctl)
	a := r.apps[e.app]
	if a == nil || a.ctl != e.ctl {
		return true // one that was sent away
	}
	a.ctl = -1
	if a.ended {
		return true
	}
	if !a.started {
		a.ended = true
		return r.stopping
	}
	// Killed, as systemd does to one that does not stop: its app must not go on.
	_ = cgroup.Kill(r.doc.Cgroup + "/" + e.app)
	r.exited(a, e.app, 128+int(unix.SIGKILL), time.Now().UnixNano())
	return true
}

func (r *runner) allEnded() bool {
	for _, a := range r.apps {
		if !a.ended {
			return false
		}
	}
	return true
}

func (r *runner) allStarted() bool {
	for _, a := range r.apps {
		if !a.started {
			return false
		}
	}
	return true
}

// signal passes sig on to the apps. SIGTERM is the pod's stop.
func (r *runner) signal(sig unix.Signal) {
	if sig == unix.SIGWINCH && r.terminal.Resize() {
		return
	}
	if sig == unix.SIGTERM {
		_ = cgroup.Thaw(r.doc.Cgroup) // who is paused hears nothing
		r.stop()
		return
	}
	for _, a := range r.apps {
		r.tell(a, sig)
	}
}

// stopGrace is how long services have to tell of their apps' ends, beyond the
// pod's own time.
const stopGrace = 5

func (r *runner) stop() {
	for _, a := range r.apps {
		r.tell(a, unix.SIGTERM)
	}
	if !r.stopping {
		r.stopping = true
		onHost(r.relay.Stopping)
		r.forceAfter(r.doc.StopSeconds + stopGrace)
	}
}

func (r *runner) tell(a *running, sig unix.Signal) {
	if a.ctl >= 0 && !a.ended {
		_ = native.Control(a.ctl).Send(contract.Message{Kind: contract.MessageSignal, Number: int(sig)}, -1)
	}
}
