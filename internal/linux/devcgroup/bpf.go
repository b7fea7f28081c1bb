// SPDX-License-Identifier: Apache-2.0

package devcgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// insn is struct bpf_insn: regs has the destination in its low four bits.
type insn struct {
	code uint8
	regs uint8
	off  int16
	imm  int32
}

// Registers: R1 is the context on entry, R0 the answer on exit.
const (
	r0 = iota
	r1
	kind   // 1 block, 2 character
	access // bits of Access
	major
	minor
)

const (
	load32   = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	move     = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_K
	moveReg  = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	and      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	right    = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	unlessEq = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	exit     = unix.BPF_JMP | unix.BPF_EXIT
)

// program answers 1 for what a rule allows, else 0. Its context is struct
// bpf_cgroup_dev_ctx: type in the low half of the first word, what is to be done
// with the device in its high half, then major and minor.
func program(rules []Rule) []insn {
	p := []insn{
		{code: load32, regs: kind | r1<<4},
		{code: moveReg, regs: access | kind<<4},
		{code: and, regs: kind, imm: 0xffff},
		{code: right, regs: access, imm: 16},
		{code: load32, regs: major | r1<<4, off: 4},
		{code: load32, regs: minor | r1<<4, off: 8},
	}
	for _, r := range rules {
		var tests []insn
		if r.Type != 'a' {
			tests = append(tests, insn{code: unlessEq, regs: kind, imm: map[byte]int32{'b': unix.BPF_DEVCG_DEV_BLOCK, 'c': unix.BPF_DEVCG_DEV_CHAR}[r.Type]})
		}
		if rest := (Read | Write | Mknod) &^ r.Access; rest != 0 {
			tests = append(tests,
				insn{code: moveReg, regs: r1 | access<<4},
				insn{code: and, regs: r1, imm: int32(rest)},
				insn{code: unlessEq, regs: r1})
		}
		if r.Major != Any {
			tests = append(tests, insn{code: unlessEq, regs: major, imm: int32(r.Major)})
		}
		if r.Minor != Any {
			tests = append(tests, insn{code: unlessEq, regs: minor, imm: int32(r.Minor)})
		}
		for i := range tests {
			if tests[i].code == unlessEq {
				tests[i].off = int16(len(tests) - i - 1 + 2)
			}
		}
		p = append(append(p, tests...), insn{code: move, regs: r0, imm: 1}, insn{code: exit})
		if tests == nil {
			return p // the kernel takes no program with a part that is never reached
		}
	}
	return append(p, insn{code: move, regs: r0}, insn{code: exit})
}

// Attach allows the processes of the version 2 cgroup dir, and of those below
// it, these rules and nothing else, beside what programs of cgroups above and
// below deny. It stays as long as the cgroup does.
func Attach(dir string, rules []Rule) error {
	for _, r := range rules {
		if r.Major > math.MaxInt32 || r.Minor > math.MaxInt32 { // the kernel's numbers have 12 and 20 bits
			return fmt.Errorf("cannot confine devices: rule %q has a number that no device has", r)
		}
	}
	err := attach(dir, program(rules))
	switch {
	case errors.Is(err, unix.EPERM):
		return hint.Wrap(fmt.Errorf("cannot confine devices in cgroup %s: %w", dir, err), "it takes CAP_BPF and CAP_SYS_ADMIN of the host to attach a program to a cgroup")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return hint.Wrap(fmt.Errorf("cannot confine devices in cgroup %s: %w", dir, err), "this kernel may be without CONFIG_CGROUP_BPF")
	case err != nil:
		return fmt.Errorf("cannot confine devices in cgroup %s: %w", dir, err)
	}
	return nil
}

func attach(dir string, code []insn) error {
	cgroup, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(cgroup)
	license := [1]byte{} // it calls no function that asks for one
	load := struct {
		kind, count    uint32
		code, license  uint64
		logLevel, size uint32
		log            uint64
		version, flags uint32
		name           [unix.BPF_OBJ_NAME_LEN]byte
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license))),
	}
	copy(load.name[:], "rkt_devices")
	prog, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	runtime.KeepAlive(code)
	runtime.KeepAlive(&license)
	if errno != 0 {
		return os.NewSyscallError("bpf", errno)
	}
	defer unix.Close(int(prog))
	// Multi: what is attached further down, by whoever may, comes on top.
	to := struct{ target, prog, kind, flags uint32 }{uint32(cgroup), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to)); errno != 0 {
		return os.NewSyscallError("bpf", errno)
	}
	return nil
}
