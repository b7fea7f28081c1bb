// SPDX-License-Identifier: Apache-2.0

// Package pidfd looks at the process behind a process descriptor (pidfd_open(2)).
package pidfd

import (
	"os"
	"strconv"
	"strings"
)

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
