// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Filter is what a user asks for: the appc isolators os/linux/seccomp-retain-set
// and -remove-set, or --seccomp. It has the fields of contract.SeccompFilter,
// so that one converts to the other.
type Filter struct {
	Mode  string   // "" for Default, "retain", "remove", "unconfined"
	Names []string // calls and @groups
	Errno string   // "EPERM" …: for denied calls; "" is EPERM for Mode "", else death by SIGSYS
}

// groupNames are the groups a set may hold, for the hint.
const groupNames = "@appc.io/all, @appc.io/empty, @rkt/default-whitelist, @rkt/default-blacklist, " +
	"@docker/default-whitelist, @docker/default-blacklist, @systemd/clock, @systemd/default-whitelist, " +
	"@systemd/mount, @systemd/network-io, @systemd/obsolete, @systemd/privileged, @systemd/process, @systemd/raw-io"

// NameError is an unknown call or group in a Filter.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	if strings.HasPrefix(e.Name, "@") {
		return fmt.Sprintf("unknown system call group %q", e.Name)
	}
	return fmt.Sprintf("unknown system call %q", e.Name)
}

// Hint is the remedy.
func (e *NameError) Hint() string {
	if strings.HasPrefix(e.Name, "@") {
		return "the groups are " + groupNames
	}
	return "calls have the kernel's names, in lower case: see syscalls(2)"
}

// ForApp is the program for an app with the given capabilities in its bounding
// set (bit n: capability n), for the machine's own architectures; nil if the
// app is not to be filtered.
//
// The program lets execve pass. It does not care for what rkt itself calls
// before that: install it last, or, without no_new_privs, before CAP_SYS_ADMIN
// goes, minding that retain sets may deny capset and setuid.
//
// A retain set names all that is allowed; what a program needs to start, wait
// and end (@systemd/default-whitelist) is implied. @rkt/default-whitelist and
// @docker/default-whitelist stand for the Default profile with its conditions;
// a call that is named as well is allowed without conditions. A remove set
// names all that is denied; @rkt/default-blacklist and
// @docker/default-blacklist deny what Default does not allow. An empty remove
// set is Default.
//
// Numbers that are in no table are answered ENOSYS, but pass under a remove
// set. An unknown name is an error with a *NameError in its chain.
//
// The program may be shared: it must not be changed.
func ForApp(f Filter, caps uint64) (Program, error) {
	if f.Mode == "" && f.Errno == "" && len(f.Names) == 0 && caps == usualCaps && usualProgram != nil {
		return usualProgram, nil
	}
	p, err := f.policy(caps)
	if err != nil || p == nil {
		return nil, err
	}
	return Compile(p)
}

// usualCaps is what nearly all apps have: caps.Default, that is rkt's 14. Their
// program is compiled beforehand (usual_GOARCH.go): it saves some 70 µs of
// first touches at each start of an app.
const usualCaps = 1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_KILL | 1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE |
	1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SETFCAP | 1<<unix.CAP_SYS_CHROOT

// Validate tells whether ForApp would accept f.
func (f Filter) Validate() error {
	_, err := f.policy(0)
	return err
}

// policy is nil for an app without a filter.
func (f Filter) policy(caps uint64) (*Policy, error) {
	deny, err := f.deny()
	if err != nil {
		return nil, err
	}
	switch f.Mode {
	case "":
		if len(f.Names) > 0 {
			return nil, errors.New("cannot build seccomp filter: calls named, but neither to retain nor to remove")
		}
		return defaultWith(caps, deny), nil
	case "unconfined":
		if len(f.Names) > 0 || f.Errno != "" {
			return nil, errors.New("cannot build seccomp filter: mode unconfined takes neither calls nor errno")
		}
		return nil, nil
	case "retain":
		return f.retain(caps, deny)
	case "remove":
		return f.remove(caps, deny)
	}
	return nil, fmt.Errorf("cannot build seccomp filter: unknown mode %q", f.Mode)
}

func defaultWith(caps uint64, deny Action) *Policy {
	p := Default(caps, Native()...)
	p.Default = deny
	return &p
}

func (f Filter) deny() (Action, error) {
	if f.Errno == "" {
		if f.Mode == "" {
			return actEPERM, nil
		}
		return KillProcess, nil
	}
	e, ok := errnoByName(f.Errno)
	if !ok {
		return 0, fmt.Errorf("cannot build seccomp filter: unknown errno %q", f.Errno)
	}
	return Errno(e), nil
}

