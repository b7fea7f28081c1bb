// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is a classic BPF program for seccomp(2). Nil filters nothing.
type Program []unix.SockFilter

// Fprog is the program as seccomp(2) takes it, for callers that make the call
// themselves, such as a child between fork and exec; nil for a nil program.
// It points into p, which must not be changed.
func (p Program) Fprog() *unix.SockFprog {
	if len(p) == 0 {
		return nil
	}
	return &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
}

// Install puts the filter on the calling thread, and so on what it executes
// and forks; a caller locks the goroutine to its thread, and never unlocks it.
// The kernel wants the thread to have no_new_privs or CAP_SYS_ADMIN in its
// user namespace (EACCES otherwise). flags are SECCOMP_FILTER_FLAG_*.
func Install(p Program, flags uintptr) error {
	f := p.Fprog()
	if f == nil {
		return nil
	}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(f)))
	runtime.KeepAlive(p)
	switch e {
	case 0:
		return nil
	case unix.EACCES:
		return fmt.Errorf("cannot install seccomp filter: %w (needs no_new_privs or CAP_SYS_ADMIN)", e)
	}
	return fmt.Errorf("cannot install seccomp filter: %w", e)
}
