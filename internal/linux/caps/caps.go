// SPDX-License-Identifier: Apache-2.0

// Package caps deals with capabilities (capabilities(7)): names and numbers,
// sets, and what a child between fork and exec must call to get from one state
// to another.
//
//	have, known, err := caps.Bounding()                     // this process, this kernel
//	set, missing, err := caps.Choose(app.Capabilities, have, known)
//	plan := caps.Root(set).Plan(have)                       // or caps.User(set, ambient)
//	// in the child, as root:  plan.DropBounding()
//	// set*id, keeping capabilities (PR_SET_KEEPCAPS) if the user is not root
//	// then:                   plan.SetThread(), and execve
//
// Nothing is set up at program start.
package caps

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Set holds capabilities; bit n is capability n.
type Set uint64

// names by number, without "CAP_" (linux/capability.h, up to Linux 7.0).
var names = [...]string{
	unix.CAP_CHOWN: "CHOWN", unix.CAP_DAC_OVERRIDE: "DAC_OVERRIDE", unix.CAP_DAC_READ_SEARCH: "DAC_READ_SEARCH",
	unix.CAP_FOWNER: "FOWNER", unix.CAP_FSETID: "FSETID", unix.CAP_KILL: "KILL", unix.CAP_SETGID: "SETGID",
	unix.CAP_SETUID: "SETUID", unix.CAP_SETPCAP: "SETPCAP", unix.CAP_LINUX_IMMUTABLE: "LINUX_IMMUTABLE",
	unix.CAP_NET_BIND_SERVICE: "NET_BIND_SERVICE", unix.CAP_NET_BROADCAST: "NET_BROADCAST",
	unix.CAP_NET_ADMIN: "NET_ADMIN", unix.CAP_NET_RAW: "NET_RAW", unix.CAP_IPC_LOCK: "IPC_LOCK",
	unix.CAP_IPC_OWNER: "IPC_OWNER", unix.CAP_SYS_MODULE: "SYS_MODULE", unix.CAP_SYS_RAWIO: "SYS_RAWIO",
	unix.CAP_SYS_CHROOT: "SYS_CHROOT", unix.CAP_SYS_PTRACE: "SYS_PTRACE", unix.CAP_SYS_PACCT: "SYS_PACCT",
	unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_SYS_BOOT: "SYS_BOOT", unix.CAP_SYS_NICE: "SYS_NICE",
	unix.CAP_SYS_RESOURCE: "SYS_RESOURCE", unix.CAP_SYS_TIME: "SYS_TIME", unix.CAP_SYS_TTY_CONFIG: "SYS_TTY_CONFIG",
	unix.CAP_MKNOD: "MKNOD", unix.CAP_LEASE: "LEASE", unix.CAP_AUDIT_WRITE: "AUDIT_WRITE",
	unix.CAP_AUDIT_CONTROL: "AUDIT_CONTROL", unix.CAP_SETFCAP: "SETFCAP", unix.CAP_MAC_OVERRIDE: "MAC_OVERRIDE",
	unix.CAP_MAC_ADMIN: "MAC_ADMIN", unix.CAP_SYSLOG: "SYSLOG", unix.CAP_WAKE_ALARM: "WAKE_ALARM",
	unix.CAP_BLOCK_SUSPEND: "BLOCK_SUSPEND", unix.CAP_AUDIT_READ: "AUDIT_READ", unix.CAP_PERFMON: "PERFMON",
	unix.CAP_BPF: "BPF", unix.CAP_CHECKPOINT_RESTORE: "CHECKPOINT_RESTORE",
}

// Number finds a capability by name, in any case, with or without "CAP_".
func Number(name string) (int, bool) {
	if len(name) >= 4 && strings.EqualFold(name[:4], "CAP_") {
		name = name[4:]
	}
	for n, s := range names {
		if strings.EqualFold(s, name) && len(s) == len(name) {
			return n, true
		}
	}
	return 0, false
}

