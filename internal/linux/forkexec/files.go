// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFiles is the limit of open files with which this process was started. Go
// raises the soft one for itself and tells nobody what it was, but Exec gives it
// back before it makes the system call, also if that fails as this one does.
// This process keeps what it has.
var openFiles = sync.OnceValues(func() (*unix.Rlimit, error) {
	var raised unix.Rlimit
	limit := new(unix.Rlimit)
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &raised)
	if err == nil {
		_ = syscall.Exec("", nil, nil)
		err = unix.Getrlimit(unix.RLIMIT_NOFILE, limit)
	}
	if err == nil && *limit != raised {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get the limit of open files: %w", err)
	}
	return limit, nil
})

// OpenFiles is the limit of open files with which this process was started.
func OpenFiles() (unix.Rlimit, error) {
	l, err := openFiles()
	if err != nil {
		return unix.Rlimit{}, err
	}
	return *l, nil
}

// LimitFiles appends a call that gives the child the limit of open files with
// which this process was started, and not the one that Go made of it.
func (c *Child) LimitFiles() error {
	limit, err := openFiles()
	if err != nil {
		return err
	}
	c.Keep(limit)
	c.Call("set the limit of open files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(limit)), 0)
	return nil
}
