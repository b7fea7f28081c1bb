// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/journal"
)

// openJournal gives each app a stream of its own to the journal, where the caller's
// is one to the journal (JOURNAL_STREAM): its lines are the app's then, not rkt's.
// What else the caller has the app writes to itself.
func (a *Assembly) openJournal(variable string) error {
	which := journal.Streams(variable)
	if which == [2]bool{} {
		return nil
	}
	unit := cgroup.Unit(a.doc.Cgroup)
	for _, app := range a.apps {
		for i, is := range which {
			switch {
			case !is:
			case i == 1 && which[0]:
				app.own[1] = app.own[0] // one stream for both, as the caller has it
			default:
				fd, err := journal.Open(i+1, app.Name, unit)
				if errors.Is(err, journal.ErrNone) {
					continue // a variable that says so and is wrong: the caller's own
				}
				if err != nil {
					return fmt.Errorf("cannot log app %q: %w", app.Name, err)
				}
				app.own[i] = fd
			}
		}
	}
	return nil
}

func (a *app) closeJournal() {
	for i, fd := range a.own {
		if fd > 0 && (i == 0 || fd != a.own[0]) {
			unix.Close(fd)
		}
	}
}
