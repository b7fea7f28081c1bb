// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/notify"
)

// Notify has the service manager at that socket (NOTIFY_SOCKET) told how the pod
// is. It must come before Exec.
func (s *Start) Notify(manager string) { s.relay = &notify.Relay{Manager: manager} }

// listen has the relay know the pod, whose roots are laid.
func (s *Start) listen(doc *contract.Pod) {
	if s.relay == nil {
		return
	}
	s.relay.Starting = len(doc.Apps)
	if s.assembly == nil {
		return
	}
	for i, fd := range s.assembly.Notify() {
		if fd > 0 {
			s.relay.Sockets = append(s.relay.Sockets, notify.Socket{App: doc.Apps[i].Name, FD: fd})
			s.relay.Starting--
		}
	}
}

// appStarted tells the manager, if that makes the pod ready.
func (s *Start) appStarted(app string) {
	s.relay.Started(app)
	s.complain()
}

// complain says what did not reach the manager; the pod goes on.
func (s *Start) complain() {
	if err := s.relay.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "rkt:", err)
	}
}

// relayToRun is what `run` has to know of it.
func (s *Start) relayToRun() (env []string, err error) {
	if s.relay == nil {
		return nil, nil
	}
	for _, socket := range s.relay.Sockets {
		if _, err := unix.FcntlInt(uintptr(socket.FD), unix.F_SETFD, 0); err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
	}
	return []string{contract.EnvNotify + "=" + s.relay.Encode()}, nil
}
