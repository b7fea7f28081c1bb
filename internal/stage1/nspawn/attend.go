// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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
	nspawn       int           // pid
	heard        chan string
	signals      chan os.Signal
	news         chan event

	apps     map[string]*running
	init     int // pid of systemd; 0 until an app's service has come
	stopping bool
	status   int // of the first app that failed

	terminal native.Terminal
}

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
	eventSaid          // a service says m, with fd
	eventGone          // a service has closed ctl
	eventNspawn        // systemd-nspawn has ended
	eventForce         // the time to stop is over
)

func (r *runner) name(doc *contract.Pod) {
	for i := range doc.Apps {
		r.apps[doc.Apps[i].Name] = &running{index: i, ctl: -1}
	}
}

// accept waits for the apps' services.
func (r *runner) accept(listen int) {
	for {
		ctl, _, err := unix.Accept4(listen, unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		go r.listen(ctl)
	}
}

// listen hears a service out.
func (r *runner) listen(ctl int) {
	pid, err := peer(ctl)
	m, fd, ok := native.Control(ctl).Receive()
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil || !ok || m.Kind != messageHello {
		unix.Close(ctl)
		return
	}
	app := m.App
	r.news <- event{kind: eventHello, app: app, ctl: ctl, pid: pid}
	for {
		m, fd, ok := native.Control(ctl).Receive()
		if !ok {
			r.news <- event{kind: eventGone, app: app, ctl: ctl}
			return
		}
		m.App = app // whatever it says: it speaks for its own
		r.news <- event{kind: eventSaid, app: app, m: m, fd: fd}
	}
}

func (r *runner) waitNspawn() {
	status, err := wait.For(r.nspawn)
	if err != nil {
		status = 255
	}
	r.news <- event{kind: eventNspawn, status: status}
}

// attend serves the pod until it has ended.
func (r *runner) attend() (int, error) {
	var failed error
	ending := false
	for {
		select {
		case sig := <-r.signals:
			r.signal(sig.(unix.Signal))
		case e := <-r.news:
			switch e.kind {
			case eventHello:
				if err := r.hello(e); err != nil && failed == nil {
					failed = fmt.Errorf("cannot run app %q: %w", e.app, err)
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
				return r.over(failed, ending)
			}
		}
		if !ending && (failed != nil || r.allEnded()) {
			ending = true
			go func() {
				if failed == nil {
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

// end kills the machine: its first process and systemd-nspawn.
func (r *runner) end() {
	if r.init > 0 {
		_ = unix.Kill(r.init, unix.SIGKILL)
		return // systemd-nspawn notices, and tidies up
	}
	_ = unix.Kill(r.nspawn, unix.SIGKILL)
}

// over settles the accounts of a pod whose machine has ended.
func (r *runner) over(failed error, expected bool) (int, error) {
	now := time.Now().UnixNano()
	for i := range r.doc.Apps {
		name := r.doc.Apps[i].Name
		a := r.apps[name]
		if a.ended {
			continue
		}
		if a.started {
			r.exited(a, name, 128+int(unix.SIGKILL), now)
		} else if failed == nil && !r.stopping && !expected {
			text := "systemd-nspawn ended before app " + name + " was started"
			if said := strings.TrimSpace(<-r.heard); said != "" {
				text += ": " + strings.ReplaceAll(said, "\n", "; ")
			}
			failed = fmt.Errorf("cannot run pod %s: %s", r.doc.UUID, text)
		}
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
	if a == nil || a.ctl >= 0 || a.ended || a.started {
		unix.Close(e.ctl) // systemctl start of what has run: a pod's app runs once
		return nil
	}
	a.ctl = e.ctl
	if r.init == 0 {
		r.init = pidfd.Parent(e.pid)
		now := time.Now().UnixNano()
		r.events.Note(contract.InitLine(r.init, now))
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
	if r.stopping {
		r.tell(a, unix.SIGTERM)
	}
	return nil
}

func (r *runner) said(e event) {
	a := r.apps[e.app]
	switch e.m.Kind {
	case contract.MessageStarted:
		a.started = true
		// One that has ended already has no pid any more.
		r.events.Note(contract.StartedLine(e.app, pidfd.PID(e.fd), e.m.Time))
		onHost(func() { r.relay.Started(e.app) })
	case contract.MessageExited:
		r.exited(a, e.app, e.m.Number, e.m.Time)
	case contract.MessageTTY:
		r.terminal.Connect(e.fd, func(sig unix.Signal) { r.signals <- sig })
		return
	}
	if e.fd >= 0 {
		unix.Close(e.fd)
	}
}

// exited notes an app's end; when one fails, the others are stopped.
func (r *runner) exited(a *running, name string, status int, at int64) {
	if a.ended {
		return
	}
	a.ended = true
	r.events.Note(r.doc.OOMLine(name, cgroup.OOMKills, at) + contract.ExitedLine(name, status, at))
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
	a := r.apps[e.app]
	if a == nil || a.ctl != e.ctl {
		return true // one that was sent away
	}
	unix.Close(a.ctl)
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
