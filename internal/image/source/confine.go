// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/linux/seccomp"
)

// Confine raises the last wall around this process, which was started as kind:
// the system call filter. What rkt raised before it is package wall's. Nothing
// a stranger wrote may be read before it returns.
func Confine(kind wall.Kind) error {
	row, ok := wall.Of(kind)
	if !ok || row.Foreign {
		return fmt.Errorf("cannot run %q: this program is started by rkt", kind)
	}
	signal.Ignore(syscall.SIGINT) // rkt's to handle, which then ends us
	// Others of the same user must not look into this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot hide memory from others: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot give up gaining privileges: %w", err)
	}
	filter, err := row.Filter(os.Getpid())
	if err != nil {
		return err
	}
	return seccomp.Install(filter, unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
}
