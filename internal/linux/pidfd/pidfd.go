// SPDX-License-Identifier: Apache-2.0

// Package pidfd opens processes as descriptors (pidfd_open(2)) and looks at them.
package pidfd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens a process; -1 if it has ended. The caller closes the descriptor,
// which is closed on exec.
func Open(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return fd, nil
}

// Parent is the pid of a process's parent, 0 if it is gone (proc(5), stat).
func Parent(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in parentheses, may have any character.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// PID is the pid, as the caller's pid namespace counts, of the process behind
// fd; 0 if it has ended or is not to be seen from here (proc(5), fdinfo).
func PID(fd int) int {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return max(n, 0)
		}
	}
	return 0
}
