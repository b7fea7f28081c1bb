// SPDX-License-Identifier: Apache-2.0

//go:build failpoint

// Package failpoint names the places where a crash test ends the process.
package failpoint

import (
	"os"
	"strings"
	"sync"
	"syscall"
)

var (
	open  sync.Once
	trace *os.File // nil swallows what is written
)

// Armed tells whether this build has failpoints.
const Armed = true

// Hit appends name to the file that RKT_FAILPOINT_TRACE names, so that a test
// learns which points a command passes, and kills the whole process with
// SIGKILL if RKT_FAILPOINT is name.
func Hit(name string) {
	if path := os.Getenv("RKT_FAILPOINT_TRACE"); path != "" {
		// Opened once: stage1 leaves the host's files behind.
		open.Do(func() { trace, _ = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) })
		_, _ = trace.WriteString(strings.TrimSpace(name) + "\n")
	}
	if os.Getenv("RKT_FAILPOINT") == name {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		os.Exit(128 + int(syscall.SIGKILL)) // a pid 1 cannot kill itself, but end as abruptly
	}
}
