// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Action is what the kernel does with a call: a return value of the filter
// (linux/seccomp.h).
type Action uint32

// The actions without data.
const (
	KillThread  Action = unix.SECCOMP_RET_KILL_THREAD
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	Notify      Action = unix.SECCOMP_RET_USER_NOTIF
	Log         Action = unix.SECCOMP_RET_LOG // allowed, and logged
	Allow       Action = unix.SECCOMP_RET_ALLOW
)

// Errno answers the call with an error, without running it. The kernel knows
// numbers up to 4095.
func Errno(e unix.Errno) Action {
	return unix.SECCOMP_RET_ERRNO | Action(e)&unix.SECCOMP_RET_DATA
}

// Trap sends SIGSYS with data in si_errno.
func Trap(data uint16) Action { return unix.SECCOMP_RET_TRAP | Action(data) }

// Trace hands the call to a tracer with data as its message; without a tracer
// the call fails with ENOSYS.
func Trace(data uint16) Action { return unix.SECCOMP_RET_TRACE | Action(data) }

func (a Action) valid() bool {
	data := a & unix.SECCOMP_RET_DATA
	switch a &^ unix.SECCOMP_RET_DATA {
	case unix.SECCOMP_RET_ERRNO:
		return data <= 4095
	case unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_TRACE:
		return true
	case KillThread, KillProcess, Notify, Log, Allow:
		return data == 0
	}
	return false
}

// permits: the kernel runs the call.
func (a Action) permits() bool { return a == Allow || a == Log }

// Op compares an argument with a value, both as unsigned 64-bit numbers.
type Op uint8

// The comparisons: argument Op value.
const (
	Equal Op = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	numOps
)

// Arg is a condition on one argument. What a pointer points to cannot be
// looked at.
type Arg struct {
	Index uint8 // 0 to 5
	Op    Op
	Value uint64
	// Mask, if not 0, is what remains of the argument before it is compared;
	// Value is taken as it is. An int argument on a 64-bit machine needs Low32:
	// the kernel ignores its upper half, so a caller can put anything there.
	Mask uint64
}

// Low32 is the mask for arguments that the kernel takes as 32-bit numbers.
const Low32 = 0xffffffff

// Rule gives calls an action under conditions, all of which must hold.
type Rule struct {
	Calls  []Call
	Args   []Arg
	Action Action
}

// Policy says what happens to every call. For each call the first rule that
// names it and whose conditions hold decides.
//
// On i386, socketcall(2) and ipc(2) are the same calls by another door, and
// what they do is in their first argument. Rules that name socketcall or ipc
// decide first. Then rules for socket, bind, semop and so on hold for the call
// behind the door too; their conditions cannot be looked at there, so that a
// rule with conditions does nothing there if it permits, and holds always if
// it does not.
type Policy struct {
	Arches  []Arch // a call by any other gets WrongArch
	Rules   []Rule
	Default Action // known calls that no rule decides
	// Unknown is for numbers that are not in the tables: calls newer than this
	// program, or none at all.
	Unknown   Action
	WrongArch Action
}

// maxArgs bounds a rule's conditions; there are six arguments, and a range
// takes two conditions.
const maxArgs = 16

func (p *Policy) validate() error {
	if len(p.Arches) == 0 {
		return fmt.Errorf("cannot compile seccomp policy: no architecture")
	}
	for i, a := range p.Arches {
		if a >= numArches {
			return fmt.Errorf("cannot compile seccomp policy: unknown architecture %d", a)
		}
		for _, b := range p.Arches[:i] {
			if a == b {
				return fmt.Errorf("cannot compile seccomp policy: architecture %s twice", a)
			}
		}
	}
	for _, a := range [...]Action{p.Default, p.Unknown, p.WrongArch} {
		if !a.valid() {
			return fmt.Errorf("cannot compile seccomp policy: unknown action %#x", uint32(a))
		}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.Action.valid() {
			return fmt.Errorf("cannot compile seccomp rule %d: unknown action %#x", i, uint32(r.Action))
		}
		if len(r.Args) > maxArgs {
			return fmt.Errorf("cannot compile seccomp rule %d: more than %d conditions", i, maxArgs)
		}
		for _, c := range r.Calls {
			if int(c) >= numCalls {
				return fmt.Errorf("cannot compile seccomp rule %d: unknown call %d", i, c)
			}
		}
		for _, a := range r.Args {
			if a.Index > 5 || a.Op >= numOps {
				return fmt.Errorf("cannot compile seccomp rule %d: condition on argument %d with comparison %d", i, a.Index, a.Op)
			}
		}
	}
	return nil
}