// Name is a capability's name, "CAP_CHOWN" for 0; "CAP_63" if it has none.
func Name(n int) string {
	if n >= 0 && n < len(names) {
		return "CAP_" + names[n]
	}
	return "CAP_" + strconv.Itoa(n)
}

// Of is the set of the given numbers.
func Of(numbers ...int) Set {
	var s Set
	for _, n := range numbers {
		s |= 1 << n
	}
	return s
}

// Parse is the set of the given names. The error names the first that is
// unknown.
func Parse(names []string) (Set, error) {
	var s Set
	for _, name := range names {
		n, ok := Number(name)
		if !ok {
			return 0, fmt.Errorf("cannot use capability %q: no such capability", name)
		}
		s |= 1 << n
	}
	return s, nil
}

// Default is the bounding set of an app that asks for nothing: rkt's 14,
// the same as Docker's.
func Default() Set {
	return 1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID |
		1<<unix.CAP_FOWNER | 1<<unix.CAP_KILL | 1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW |
		1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP |
		1<<unix.CAP_SETFCAP | 1<<unix.CAP_SYS_CHROOT
}

// Remove is Default without the given names: os/linux/capabilities-remove-set.
// Its counterpart, the retain set, is Parse.
func Remove(names []string) (Set, error) {
	s, err := Parse(names)
	return Default().Without(s), err
}

// Has reports whether capability n is in the set.
func (s Set) Has(n int) bool { return n >= 0 && n < 64 && s>>n&1 != 0 }

// Without is what is in s and not in t.
func (s Set) Without(t Set) Set { return s &^ t }

// Len is the number of capabilities in the set.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Numbers are the capabilities in the set, ascending.
func (s Set) Numbers() []int {
	list := make([]int, 0, s.Len())
	for ; s != 0; s &= s - 1 {
		list = append(list, bits.TrailingZeros64(uint64(s)))
	}
	return list
}

// Names are the names in the set, by number.
func (s Set) Names() []string {
	list := make([]string, 0, s.Len())
	for _, n := range s.Numbers() {
		list = append(list, Name(n))
	}
	return list
}

// String is the names with commas between them, "none" for the empty set.
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	return strings.Join(s.Names(), ",")
}

// MissingError is a capability that was asked for and cannot be given.
type MissingError struct {
	Number  int
	unknown bool // to the kernel
}

func (e *MissingError) Error() string {
	if e.unknown {
		return fmt.Sprintf("cannot give capability %s: this kernel does not have it", Name(e.Number))
	}
	return fmt.Sprintf("cannot give capability %s: rkt does not have it itself", Name(e.Number))
}

// Hint is the remedy.
func (e *MissingError) Hint() string {
	if e.unknown {
		return "leave it out, or use a newer kernel"
	}
	return "leave it out, or start rkt with it in its bounding set (capsh --print shows what is there)"
}

// Choose is an app's bounding set: Default for nil names, else what the names
// say, "all" being everything that can be given. have and known are this
// process' bounding set and the kernel's capabilities (see Bounding). No set
// exceeds have: a name outside it is a *MissingError; what Default or "all"
// would have held beside is in missing, for a caller to mention.
func Choose(names []string, have, known Set) (set, missing Set, err error) {
	if names == nil {
		return Default() & have, Default().Without(have), nil
	}
	var explicit Set
	all := false
	for _, name := range names {
		if strings.EqualFold(name, "all") {
			all = true
			continue
		}
		s, err := Parse([]string{name})
		if err != nil {
			return 0, 0, err
		}
		explicit |= s
	}
	if lacking := explicit.Without(have); lacking != 0 {
		n := bits.TrailingZeros64(uint64(lacking))
		return 0, 0, &MissingError{Number: n, unknown: !known.Has(n)}
	}
	if all {
		return have & known, known.Without(have), nil
	}
	return explicit, 0, nil
}
