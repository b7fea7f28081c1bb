// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/machine"
)

// systemdProgram speaks to systemd and systemd-machined (package pod/systemd).
const systemdProgram = "systemd"

// known is how old a pod is when it is made known to systemd-machined: one that
// ends sooner was a command that nobody would have looked for.
const known = 100 * time.Millisecond

// Register has the pod made known to systemd-machined, if systemd runs here, once
// it has lived for a moment.
func (s *Start) Register() { s.register = true }

// A machineState is how far the pod's registration is.
type machineState struct {
	register bool   // it is wanted, and was not begun
	program  string // that began it; "" before and without
	pid      int    // of the child that does it; 0 when it is reaped
}

// scopeStop is how long systemd waits beside the apps' own time when it stops the
// scope of a pod.
const scopeStop = 20

// Scope asks systemd, where it runs, for a scope of the pod's own and moves this
// process and its children there (systemd.Scope). From a service it does not, and
// this process stays where it is, as it does if there is no systemd to ask.
func Scope(doc *contract.Pod) error {
	if unix.Access("/run/systemd/system", unix.F_OK) != nil {
		return nil
	}
	program, err := HelperPath(systemdProgram)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "scope", doc.UUID, strconv.Itoa(doc.StopSeconds+scopeStop))
	cmd.Env = []string{"GOMAXPROCS=1", "XDG_RUNTIME_DIR=" + os.Getenv("XDG_RUNTIME_DIR")}
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == notHere:
		return nil
	}
	if said := strings.TrimPrefix(strings.TrimSpace(string(text)), "rkt: systemd: "); said != "" {
		err = errors.New(said)
	}
	return hint.Wrap(err, "give rkt a cgroup of its own: "+cgroup.Delegate())
}

// notHere is the status of a program that found no systemd, or a pod that is not for it.
const notHere = 3

// becomeKnown begins the registration of a pod whose first process runs. It is one
// system call where systemd does not. What goes wrong is said: the pod goes on.
func (s *Start) becomeKnown(dir string) {
	s.register = false
	if unix.Access("/run/systemd/system", unix.F_OK) != nil {
		return
	}
	program, err := HelperPath(systemdProgram)
	if err == nil {
		s.machineState.pid, err = machine.Register(program, dir, strconv.Itoa(s.init))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rkt:", err)
		return
	}
	s.program = program
}

// forget has the pod forgotten, if it was made known; what it returns waits until
// that is done.
func (s *Start) forget(dir string) (finish func() error) {
	if s.program == "" {
		return func() error { return nil }
	}
	if pid := s.machineState.pid; pid > 0 { // it may not know the pod yet
		s.machineState.pid = 0
		late := endWithin(pid, lastMoment)
		if status, err := wait.For(pid); !late && (err != nil || status != 0) {
			return func() error { return err }
		}
	}
	return machine.Unregister(s.program, dir)
}

// lastMoment is how long the end of a pod waits for its registration to be done.
// Whether it was then does not matter: who is not known is forgotten as well.
const lastMoment = time.Second

// endWithin kills a child that has not ended after a time, and tells whether it did.
// The child is not reaped.
func endWithin(pid int, limit time.Duration) (killed bool) {
	fd, err := pidfd.Open(pid)
	if err != nil || fd < 0 {
		return false
	}
	defer unix.Close(fd)
	for begun := time.Now(); ; {
		left := limit - time.Since(begun)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(left.Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil || n > 0:
			return false
		default:
			return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
		}
	}
}

// machineToRun is what `run` has to know of that. A flavor that starts the pod
// itself makes it known itself.
func (s *Start) machineToRun() (env []string, err error) {
	program := s.program
	if s.register && !s.assembled() && unix.Access("/run/systemd/system", unix.F_OK) == nil {
		if program, err = HelperPath(systemdProgram); err != nil {
			return nil, err
		}
	}
	if program == "" {
		return nil, nil
	}
	if s.machineState.pid > 0 {
		// The child's end is nothing to wait for; if it came, it left a zombie.
		var ws unix.WaitStatus
		if pid, _ := unix.Wait4(s.machineState.pid, &ws, unix.WNOHANG, nil); pid > 0 {
			s.machineState.pid = 0 // forget, should `run` not come to be, has nobody to wait for
			if wait.Status(ws) != 0 {
				s.program = "" // the pod is not known
				return nil, nil
			}
		}
	}
	return []string{contract.EnvMachine + "=" + program}, nil
}
