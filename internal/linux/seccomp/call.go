// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"runtime"

	"golang.org/x/sys/unix"
)

//go:generate go run -C ../../.. ./tools/syscalls
//go:generate go test -run TestUsualProgram -update .

// Call is a system call by name, whatever its number is on an architecture.
type Call uint16

// Lookup finds a call by its kernel name ("openat2"). Calls of architectures
// that rkt does not run on are found too; Compile skips them.
func Lookup(name string) (Call, bool) {
	lo, hi := 0, numCalls
	for lo < hi {
		if mid := (lo + hi) / 2; callNames[mid] < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return Call(lo), lo < numCalls && callNames[lo] == name
}

// String is the call's kernel name.
func (c Call) String() string {
	if int(c) < numCalls {
		return callNames[c]
	}
	return "unknown call"
}

// Arch is one calling convention of the kernel.
type Arch uint8

// The architectures with a table. AMD64 never means x32: those calls carry
// AMD64's mark but bit 30 in the number, and are answered ENOSYS, as by a
// kernel built without x32.
const (
	AMD64 Arch = iota
	I386
	ARM64
	ARM
	numArches
)

// archs is what Compile knows of each architecture.
var archs = [numArches]struct {
	name    string
	audit   uint32 // seccomp_data.arch: AUDIT_ARCH_* of linux/audit.h
	narrow  bool   // arguments have 32 bits; the kernel clears the rest
	numbers *[numCalls]uint16
}{
	AMD64: {"amd64", unix.AUDIT_ARCH_X86_64, false, &numbersAMD64},
	I386:  {"i386", unix.AUDIT_ARCH_I386, true, &numbersI386},
	ARM64: {"arm64", unix.AUDIT_ARCH_AARCH64, false, &numbersARM64},
	ARM:   {"arm", unix.AUDIT_ARCH_ARM, true, &numbersARM},
}

// String is the architecture's name in Go's words, but i386.
func (a Arch) String() string {
	if a < numArches {
		return archs[a].name
	}
	return "unknown architecture"
}

// Number is the call's number on an architecture; false if it has no such
// call.
func (c Call) Number(a Arch) (uint32, bool) {
	if int(c) >= numCalls || a >= numArches {
		return 0, false
	}
	n := archs[a].numbers[c]
	if n == none {
		return 0, false
	}
	return unpack(n), true
}

// In the tables, ARM's private calls (0x0f0000 and up) are kept as 0xf000 and
// up.
const (
	none      = 0xffff
	private16 = 0xf000
	private32 = 0x0f0000
)

func unpack(n uint16) uint32 {
	if n >= private16 {
		return private32 | uint32(n&0xfff)
	}
	return uint32(n)
}

// Native are the architectures a process on this machine can call with, its
// own first.
func Native() []Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []Arch{AMD64, I386}
	case "arm64":
		return []Arch{ARM64, ARM}
	case "386":
		return []Arch{I386}
	case "arm":
		return []Arch{ARM}
	}
	return nil
}
