// SPDX-License-Identifier: Apache-2.0

package poddir

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// EventLog is the pod's events (contract.EventsFile), to be added to. It is closed
// by its process's end.
type EventLog struct{ file *os.File }

// OpenEvents opens those in the pod's directory dir.
func OpenEvents(dir string) (*EventLog, error) {
	f, err := os.OpenFile(dir+"/"+contract.EventsFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot note the pod's events: %w", err)
	}
	return &EventLog{f}, nil
}

// Note appends whole lines by one write, without waiting for the disk: what a power
// loss takes belongs to a pod that is dead then. What cannot be noted is said, and
// the pod goes on.
func (e *EventLog) Note(lines string) {
	if lines == "" {
		return
	}
	if _, err := e.file.WriteString(lines); err != nil {
		fmt.Fprintln(os.Stderr, "stage1: cannot note the pod's events:", err)
	}
}

// Signals catches what the caller sends to a pod (contract.Signals), or to what has
// entered it. Those that it ignores stay ignored: nohup and the like keep their
// meaning. Called again, it returns the same channel: who has to catch them before
// that for which they are can begin.
func Signals() chan os.Signal {
	if signals == nil {
		signals = make(chan os.Signal, 16)
		for _, sig := range contract.Signals {
			if !signal.Ignored(sig) {
				signal.Notify(signals, sig)
			}
		}
	}
	return signals
}

// signals is what Signals returns, which a process's main goroutine calls.
var signals chan os.Signal
