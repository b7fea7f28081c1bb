// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/scm"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// moment is how long the pod's first process watches an only app before it
// becomes the flavor's `init`; young is how long stage0 itself attends to a pod.
// Most that end by then were one command, and the starts of `init` and `run`
// would cost as much as that; those that live on are worth processes that take
// less memory.
const (
	moment = 3 * time.Millisecond
	young  = 2 * time.Second
)

// attend stands in for the flavor's `run` while the pod is young: it notes the
// pod's events and, if `init` ends, gives back what is the pod's. ended is
// false if `run` is to take over; it finds whatever was not read yet.
func (s *Start) attend(r *Ready, o assemble.Outcome) (status int, ended bool, err error) {
	doc, events := r.Doc, r.events
	now := time.Now()
	lines := contract.RunLine(os.Getpid(), now.UnixNano()) + s.usersLine(now.UnixNano()) + contract.InitLine(s.init, now.UnixNano())
	if o.Ended {
		lines += contract.StartedLine(doc.Apps[0].Name, 0, o.Started.UnixNano()) +
			doc.OOMLine(doc.Apps[0].Name, cgroup.OOMKills, o.Finished.UnixNano()) +
			contract.ExitedLine(doc.Apps[0].Name, o.Status, o.Finished.UnixNano())
	}
	if _, err := events.WriteString(lines); err != nil {
		return 0, false, fmt.Errorf("cannot note the pod's events: %w", err)
	}
	if !o.Started.IsZero() {
		s.mark("app started", o.Started)
		s.appStarted(doc.Apps[0].Name)
	}
	if o.Ended {
		s.mark("app ended", o.Finished)
		status, err := s.end(r)
		s.mark("pod ended", time.Now())
		s.print()
		return status, true, err
	}
	s.forwardSignals()
	s.print()
	for until := now.Add(young); ; {
		wake := until
		if s.register {
			wake = now.Add(known)
		}
		fds := append([]unix.PollFd{{Fd: int32(s.control), Events: unix.POLLIN}}, s.relay.Poll()...)
		// Never less than 0, which would be for ever: rkt may have been stopped.
		n, err := unix.Poll(fds, int(max(time.Until(wake), 0).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 && s.register {
			s.becomeKnown(r.Pod.Dir())
			continue
		}
		if err != nil || n == 0 {
			return 0, false, nil
		}
		s.relay.Hear()
		s.complain()
		if fds[0].Revents == 0 {
			continue
		}
		line, over, mine := s.hear(doc)
		switch {
		case over:
			status, err := s.end(r)
			return status, true, err
		case !mine:
			return 0, false, nil
		}
		if _, err := events.WriteString(line); err != nil {
			fmt.Fprintln(os.Stderr, "rkt: cannot note the pod's events:", err)
		}
	}
}

// catchSignals keeps the pod's signals from ending this process; they wait for
// forwardSignals.
func (r *Ready) catchSignals() {
	for _, sig := range contract.Signals {
		if !signal.Ignored(sig) {
			r.caught = append(r.caught, sig)
		}
	}
	r.signals = make(chan os.Signal, 16)
	catch(r.signals, r.caught)
}

// interrupted is for a pod that no `init` has: what was caught so far ends it before
// it began, and from now on signals end this process, until `run` listens.
func (r *Ready) interrupted() error {
	signal.Stop(r.signals)
	for {
		select {
		case sig := <-r.signals:
			if sig != unix.SIGWINCH {
				return fmt.Errorf("cannot run pod %s: it was interrupted by signal %d (%s)", r.Pod.ID(), sig, sig)
			}
		default:
			return nil
		}
	}
}

func catch(c chan<- os.Signal, list []os.Signal) {
	if len(list) > 0 { // none would be all
		signal.Notify(c, list...)
	}
}

// holdSignals is for the moment in which this process becomes `run`: it passes
// on what was caught, and leaves what comes from now on with the kernel, which
// keeps it for `run`. Else it would end the process before that can listen.
// release undoes it. The calling goroutine is locked to its thread.
func (s *Start) holdSignals() (release func(), err error) {
	if s.forwarded == nil {
		return func() {}, nil
	}
	var set, before unix.Sigset_t
	for _, sig := range s.caught {
		n := uint(sig.(unix.Signal)) - 1
		set.Val[n/64] |= 1 << (n % 64)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &before); err != nil {
		return nil, fmt.Errorf("cannot hold signals back: %w", err)
	}
	// The other threads are gone with the exec; until then they must not die of
	// what they are given.
	catch(make(chan os.Signal, 1), s.caught)
	signal.Stop(s.signals) // has delivered all
	close(s.signals)
	<-s.forwarded
	return func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }, nil
}

// forwardSignals gives them to `init`, which has its pod by now.
func (s *Start) forwardSignals() {
	s.forwarded = make(chan struct{})
	go func() {
		defer close(s.forwarded)
		for sig := range s.signals {
			if sig == unix.SIGTERM {
				s.relay.Stopping()
			}
			m := contract.Message{Kind: contract.MessageSignal, Number: int(sig.(unix.Signal))}
			_ = unix.Sendmsg(s.control, m.Encode(), nil, nil, unix.MSG_NOSIGNAL)
		}
	}()
}

// hear takes a message of `init` and returns the line to be noted of it. over:
// `init` is gone. A message that is for `run` stays where it is.
func (s *Start) hear(doc *contract.Pod) (line string, over, mine bool) {
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s.control, buf, unix.MSG_PEEK)
	if err != nil || n == 0 {
		return "", true, false
	}
	m, ok := contract.DecodeMessage(buf[:n])
	if !ok || m.Kind != contract.MessageStarted && m.Kind != contract.MessageExited {
		return "", false, false
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(s.control, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return "", true, false
	}
	if m.Kind == contract.MessageExited {
		return doc.OOMLine(m.App, cgroup.OOMKills, m.Time) + contract.ExitedLine(m.App, m.Number, m.Time), false, true
	}
	pid := 0
	if fd := scm.Right(oob[:oobn]); fd >= 0 {
		pid = pidfd.PID(fd)
		unix.Close(fd)
	}
	s.appStarted(m.App)
	s.mark(m.App+" started", time.Unix(0, m.Time))
	s.print()
	return contract.StartedLine(m.App, pid, m.Time), false, true
}

// end waits for the pod's first process and gives the pod's cgroups back.
func (s *Start) end(r *Ready) (int, error) {
	doc := r.Doc
	s.relay.Hear() // its last words
	// While it still ends: its apps have.
	parted, forgotten := s.part(), s.forget(r.Pod.Dir())
	given := doc.Aside() == "" && removeEmpty(doc)
	status, err := wait.For(s.init)
	if err != nil {
		return 0, err
	}
	s.init = 0
	if !given {
		removeCgroup(doc)
	}
	for _, finish := range []func() error{parted, forgotten} {
		if err := finish(); err != nil {
			fmt.Fprintln(os.Stderr, "rkt:", err)
		}
	}
	return status, nil
}

// removeEmpty removes the pod's cgroups if nobody is in them any more.
func removeEmpty(doc *contract.Pod) bool {
	for _, dir := range doc.CgroupDirs() {
		for i := range doc.Apps { // first: then nothing has to be looked for
			if cgroup.RemoveEmpty(dir+"/"+doc.Apps[i].Name) != nil {
				return false
			}
		}
		if cgroup.RemoveEmpty(dir) != nil {
			return false
		}
	}
	return true
}

// removeCgroup gives the pod's cgroups back, or says why it cannot.
func removeCgroup(doc *contract.Pod) {
	if err := cgroup.RemoveAll(doc.CgroupDirs(), doc.Aside()); err != nil {
		fmt.Fprintln(os.Stderr, "rkt:", err)
	}
}