func errnoByName(name string) (unix.Errno, bool) {
	switch name {
	case "EWOULDBLOCK":
		return unix.EAGAIN, true
	case "EDEADLOCK":
		return unix.EDEADLK, true
	case "ENOTSUP":
		return unix.EOPNOTSUPP, true
	}
	for e := unix.Errno(1); e <= unix.EHWPOISON; e++ {
		if unix.ErrnoName(e) == name {
			return e, true
		}
	}
	return 0, false
}

// set is what a Filter's names come to.
type set struct {
	calls                []Call   // named one by one
	groups               [][]Call // systemd's
	all                  bool
	whitelist, blacklist bool // rkt's or Docker's
}

func (f Filter) set() (set, error) {
	var s set
	for _, name := range f.Names {
		if !strings.HasPrefix(name, "@") {
			c, ok := Lookup(name)
			if !ok {
				return s, fmt.Errorf("cannot build seccomp filter: %w", &NameError{name})
			}
			s.calls = append(s.calls, c)
			continue
		}
		switch name {
		case "@appc.io/all":
			s.all = true
			continue
		case "@appc.io/empty":
			continue
		case "@rkt/default-whitelist", "@docker/default-whitelist":
			s.whitelist = true
			continue
		case "@rkt/default-blacklist", "@docker/default-blacklist":
			s.blacklist = true
			continue
		}
		var g [][]Call
		if rest, ok := strings.CutPrefix(name, "@systemd/"); ok {
			g = systemdGroup(rest)
		}
		if g == nil {
			return s, fmt.Errorf("cannot build seccomp filter: %w", &NameError{name})
		}
		s.groups = append(s.groups, g...)
	}
	return s, nil
}

func (f Filter) retain(caps uint64, deny Action) (*Policy, error) {
	s, err := f.set()
	if err != nil {
		return nil, err
	}
	if len(f.Names) == 0 {
		return nil, errors.New("cannot build seccomp filter: no calls to retain (@appc.io/empty means none)")
	}
	if s.all {
		return nil, nil
	}
	p := &Policy{
		Arches:    Native(),
		Default:   deny,
		Unknown:   actENOSYS,
		WrongArch: KillProcess,
		Rules:     append(make([]Rule, 0, 64), Rule{Calls: s.calls, Action: Allow}, Rule{Calls: essential, Action: Allow}),
	}
	for _, g := range s.groups {
		p.Rules = append(p.Rules, Rule{Calls: g, Action: Allow})
	}
	if s.blacklist {
		p.Rules = append(p.Rules, Rule{Calls: denied(caps), Action: Allow})
	}
	if s.whitelist {
		p.Rules = appendDefault(p.Rules, caps)
	}
	return p, nil
}

func (f Filter) remove(caps uint64, deny Action) (*Policy, error) {
	s, err := f.set()
	if err != nil {
		return nil, err
	}
	p := &Policy{
		Arches:    Native(),
		Default:   Allow,
		Unknown:   Allow,
		WrongArch: KillProcess,
		Rules:     append(make([]Rule, 0, 64), Rule{Calls: s.calls, Action: deny}),
	}
	for _, g := range s.groups {
		p.Rules = append(p.Rules, Rule{Calls: g, Action: deny})
	}
	if s.all || s.whitelist || p.removes(sysExecve) {
		return nil, errors.New("cannot build seccomp filter: the calls to remove include execve, without which no app can start")
	}
	if len(s.calls) == 0 && len(s.groups) == 0 && !s.blacklist {
		if f.Errno == "" {
			deny = actEPERM
		}
		return defaultWith(caps, deny), nil
	}
	if s.blacklist {
		// The conditions hold here too: without them the blacklist would let
		// clone make the namespaces that unshare may not.
		p.Rules = appendDefault(p.Rules, caps)
		p.Rules = append(p.Rules, Rule{Calls: denied(caps), Action: deny})
		for _, r := range conditional {
			p.Rules = append(p.Rules, Rule{Calls: r.Calls, Action: deny})
		}
	}
	return p, nil
}

// removes: some rule denies the call.
func (p *Policy) removes(c Call) bool {
	for _, r := range p.Rules {
		for _, d := range r.Calls {
			if c == d {
				return true
			}
		}
	}
	return false
}

// denied are all calls that Default has no rule for.
func denied(caps uint64) []Call {
	var named [numCalls]bool
	for _, r := range appendDefault(make([]Rule, 0, 48), caps) {
		for _, c := range r.Calls {
			named[c] = true
		}
	}
	var calls []Call
	for c, n := range named {
		if !n {
			calls = append(calls, Call(c))
		}
	}
	return calls
}
