// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Profile is a filter in the form that Docker, podman and the OCI's runtimes
// read (ParseProfile).
//
// It means what libseccomp, asked by those runtimes, makes of it: a rule
// without conditions goes before those of the same call with some, wherever
// it stands; of two without, the first counts. Conditions of a rule must all
// hold, but if two of them look at the same argument each is a rule of its
// own. A rule whose action is the default's says nothing. Where conditions of
// rules with different actions hold at once, libseccomp's answer depends on
// how it sorts them; here the strictest action counts, as the kernel has it of
// several filters, and of two errors the first.
type Profile struct {
	defaultAction Action
	arches        []profileArch
	archMap       []profileArchMap
	flags         uintptr
	rules         []profileRule
}

type profileArchMap struct {
	arch profileArch
	subs []profileArch
}

// profileArch is an architecture with a table, or another one that exists.
type profileArch struct {
	arch  Arch
	known bool // there is a table
}

type profileRule struct {
	names              []string
	action             Action
	args               []Arg
	includes, excludes profileWhere
}

// profileWhere is when a rule is there, or not; the zero value is not said.
type profileWhere struct {
	caps        []uint8 // noCapability for one that this program does not know
	arches      []string
	minKernel   Kernel
	aboutKernel bool
}

// noCapability is a capability that no app has.
const noCapability = 0xff

// Kernel is a kernel's release, 4.8 for instance.
type Kernel [2]uint32

