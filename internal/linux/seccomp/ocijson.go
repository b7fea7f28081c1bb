// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/plainjson"
)

// What a profile may hold: real ones are a tenth of it. The kernel's own bound,
// 4096 instructions, is Compile's to keep.
const (
	MaxProfile        = 1 << 20 // bytes
	maxProfileRules   = 2048
	maxProfileNames   = 16384
	maxProfileChecked = 4096 // calls of rules with conditions, as often as they are compared
)

// ParseProfile reads a profile: Docker's and podman's own form or the
// linux.seccomp object of the OCI's runtime specification. What could change
// its meaning and is not understood is an error that names it. Which profile
// it is the caller says.
func ParseProfile(text []byte) (*Profile, error) {
	if len(text) > MaxProfile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxProfile)
	}
	r := profileReader{Reader: plainjson.NewReader(text)}
	p := r.profile()
	if err := r.End(); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := p.bounds(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Profile) bounds() error {
	names, checked := 0, 0
	for i := range p.rules {
		r := &p.rules[i]
		names += len(r.names)
		checked += len(r.names) * len(r.args)
	}
	switch {
	case len(p.rules) > maxProfileRules:
		return fmt.Errorf("it has more than %d rules", maxProfileRules)
	case names > maxProfileNames:
		return fmt.Errorf("its rules name more than %d calls", maxProfileNames)
	case checked > maxProfileChecked:
		return fmt.Errorf("its rules compare more than %d arguments of calls", maxProfileChecked)
	case len(p.arches) > 0 && len(p.archMap) > 0:
		return errors.New("both architectures and archMap are given")
	}
	return nil
}

// profileReader keeps the first thing that is wrong with what is well-formed.
type profileReader struct {
	*plainjson.Reader
	rule int // counted from 1; 0 outside of rules
	err  error
}

func (r *profileReader) fail(format string, args ...any) {
	if r.err != nil {
		return
	}
	r.err = fmt.Errorf(format, args...)
	if r.rule > 0 {
		r.err = fmt.Errorf("rule %d: %w", r.rule, r.err)
	}
}

func (r *profileReader) unknown(key string) { r.fail("unknown key %q", short(key)) }

func (r *profileReader) profile() *Profile {
	p := new(Profile)
	var action string
	var e profileErrno
	for key := range r.Object() {
		switch key {
		case "defaultAction":
			action = r.String()
		case "defaultErrnoRet":
			e.number = plainjson.Pointer(r.Reader, (*plainjson.Reader).Uint64)
		case "defaultErrno":
			e.name = r.String()
		case "architectures":
			p.arches = r.arches()
		case "archMap":
			p.archMap = plainjson.List(r.Reader, func(*plainjson.Reader) profileArchMap { return r.archMap() })
		case "flags":
			p.flags = r.flags()
		case "syscalls":
			p.rules = plainjson.List(r.Reader, func(*plainjson.Reader) profileRule {
				r.rule++
				return r.readRule()
			})
			r.rule = 0
		case "comment":
		default:
			r.unknown(key)
		}
	}
	if action == "" {
		r.fail("it has no defaultAction")
	}
	p.defaultAction = r.action(action, e)
	return p
}

func (r *profileReader) readRule() (rule profileRule) {
	var action, name string
	var e profileErrno
	for key := range r.Object() {
		switch key {
		case "name":
			name = r.String()
		case "names":
			rule.names = r.Strings()
		case "action":
			action = r.String()
		case "errnoRet":
			e.number = plainjson.Pointer(r.Reader, (*plainjson.Reader).Uint64)
		case "errno":
			e.name = r.String()
		case "args":
			rule.args = plainjson.List(r.Reader, func(*plainjson.Reader) Arg { return r.arg() })
		case "includes":
			rule.includes = r.where()
		case "excludes":
			rule.excludes = r.where()
		case "comment":
		default:
			r.unknown(key)
		}
	}
	switch {
	case name != "" && len(rule.names) > 0:
		r.fail("both name and names are given")
	case name != "":
		rule.names = []string{name}
	case len(rule.names) == 0:
		r.fail("it names no call")
	}
	if slices.Contains(rule.names, "") {
		r.fail("a name is empty")
	}
	if len(rule.args) > maxArgs {
		r.fail("more than %d conditions", maxArgs)
	}
	if action == "" {
		r.fail("it has no action")
	}
	rule.action = r.action(action, e)
	return rule
}

// profileErrno is an error as its number and as its name; both may be given.
type profileErrno struct {
	number *uint64
	name   string
}

// maxErrno is the kernel's: greater ones it cuts.
const maxErrno = 4095

func (r *profileReader) action(name string, e profileErrno) Action {
	if name == "SCMP_ACT_ERRNO" {
		return r.errno(e)
	}
	if e.number != nil || e.name != "" {
		r.fail("an errno beside the action %q, which has none", short(name))
	}
	switch name {
	case "SCMP_ACT_ALLOW":
		return Allow
	case "SCMP_ACT_LOG":
		return Log
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return KillThread
	case "SCMP_ACT_KILL_PROCESS":
		return KillProcess
	case "SCMP_ACT_TRAP":
		return Trap(0)
	case "SCMP_ACT_TRACE":
		r.fail("action SCMP_ACT_TRACE needs a tracer: rkt has none")
	case "SCMP_ACT_NOTIFY":
		r.fail("action SCMP_ACT_NOTIFY needs an agent that answers: rkt has none")
	default:
		r.fail("unknown action %q", short(name))
	}
	return KillProcess
}

