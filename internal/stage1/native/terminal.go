// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pty"
)

// A Terminal is the caller's, connected to that of an interactive app. The zero
// Terminal is connected to none. Resize may be called by other goroutines.
type Terminal struct {
	master  atomic.Int32 // of the app's pty; 0 without
	restore func()
	drained chan struct{}
}

// Connect carries what is typed to the pty with that master, and what is written
// back. signal is told, by other goroutines, that nobody sees the app any more
// (SIGHUP), and that the pod is to end (SIGTERM). There is one app with a terminal:
// a second, and a negative master, connect nothing.
func (t *Terminal) Connect(master int, signal func(unix.Signal)) {
	if master < 0 || t.drained != nil {
		return
	}
	restore, err := pty.Raw(0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	} else {
		t.restore = restore
	}
	t.master.Store(int32(master))
	t.drained = make(chan struct{})
	go func() {
		if pty.CopyOut(1, master) != nil {
			signal(unix.SIGHUP)
			pty.Discard(master)
		}
		close(t.drained)
	}()
	go func() {
		if pty.CopyIn(master, 0) {
			signal(unix.SIGTERM)
		}
	}()
}

// Resize gives the app's terminal the size of the caller's, if there is one.
func (t *Terminal) Resize() bool {
	master := int(t.master.Load())
	if master > 0 {
		pty.CopySize(master, 0)
	}
	return master > 0
}

// Restore waits a moment for the last output, and sets the caller's terminal back.
// The pod's processes are dead by then, so the pty has ended.
func (t *Terminal) Restore() {
	if t.drained != nil {
		select {
		case <-t.drained:
		case <-time.After(drainLimit):
		}
	}
	if t.restore != nil {
		t.restore()
	}
}
