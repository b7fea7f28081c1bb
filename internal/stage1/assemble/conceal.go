// SPDX-License-Identifier: Apache-2.0

package assemble

import (
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
