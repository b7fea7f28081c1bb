// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Confine prepares the process for reading what strangers wrote: nothing it
// starts can gain privileges, descriptors it was handed go no further, and ^C
// is rkt's to handle, which then ends us.
func Confine() error {
	signal.Ignore(syscall.SIGINT)
	for fd := 3; fd < 3+maxLanes+2; fd++ {
		// Those that are not open are none of our business.
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil && !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("cannot mark descriptor %d close-on-exec: %w", fd, err)
		}
	}
	// For all threads there are; later ones inherit it.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.ENOTSUP { // with cgo, in tests, it is not supported
		return fmt.Errorf("cannot give up gaining privileges: %w", errno)
	}
	return nil
}
