// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/native"
)

// deaf is the descriptor that a process of the host's asking closes when it listens
// to signals. The host may send one as soon as it knows of the process, which would
// die of it. (Blocked ones would not do: Go's runtime unblocks those that end a
// program as it starts.)
const deaf = 3

// hearSignals catches signals from now on, for native to pass on when it can.
func hearSignals() error {
	poddir.Signals()
	if err := unix.Close(deaf); err != nil {
		return fmt.Errorf("cannot hear signals: %w", os.NewSyscallError("close", err))
	}
	return nil
}

// Enter is native's.
func Enter(app string, argv []string) (int, error) {
	if err := hearSignals(); err != nil {
		return 0, err
	}
	return native.Enter(app, argv)
}

// awaitEars gives the process the signals that were sent to it meanwhile when it
// listens: at the end of fd, whose other end is its descriptor deaf.
func (p *process) awaitEars(fd int) {
	for {
		if _, err := unix.Read(fd, make([]byte, 1)); err != unix.EINTR {
			break
		}
	}
	unix.Close(fd)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.listens = true
	for _, sig := range p.early {
		p.signal(sig)
	}
	p.early = nil
}

// signal gives sig to the process, or keeps it until that listens, once as the kernel
// does. The caller holds the server's mutex.
func (p *process) signal(sig unix.Signal) {
	switch {
	case p.pid <= 0:
	case p.listens || sig == unix.SIGKILL:
		_ = unix.Kill(p.pid, sig)
	case !slices.Contains(p.early, sig):
		p.early = append(p.early, sig)
	}
}
