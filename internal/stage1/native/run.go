// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/machine"
	"github.com/rkt/rkt/internal/stage1/networks"
	"github.com/rkt/rkt/internal/stage1/notify"
)

// Run is the `run` entry point: it stands in the place of the rkt process that
// the caller started, passes signals on, notes the pod's events from where stage0
// left off, and returns the pod's exit status. Its end is the pod's end: `init`
// is killed with it.
func Run() (int, error) {
	r := &runner{}
	var err error
	if r.init, err = strconv.Atoi(os.Getenv(contract.EnvInit)); err != nil || r.init < 2 {
		return 0, fmt.Errorf("cannot start: %s is not set; only rkt starts this program", contract.EnvInit)
	}
	fd, err := poddir.Descriptor(contract.EnvControlFD)
	if err != nil {
		return 0, err
	}
	r.ctl = Control(fd)
	if _, err := poddir.Descriptor(contract.EnvLockFD); err != nil {
		return 0, err
	}
	if err := KeepHeld(); err != nil {
		return 0, err
	}
	signal.Ignore(unix.SIGPIPE) // a word on a stderr that nobody reads must not end the pod
	signals := poddir.Signals()
	if os.Getenv(contract.EnvLimited) != "" {
		if r.doc, err = poddir.Document("."); err != nil {
			return 0, err
		}
	}
	if r.events, err = poddir.OpenEvents("."); err != nil {
		return 0, err
	}
	network, err := poddir.Optional(contract.EnvNetworkFD)
	if err != nil {
		return 0, err
	}
	if r.relay, err = notify.Parse(os.Getenv(contract.EnvNotify)); err != nil {
		return 0, err
	}
	for _, fd := range r.relay.Poll() {
		unix.CloseOnExec(int(fd.Fd))
	}
	go r.relay.Serve()
	failpoint.Hit("native/run-started")
	go func() {
		for sig := range signals {
			r.signal(sig.(unix.Signal))
		}
	}()
	// The end of the socket is the end of init.
	for {
		m, fd, ok := r.ctl.Receive()
		if !ok {
			break
		}
		r.handle(m, fd)
	}
	status, err := wait.For(r.init)
	if err != nil {
		return 0, err
	}
	r.relay.Hear() // its last words
	forgotten := Forget()
	r.terminal.Restore()
	failpoint.Hit("native/ended")
	if err := r.removeCgroups(); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
	if err := networks.Leave(os.Getenv(contract.EnvNetwork), network); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
	if err := forgotten(); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
	return status, nil
}

// Forget begins to have systemd-machined forget the pod, if it knows it; what it
// returns waits until that is done.
func Forget() (done func() error) {
	program := os.Getenv(contract.EnvMachine)
	if program == "" {
		return func() error { return nil }
	}
	return machine.Unregister(program, "")
}

// KeepHeld keeps what contract.EnvHeld names to this process.
func KeepHeld() error {
	list := os.Getenv(contract.EnvHeld)
	for word := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 3 {
			return fmt.Errorf("cannot start: %s is %q; only rkt starts this program", contract.EnvHeld, list)
		}
		unix.CloseOnExec(n)
	}
	return nil
}

func (r *runner) removeCgroups() error {
	if r.doc != nil {
		return cgroup.RemoveAll(r.doc.CgroupDirs(), r.doc.Aside())
	}
	if dir := os.Getenv(contract.EnvCgroup); dir != "" {
		return cgroup.Remove(dir)
	}
	return nil
}

type runner struct {
	init int
	ctl  Control
	doc  *contract.Pod // of a pod with limits; else nil

	events   *poddir.EventLog
	relay    *notify.Relay // to the service manager; nil without
	terminal Terminal
}

func (r *runner) signal(sig unix.Signal) {
	if sig == unix.SIGWINCH && r.terminal.Resize() {
		return
	}
	if dir := os.Getenv(contract.EnvCgroup); sig == unix.SIGTERM && dir != "" {
		_ = cgroup.Thaw(dir) // a paused app hears nothing
	}
	if sig == unix.SIGTERM {
		r.relay.Stopping()
	}
	_ = r.ctl.Send(contract.Message{Kind: contract.MessageSignal, Number: int(sig)}, -1)
}

// handle takes a message and the descriptor that came with it, -1 for none.
func (r *runner) handle(m contract.Message, fd int) {
	switch m.Kind {
	case contract.MessageStarted:
		// One that has ended already has no pid any more.
		r.events.Note(contract.StartedLine(m.App, pidfd.PID(fd), m.Time))
		r.relay.Started(m.App)
		if err := r.relay.Err(); err != nil {
			fmt.Fprintln(os.Stderr, "stage1:", err)
		}
	case contract.MessageExited:
		if r.doc != nil {
			r.events.Note(r.doc.OOMLine(m.App, cgroup.OOMKills, m.Time))
		}
		r.events.Note(contract.ExitedLine(m.App, m.Number, m.Time))
	case contract.MessageTTY:
		r.terminal.Connect(fd, r.signal)
		return
	}
	if fd >= 0 {
		unix.Close(fd)
	}
}
