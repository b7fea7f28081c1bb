// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// conceal hides what the pod's first process has in common with stage0 as long
// as they share memory: nobody in the pod may trace it, whatever its user, and
// its command line, which every process there may read, says nothing of the
// host. reveal undoes it. Meanwhile nothing else may look at os.Args, nor at what
// was parsed from it.
func conceal() (reveal func()) {
	dumpable, _, _ := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // fails for no value it knows
	args := arguments()
	said := string(args)
	clear(args)
	return func() {
		copy(args, said)
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, dumpable, 0, 0, 0)
	}
}

// oomScore remembers this process's oom_score_adj. Whoever sets that of the pod's
// first process, as the pod's root may, sets it of all that share its memory
// (proc_pid_oom_score_adj(5)), and so of stage0. keep sets it back, when they have
// parted.
func oomScore() (keep func(), err error) {
	fd, err := unix.Open("/proc/self/oom_score_adj", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open own OOM score: %w", err)
	}
	before, now := make([]byte, 16), make([]byte, 16)
	n, err := unix.Pread(fd, before, 0)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot read own OOM score: %w", err)
	}
	return func() {
		defer unix.Close(fd)
		if m, err := unix.Pread(fd, now, 0); err == nil && string(now[:m]) != string(before[:n]) {
			_, _ = unix.Pwrite(fd, before[:n], 0)
		}
	}, nil
}

// arguments is the memory in which the kernel left the command line, and in
// which the strings of os.Args lie; nil if they lie elsewhere.
func arguments() []byte {
	if len(os.Args) == 0 || len(os.Args[0]) == 0 {
		return nil
	}
	first := uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))
	next := first
	for _, a := range os.Args {
		if len(a) > 0 && uintptr(unsafe.Pointer(unsafe.StringData(a))) != next {
			return nil
		}
		next += uintptr(len(a)) + 1
	}
	return unsafe.Slice(unsafe.StringData(os.Args[0]), next-first-1)
}