// ThisKernel is the running one's.
func ThisKernel() (Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Kernel{}, fmt.Errorf("cannot tell the kernel's release: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	k, _, ok := parseKernel(release)
	if !ok {
		return Kernel{}, fmt.Errorf("cannot tell the kernel's release from %q", release)
	}
	return k, nil
}

// parseKernel takes 6.1 off the front.
func parseKernel(s string) (k Kernel, rest string, ok bool) {
	for i := range k {
		if i > 0 {
			if s == "" || s[0] != '.' {
				return k, s, false
			}
			s = s[1:]
		}
		digits := 0
		for ; digits < len(s) && digits < 6 && s[digits] >= '0' && s[digits] <= '9'; digits++ {
			k[i] = k[i]*10 + uint32(s[digits]-'0')
		}
		if digits == 0 {
			return k, s, false
		}
		s = s[digits:]
	}
	return k, s, true
}

// Machine is what a Profile's rules may depend on.
type Machine struct {
	Caps   uint64 // an app's bounding set: bit n is capability n
	Kernel Kernel
	Arches []Arch // that a process can call with, its own first
}

// ForProfile is the program for an app under a profile, and the flags to
// install it with (SECCOMP_FILTER_FLAG_*); caps is the app's bounding set, as
// for ForApp. Calls may come by the machine's own architecture and by those
// others of it that the profile lists; any other call ends the process.
// Numbers that are in no table are answered ENOSYS, unless the default action
// lets calls pass.
func ForProfile(p *Profile, caps uint64) (Program, uintptr, error) {
	k, err := ThisKernel()
	if err != nil {
		return nil, 0, err
	}
	prog, err := p.compile(&Machine{caps, k, Native()})
	return prog, p.flags, err
}

func (p *Profile) compile(m *Machine) (Program, error) {
	policy, err := p.policy(m)
	if err != nil {
		return nil, fmt.Errorf("cannot use seccomp profile: %w", err)
	}
	prog, err := Compile(policy)
	if err != nil {
		return nil, fmt.Errorf("cannot use seccomp profile: %w", err)
	}
	return prog, nil
}

func (p *Profile) policy(m *Machine) (*Policy, error) {
	if len(m.Arches) == 0 {
		return nil, errors.New("no table of this machine's system calls")
	}
	out := &Policy{
		Arches:    p.callers(m),
		Default:   p.defaultAction,
		Unknown:   actENOSYS,
		WrongArch: KillProcess,
	}
	if p.defaultAction.permits() {
		out.Unknown = p.defaultAction
	}
	var conditional []Rule
	for i := range p.rules {
		r := &p.rules[i]
		if r.action == p.defaultAction || !r.applies(m) {
			continue
		}
		calls, err := r.calls(p.defaultAction)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		switch {
		case len(r.args) == 0:
			out.Rules = append(out.Rules, Rule{calls, nil, r.action})
		case sameArgument(r.args):
			for j := range r.args {
				conditional = append(conditional, Rule{calls, r.args[j : j+1], r.action})
			}
		default:
			conditional = append(conditional, Rule{calls, r.args, r.action})
		}
	}
	slices.SortStableFunc(conditional, func(a, b Rule) int { return cmp.Compare(a.Action.leniency(), b.Action.leniency()) })
	out.Rules = append(out.Rules, conditional...)
	if !out.mayPermit(sysExecve) {
		return nil, errors.New("it does not allow execve, without which no app can start")
	}
	return out, nil
}

// callers are the machine's own architecture and what of its others is listed.
func (p *Profile) callers(m *Machine) []Arch {
	own := m.Arches[0]
	listed := p.arches
	for _, a := range p.archMap {
		if a.arch == (profileArch{own, true}) {
			listed = a.subs
			break
		}
	}
	list := []Arch{own}
	for _, a := range m.Arches[1:] {
		if slices.Contains(listed, profileArch{a, true}) {
			list = append(list, a)
		}
	}
	return list
}

func (r *profileRule) applies(m *Machine) bool {
	has := func(c uint8) bool { return c != noCapability && m.Caps>>c&1 != 0 }
	in, ex := &r.includes, &r.excludes
	arch := profileArchName(m.Arches[0])
	lacks := func(c uint8) bool { return !has(c) }
	switch {
	case slices.ContainsFunc(in.caps, lacks),
		len(in.arches) > 0 && !slices.Contains(in.arches, arch),
		in.aboutKernel && slices.Compare(m.Kernel[:], in.minKernel[:]) < 0,
		slices.ContainsFunc(ex.caps, has),
		slices.Contains(ex.arches, arch),
		ex.aboutKernel && slices.Compare(m.Kernel[:], ex.minKernel[:]) >= 0:
		return false
	}
	return true
}

// calls are the rule's that are known. A name that nobody knows is no call by
// any table here, so that the default answers it: that will do if it denies or
// if the rule permits, but a rule that denies would silently not hold.
func (r *profileRule) calls(byDefault Action) ([]Call, error) {
	calls := make([]Call, 0, len(r.names))
	for _, name := range r.names {
		c, ok := Lookup(name)
		if ok {
			calls = append(calls, c)
		} else if byDefault.permits() && !r.action.permits() {
			return nil, fmt.Errorf("it is to deny a call that the default allows: %w", &NameError{short(name)})
		}
	}
	return calls, nil
}

// leniency orders actions as the kernel does that has several filters: the
// least counts.
func (a Action) leniency() int32 { return int32(a &^ unix.SECCOMP_RET_DATA) }

// sameArgument tells whether two conditions look at one argument.
func sameArgument(args []Arg) bool {
	var seen uint8
	for _, a := range args {
		if seen>>a.Index&1 != 0 {
			return true
		}
		seen |= 1 << a.Index
	}
	return false
}

// mayPermit: there are arguments with which the call runs.
func (p *Policy) mayPermit(call Call) bool {
	for i := range p.Rules {
		r := &p.Rules[i]
		if slices.Contains(r.Calls, call) && (len(r.Args) == 0 || r.Action.permits()) {
			return r.Action.permits()
		}
	}
	return p.Default.permits()
}

// profileArchName is how includes and excludes say an architecture.
func profileArchName(a Arch) string {
	if a == I386 {
		return "x86"
	}
	return a.String()
}

// short keeps an error in a line.
func short(name string) string {
	const most = 64
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}
