// SPDX-License-Identifier: Apache-2.0

// Package sched reads and sets how the kernel schedules a thread (sched(7)).
package sched

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Policy is one of those that have no priority: the real-time ones cannot be
// set here.
type Policy int

// Policies.
const (
	Normal Policy = 0
	// Batch is Normal, but a thread that wakes does not take the processor from
	// the one that runs.
	Batch Policy = 3
)

// Get returns a thread's policy; 0 is the calling thread.
func Get(tid int) (Policy, error) {
	p, _, err := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0)
	if err != 0 {
		return 0, os.NewSyscallError("sched_getscheduler", err)
	}
	return Policy(p), nil
}

// Set gives a thread a policy, which the threads and processes that it makes
// from then on inherit; 0 is the calling thread.
func Set(tid int, p Policy) error {
	priority := int32(0)
	_, _, err := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(tid), uintptr(p), uintptr(unsafe.Pointer(&priority)))
	if err != 0 {
		return os.NewSyscallError("sched_setscheduler", err)
	}
	return nil
}

// Second is the id of the calling process's second thread, the oldest but for
// the first; 0 if there is none, or it cannot be told.
func Second() int {
	fd, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	buf := make([]byte, 256)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		return 0
	}
	// In the order in which they were made.
	_, _, names := unix.ParseDirent(buf[:n], 2, nil)
	if len(names) < 2 {
		return 0
	}
	tid, _ := strconv.Atoi(names[1])
	return tid
}
