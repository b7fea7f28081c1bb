// SPDX-License-Identifier: Apache-2.0

//go:build failpoint

// Package failpoint names the places where a crash test ends the process.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	open  sync.Once
	trace *os.File // nil swallows what is written
)

const (
	pathName = "RKT_FAILPOINT_TRACE"
	fdName   = "RKT_FAILPOINT_TRACE_FD"
)

// Armed tells whether this build has failpoints.
const Armed = true

// Hit appends name to the file that RKT_FAILPOINT_TRACE names, so that a test
// learns which points a command passes, and kills the whole process with
// SIGKILL if RKT_FAILPOINT is name.
func Hit(name string) {
	open.Do(begin)
	if trace != nil {
		_, _ = trace.WriteString(strings.TrimSpace(name) + "\n")
	}
	if os.Getenv("RKT_FAILPOINT") == name {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		os.Exit(128 + int(syscall.SIGKILL)) // a pid 1 cannot kill itself, but end as abruptly
	}
}

func begin() {
	if fd, err := strconv.Atoi(os.Getenv(fdName)); err == nil {
		syscall.CloseOnExec(fd)
		trace = os.NewFile(uintptr(fd), pathName)
	} else if path := os.Getenv(pathName); path != "" {
		trace, _ = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	}
}

// Trace is for a program that is started where the host's files are out of
// sight: the descriptor it has to inherit, 0 for none, and its environment
// variable for that.
func Trace() (fd int, env string) {
	open.Do(begin)
	if trace == nil {
		return 0, ""
	}
	fd = int(trace.Fd())
	return fd, fdName + "=" + strconv.Itoa(fd)
}
