// SPDX-License-Identifier: Apache-2.0

//go:build failpoint

// Package failpoint names the places where a crash test ends the process.
package failpoint

import (
	"os"
	"strings"
	"syscall"
)

// Armed tells whether this build has failpoints.
const Armed = true

// Hit appends name to the file that RKT_FAILPOINT_TRACE names, so that a test
// learns which points a command passes, and kills the whole process with
// SIGKILL if RKT_FAILPOINT is name.
func Hit(name string) {
	if trace := os.Getenv("RKT_FAILPOINT_TRACE"); trace != "" {
		if f, err := os.OpenFile(trace, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = f.WriteString(strings.TrimSpace(name) + "\n")
			_ = f.Close()
		}
	}
	if os.Getenv("RKT_FAILPOINT") == name {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}
