// SPDX-License-Identifier: Apache-2.0

// Package wait waits for child processes and reads their end as a shell does.
package wait

import (
	"os"

	"golang.org/x/sys/unix"
)

// For waits until the child pid has ended, reaps it, and returns its Status.
func For(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		switch err {
		case nil:
			return Status(ws), nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("wait4", err)
		}
	}
}

// Status is the exit status that ws tells of: 128+n for signal n.
func Status(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