func (r *profileReader) errno(e profileErrno) Action {
	number := uint64(unix.EPERM)
	if e.name != "" {
		n, ok := errnoByName(e.name)
		if !ok {
			r.fail("unknown errno %q", short(e.name))
		}
		number = uint64(n)
	}
	if e.number != nil {
		if e.name != "" && number != *e.number {
			r.fail("errno %s is %d, but errnoRet is %d", short(e.name), number, *e.number)
		}
		number = *e.number
	}
	if number > maxErrno {
		r.fail("errno %d is greater than %d", number, maxErrno)
		number = maxErrno
	}
	return Errno(unix.Errno(number))
}

func (r *profileReader) arg() (a Arg) {
	var index, value, two uint64
	var op string
	for key := range r.Object() {
		switch key {
		case "index":
			index = r.Uint64()
		case "value":
			value = r.Uint64()
		case "valueTwo":
			two = r.Uint64()
		case "op":
			op = r.String()
		case "comment":
		default:
			r.unknown(key)
		}
	}
	if index > 5 {
		r.fail("calls have no argument %d: they are 0 to 5", index)
		return a
	}
	a.Index, a.Value = uint8(index), value
	if two != 0 && op != "SCMP_CMP_MASKED_EQ" {
		// libseccomp does not look at it, whatever its author meant.
		r.fail("valueTwo beside %q, which takes one value", short(op))
	}
	switch op {
	case "SCMP_CMP_NE":
		a.Op = NotEqual
	case "SCMP_CMP_LT":
		a.Op = Less
	case "SCMP_CMP_LE":
		a.Op = LessEqual
	case "SCMP_CMP_EQ":
		a.Op = Equal
	case "SCMP_CMP_GE":
		a.Op = GreaterEqual
	case "SCMP_CMP_GT":
		a.Op = Greater
	case "SCMP_CMP_MASKED_EQ":
		a.Mask, a.Value = value, two&value
		if value == 0 {
			a.Op = GreaterEqual // 0: whatever it is
		}
	default:
		r.fail("unknown comparison %q", short(op))
	}
	return a
}

func (r *profileReader) where() (w profileWhere) {
	for key := range r.Object() {
		switch key {
		case "caps":
			for _, name := range r.Strings() {
				w.caps = append(w.caps, r.capability(name))
			}
		case "arches":
			w.arches = r.Strings()
		case "minKernel":
			text := r.String()
			if text == "" {
				continue
			}
			k, rest, ok := parseKernel(text)
			if !ok || rest != "" {
				r.fail("minKernel %q is not of the form 4.8", short(text))
			}
			w.minKernel, w.aboutKernel = k, true
		case "comment":
		default:
			r.unknown(key)
		}
	}
	return w
}

func (r *profileReader) capability(name string) uint8 {
	if !strings.HasPrefix(name, "CAP_") || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		r.fail("%q is not a capability (they are written as CAP_NET_ADMIN)", short(name))
		return noCapability
	}
	n, ok := caps.Number(name)
	if !ok {
		return noCapability // newer than this program, which gives it to nobody
	}
	return uint8(n)
}

func (r *profileReader) flags() (flags uintptr) {
	for _, f := range r.Strings() {
		switch f {
		case "SECCOMP_FILTER_FLAG_LOG":
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC":
			// All threads: what installs the filter has one.
		case "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
			r.fail("flag %s is for an agent that answers: rkt has none", f)
		default:
			r.fail("unknown flag %q", short(f))
		}
	}
	return flags
}

func (r *profileReader) archMap() (m profileArchMap) {
	for key := range r.Object() {
		switch key {
		case "architecture":
			m.arch = r.arch(r.String())
		case "subArchitectures":
			m.subs = r.arches()
		case "comment":
		default:
			r.unknown(key)
		}
	}
	return m
}

func (r *profileReader) arches() (list []profileArch) {
	for _, name := range r.Strings() {
		list = append(list, r.arch(name))
	}
	return list
}

func (r *profileReader) arch(name string) profileArch {
	switch name {
	case "SCMP_ARCH_X86_64":
		return profileArch{AMD64, true}
	case "SCMP_ARCH_X86":
		return profileArch{I386, true}
	case "SCMP_ARCH_AARCH64":
		return profileArch{ARM64, true}
	case "SCMP_ARCH_ARM":
		return profileArch{ARM, true}
	case "SCMP_ARCH_X32", // answered ENOSYS, listed or not
		"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32",
		"SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
		"SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390",
		"SCMP_ARCH_S390X", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB":
	default:
		r.fail("unknown architecture %q", short(name))
	}
	return profileArch{}
}
