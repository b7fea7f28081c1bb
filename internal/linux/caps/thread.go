// SPDX-License-Identifier: Apache-2.0

package caps

import (
	"fmt"
	"math/bits"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// State is all that the kernel keeps for a thread.
type State struct {
	Bounding, Permitted, Effective, Inheritable, Ambient Set
}

// Bounding is the calling thread's bounding set, and the capabilities that the
// running kernel knows (0 to CAP_LAST_CAP). It opens no file.
func Bounding() (have, known Set, err error) {
	for n := range uintptr(64) {
		r, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, n, 0)
		if e == unix.EINVAL && n > 0 {
			break
		}
		if e != 0 {
			return 0, 0, fmt.Errorf("cannot read bounding set: %w", e)
		}
		known |= 1 << n
		if r == 1 {
			have |= 1 << n
		}
	}
	return have, known, nil
}

// Current is the calling thread's state.
func Current() (State, error) {
	var s State
	have, known, err := Bounding()
	if err != nil {
		return s, err
	}
	s.Bounding = have
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return s, fmt.Errorf("cannot read capabilities: %w", err)
	}
	s.Permitted = join(data[0].Permitted, data[1].Permitted)
	s.Effective = join(data[0].Effective, data[1].Effective)
	s.Inheritable = join(data[0].Inheritable, data[1].Inheritable)
	for _, n := range known.Numbers() {
		r, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(n), 0, 0, 0)
		if e != 0 {
			return s, fmt.Errorf("cannot read ambient capabilities: %w", e)
		}
		if r == 1 {
			s.Ambient |= 1 << n
		}
	}
	return s, nil
}

func join(low, high uint32) Set { return Set(low) | Set(high)<<32 }

// Root is the state in which root executes an app: the kernel gives a program
// of root all that is in the bounding set. Nothing is inheritable
// (CVE-2022-24769).
func Root(bounding Set) State {
	return State{Bounding: bounding, Permitted: bounding, Effective: bounding}
}

// User is the state in which anyone else executes an app. Only what is ambient
// reaches the app, or what a file of it carries and the bounding set has.
// Ambient capabilities outside the bounding set are left out.
func User(bounding, ambient Set) State {
	a := ambient & bounding
	return State{Bounding: bounding, Permitted: a, Effective: a, Inheritable: a, Ambient: a}
}

// Plan is a State in the form that system calls take, so that a child between
// fork and exec need not allocate.
type Plan struct {
	Drop   []uintptr            // for prctl(PR_CAPBSET_DROP, n)
	Header *unix.CapUserHeader  // for capset(Header, &Data[0]): the calling thread
	Data   *[2]unix.CapUserData // ‥
	Raise  []uintptr            // for prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n)
}

// Plan is how to get to s from a bounding set (see Bounding).
func (s State) Plan(have Set) *Plan {
	half := func(shift int) unix.CapUserData {
		return unix.CapUserData{
			Effective:   uint32(s.Effective >> shift),
			Permitted:   uint32(s.Permitted >> shift),
			Inheritable: uint32(s.Inheritable >> shift),
		}
	}
	return &Plan{
		Drop:   numbers(have.Without(s.Bounding)),
		Header: &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3},
		Data:   &[2]unix.CapUserData{half(0), half(32)},
		Raise:  numbers(s.Ambient),
	}
}

func numbers(s Set) []uintptr {
	list := make([]uintptr, 0, s.Len())
	for ; s != 0; s &= s - 1 {
		list = append(list, uintptr(bits.TrailingZeros64(uint64(s))))
	}
	return list
}

// DropBounding drops from the calling thread's bounding set; it needs
// CAP_SETPCAP. It may be called between fork and exec.
//
//go:nosplit
//go:norace
func (p *Plan) DropBounding() unix.Errno {
	for _, n := range p.Drop {
		if _, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0); e != 0 {
			return e
		}
	}
	return 0
}

// SetThread sets the calling thread's other sets, after its user id. It may be
// called between fork and exec. What is permitted must be so already: for a
// user other than root, set PR_SET_KEEPCAPS before the user id.
//
//go:nosplit
//go:norace
func (p *Plan) SetThread() unix.Errno {
	if _, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(p.Header)), uintptr(unsafe.Pointer(p.Data)), 0); e != 0 {
		return e
	}
	for _, n := range p.Raise {
		if _, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0, 0); e != 0 {
			return e
		}
	}
	return 0
}

// Limit gives up, in all threads of this process, what it has beyond keep. It
// cannot be undone.
func Limit(keep Set) error {
	now, err := Current()
	if err != nil {
		return err
	}
	held := now.Permitted & keep
	p := State{Permitted: held, Effective: held}.Plan(0)
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(p.Header)), uintptr(unsafe.Pointer(p.Data)), 0)
	runtime.KeepAlive(p)
	if errno != 0 {
		return fmt.Errorf("cannot give up capabilities: %w", errno)
	}
	return nil
}
