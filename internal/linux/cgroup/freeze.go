// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeLimit is how long processes have to come to a stop: one that waits for a
// disk does not until the disk has answered.
const freezeLimit = 10 * time.Second

// Freeze stops all processes of the version 2 cgroup dir and of those below it
// where they are, and returns when they stand still; what is born there later
// stands still, too (Linux 5.2, Documentation/admin-guide/cgroup-v2.rst,
// "cgroup.freeze"). If they do not in time they are let go again. They can still
// be killed.
func Freeze(dir string) error {
	if err := write(dir+"/cgroup.freeze", "1"); err != nil {
		return fmt.Errorf("cannot freeze cgroup %s: %w", dir, err)
	}
	events, err := unix.Open(dir+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot freeze cgroup %s: %w", dir, err), Thaw(dir))
	}
	defer unix.Close(events)
	for end := time.Now().Add(freezeLimit); time.Now().Before(end); {
		text := make([]byte, 256)
		n, err := unix.Pread(events, text, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("cannot freeze cgroup %s: %w", dir, os.NewSyscallError("pread", err)), Thaw(dir))
		}
		if strings.Contains(string(text[:n]), "frozen 1") {
			return nil
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}, 100) // the kernel tells of changes
	}
	return errors.Join(fmt.Errorf("cannot freeze cgroup %s: its processes did not stop within %v", dir, freezeLimit), Thaw(dir))
}

// Thaw undoes Freeze; a cgroup that is not frozen, or gone, is fine.
func Thaw(dir string) error {
	if err := write(dir+"/cgroup.freeze", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot thaw cgroup %s: %w", dir, err)
	}
	return nil
}

// Frozen reports whether Freeze was asked for.
func Frozen(dir string) bool {
	text, err := os.ReadFile(dir + "/cgroup.freeze")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}
