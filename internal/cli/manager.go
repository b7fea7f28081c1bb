// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/notify"
	"github.com/spf13/pflag"
)

// manager is what a pod has to do with the service manager that started rkt, and
// with the machine's (docs/systemd.md).
type manager struct {
	register bool
	socket   string // NOTIFY_SOCKET; "" if nobody listens
	journal  string // JOURNAL_STREAM
}

func (m *manager) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&m.register, "register", true, "make the pod known to systemd-machined, where it has a unit of its own")
}

// meet takes from the environment what the manager has put there, so that nothing
// that rkt starts finds it, and enters it into the options.
func (m *manager) meet(o *prepare.Options) error {
	o.Scope = launch.Scope
	m.socket, m.journal = os.Getenv("NOTIFY_SOCKET"), os.Getenv("JOURNAL_STREAM")
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	if m.socket == "" {
		return nil
	}
	if !notify.ValidManager(m.socket) {
		return fmt.Errorf("cannot tell the service manager how the pod is: NOTIFY_SOCKET=%q is neither a path nor an abstract socket", m.socket)
	}
	o.Notify = true
	if usec != "" && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		if n, err := strconv.ParseUint(usec, 10, 64); err != nil || n == 0 {
			return fmt.Errorf("cannot run under a watchdog: WATCHDOG_USEC=%q is no time", usec)
		}
		o.Watchdog = usec
	}
	return nil
}

// tell tells the start of what is asked for.
func (m *manager) tell(c *cli, start *launch.Start) {
	start.Journal(m.journal)
	if m.socket != "" {
		start.Notify(m.socket)
	}
	if m.register && !c.global.user { // an ordinary user's pods are not the machine's
		start.Register()
	}
}
