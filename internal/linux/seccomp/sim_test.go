// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

func (d *data) word(off uint32) (uint32, error) {
	switch {
	case off == offNumber:
		return d.nr, nil
	case off == offArch:
		return d.arch, nil
	case off >= offArgs && off < offArgs+48 && off%8 == 0:
		return uint32(d.args[(off-offArgs)/8]), nil
	case off >= offArgs && off < offArgs+48 && off%8 == 4:
		return uint32(d.args[(off-offArgs)/8] >> 32), nil
	}
	return 0, fmt.Errorf("load at %d", off)
}

// simulate runs a program as the kernel would: classic BPF with what
// seccomp_check_filter permits of it.
func simulate(p Program, d *data) (Action, error) {
	var a, x uint32
	var mem [16]uint32
	for pc := 0; pc < len(p); pc++ {
		f := p[pc]
		src := f.K
		if f.Code&unix.BPF_X != 0 {
			src = x
		}
		branch := func(ok bool) {
			if ok {
				pc += int(f.Jt)
			} else {
				pc += int(f.Jf)
			}
		}
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			w, err := d.word(f.K)
			if err != nil {
				return 0, fmt.Errorf("instruction %d: %w", pc, err)
			}
			a = w
		case unix.BPF_LD | unix.BPF_IMM:
			a = f.K
		case unix.BPF_LDX | unix.BPF_IMM:
			x = f.K
		case unix.BPF_LD | unix.BPF_MEM:
			a = mem[f.K]
		case unix.BPF_LDX | unix.BPF_MEM:
			x = mem[f.K]
		case unix.BPF_ST:
			mem[f.K] = a
		case unix.BPF_STX:
			mem[f.K] = x
		case unix.BPF_MISC | unix.BPF_TAX:
			x = a
		case unix.BPF_MISC | unix.BPF_TXA:
			a = x
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_ALU | unix.BPF_AND | unix.BPF_X:
			a &= src
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X:
			branch(a == src)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGT | unix.BPF_X:
			branch(a > src)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_X:
			branch(a >= src)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_X:
			branch(a&src != 0)
		case unix.BPF_RET | unix.BPF_K:
			return Action(f.K), nil
		default:
			return 0, fmt.Errorf("instruction %d: code %#x", pc, f.Code)
		}
	}
	return 0, fmt.Errorf("no return")
}

// check is the kernel's check of a program before it runs
// (bpf_check_classic, seccomp_check_filter), for the instructions we write.
func check(p Program) error {
	if len(p) == 0 || len(p) > unix.BPF_MAXINSNS {
		return fmt.Errorf("%d instructions", len(p))
	}
	for i, f := range p {
		left := uint32(len(p) - i - 1)
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if f.K%4 != 0 || f.K >= 64 {
				return fmt.Errorf("instruction %d: load at %d", i, f.K)
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K:
		case unix.BPF_JMP | unix.BPF_JA:
			if f.K >= left {
				return fmt.Errorf("instruction %d: jump out", i)
			}
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			if uint32(f.Jt) >= left || uint32(f.Jf) >= left {
				return fmt.Errorf("instruction %d: jump out", i)
			}
		default:
			return fmt.Errorf("instruction %d: code %#x", i, f.Code)
		}
	}
	if p[len(p)-1].Code != unix.BPF_RET|unix.BPF_K {
		return fmt.Errorf("last instruction is no return")
	}
	return nil
}

func run1(t testing.TB, p Program, a Arch, nr uint32, args ...uint64) Action {
	t.Helper()
	d := data{nr: nr, arch: archs[a].audit}
	copy(d.args[:], args)
	got, err := simulate(p, &d)
	if err != nil {
		t.Fatalf("%s %d: %v", a, nr, err)
	}
	return got
}

func mustCompile(t testing.TB, p *Policy) Program {
	t.Helper()
	prog, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(prog); err != nil {
		t.Fatal(err)
	}
	return prog
}

// evaluate is what a Policy means, said a second time, without haste: the
// oracle for compiled programs.
func evaluate(p *Policy, d *data) Action {
	for _, a := range p.Arches {
		if archs[a].audit != d.arch {
			continue
		}
		if a == AMD64 && d.nr >= x32 && d.nr != ^uint32(0) {
			return Errno(unix.ENOSYS)
		}
		call, known := Call(0), false
		for c := Call(0); c < numCalls; c++ {
			if n, ok := c.Number(a); ok && n == d.nr {
				call, known = c, true
			}
		}
		if !known {
			return p.Unknown
		}
		for _, r := range p.Rules {
			for _, c := range r.Calls {
				if c == call && holds(r.Args, archs[a].narrow, d) {
					return r.Action
				}
			}
		}
		if a == I386 && (call == sysSocketcall || call == sysIpc) {
			for _, r := range p.Rules {
				for _, c := range r.Calls {
					behind := call == sysSocketcall && socketcallNumber(c) != 0 && uint32(d.args[0]) == uint32(socketcallNumber(c)) ||
						call == sysIpc && ipcNumber(c) != 0 && uint32(d.args[0])&0xffff == uint32(ipcNumber(c))
					if behind && (len(r.Args) == 0 || !r.Action.permits()) {
						return r.Action
					}
				}
			}
		}
		return p.Default
	}
	return p.WrongArch
}

func holds(args []Arg, narrow bool, d *data) bool {
	for _, a := range args {
		v := d.args[a.Index]
		if narrow {
			v = uint64(uint32(v))
		}
		if a.Mask != 0 {
			v &= a.Mask
		}
		var ok bool
		switch a.Op {
		case Equal:
			ok = v == a.Value
		case NotEqual:
			ok = v != a.Value
		case Less:
			ok = v < a.Value
		case LessEqual:
			ok = v <= a.Value
		case Greater:
			ok = v > a.Value
		case GreaterEqual:
			ok = v >= a.Value
		}
		if !ok {
			return false
		}
	}
	return true
}
