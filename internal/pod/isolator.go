// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// The isolators rkt knows how to enforce (appc 0.8.11, "Isolators"), beside those
// of resources (limits.go). Every other one is refused by name when a pod is
// prepared.
const (
	IsolatorCapsRetain    = "os/linux/capabilities-retain-set"
	IsolatorCapsRemove    = "os/linux/capabilities-remove-set"
	IsolatorCapsAmbient   = "os/linux/capabilities-ambient-set" // rkt's own; {"set": […]}
	IsolatorNoNewPrivs    = "os/linux/no-new-privileges"
	IsolatorSeccompRetain = "os/linux/seccomp-retain-set"
	IsolatorSeccompRemove = "os/linux/seccomp-remove-set"
	// IsolatorSeccompProfile is rkt's own: a profile as Docker, podman and the OCI's
	// runtimes read it (seccomp.ParseProfile).
	IsolatorSeccompProfile = "os/linux/seccomp-profile"
	IsolatorOOMScoreAdj    = "os/linux/oom-score-adj"
)

// DefaultCapabilities are what an app may have if nobody says otherwise (rkt's
// documentation, "Capabilities Isolators Guide").
func DefaultCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
		"CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// AllCapabilities are those of capabilities(7), in the kernel's order.
func AllCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
		"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
		"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
		"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
		"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
		"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
		"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE",
		"CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
		"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	}
}

// ValidCapability reports whether s is one of AllCapabilities.
func ValidCapability(s string) bool { return slices.Contains(AllCapabilities(), s) }

// Seccomp is a system call filter as isolators and --seccomp say it.
type Seccomp struct {
	Retain bool     // the names are all that is allowed; else all that is not
	Names  []string // system calls and @groups
	Errno  string   // "EPERM" …; "" is the default action
	// Profile, if not nil, stands for all of it: the text of a profile.
	Profile image.Raw
}

// SeccompProfilePrefix is how a value of --seccomp begins that names a profile's
// file.
const SeccompProfilePrefix = "profile="

// ParseSeccomp reads the value of --seccomp:
// mode=retain|remove[,errno=EXXX],NAME|@GROUP[,…].
func ParseSeccomp(s string) (*Seccomp, error) {
	f := new(Seccomp)
	mode := ""
	for i, field := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case ok && key == "mode" && i == 0 && (value == "retain" || value == "remove"):
			mode, f.Retain = value, value == "retain"
		case ok && key == "errno" && f.Errno == "":
			f.Errno = value
		case !ok && field != "":
			f.Names = append(f.Names, field)
		default:
			return nil, fmt.Errorf("cannot parse seccomp filter %q: unexpected %q", s, field)
		}
	}
	if mode == "" {
		return nil, fmt.Errorf("cannot parse seccomp filter %q: want mode=retain or mode=remove first, or profile=FILE", s)
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("cannot parse seccomp filter %q: %w", s, err)
	}
	return f, nil
}

func (f *Seccomp) validate() error {
	if len(f.Names) == 0 {
		return errors.New("no system call is named")
	}
	for _, n := range f.Names {
		if !validSyscallName(n) {
			return fmt.Errorf("%q is not the name of a system call or @group", n)
		}
	}
	if f.Errno != "" && !validErrno(f.Errno) {
		return fmt.Errorf("errno %q is not of the form EXXX", f.Errno)
	}
	return nil
}

func validSyscallName(s string) bool {
	switch s {
	case SeccompAll, SeccompEmpty,
		"@docker/default-blacklist", "@docker/default-whitelist",
		"@rkt/default-blacklist", "@rkt/default-whitelist",
		"@systemd/clock", "@systemd/default-whitelist", "@systemd/mount", "@systemd/network-io",
		"@systemd/obsolete", "@systemd/privileged", "@systemd/process", "@systemd/raw-io":
		return true
	}
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// Groups of system calls with a meaning of their own (appc 0.8.11,
// "os/linux/seccomp-remove-set").
const (
	SeccompAll   = "@appc.io/all"
	SeccompEmpty = "@appc.io/empty"
)

func validErrno(s string) bool {
	return len(s) > 1 && s[0] == 'E' && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// Isolator is the filter as an appc isolator, or as rkt's own.
func (f *Seccomp) Isolator() image.Isolator {
	if f.Profile != nil {
		return image.Isolator{Name: IsolatorSeccompProfile, Value: f.Profile}
	}
	name := IsolatorSeccompRemove
	if f.Retain {
		name = IsolatorSeccompRetain
	}
	return image.Isolator{Name: name, Value: mustJSON(seccompValue{f.Names, f.Errno})}
}

// CapsIsolator is a retain set or remove set of capabilities.
func CapsIsolator(name string, caps []string) image.Isolator {
	return image.Isolator{Name: name, Value: mustJSON(capsValue{nonNil(caps)})}
}

// NoNewPrivsIsolator is os/linux/no-new-privileges.
func NoNewPrivsIsolator(on bool) image.Isolator {
	return image.Isolator{Name: IsolatorNoNewPrivs, Value: mustJSON(on)}
}

// OOMScoreAdjIsolator is os/linux/oom-score-adj.
func OOMScoreAdjIsolator(n int) image.Isolator {
	return image.Isolator{Name: IsolatorOOMScoreAdj, Value: mustJSON(n)}
}

type seccompValue struct {
	Set   []string `json:"set"`
	Errno string   `json:"errno,omitempty"`
}

type capsValue struct {
	Set []string `json:"set"`
}

// mustJSON encodes values that always can be.
func mustJSON(v any) image.Raw {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Isolation is what an app's isolators come to.
type Isolation struct {
	// Capabilities is the bounding set, sorted; nil if nothing was said.
	Capabilities []string
	// Ambient are those that an app of another user than root starts with,
	// sorted: what was asked for by name (docs/isolators.md).
	Ambient     []string
	Devices     *Devices // nil if nothing was said
	Seccomp     *Seccomp // nil if nothing was said
	NoNewPrivs  *bool
	OOMScoreAdj *int
	AppArmor    string // a profile; "" if nothing was said
	SELinux     string // a context; "" if nothing was said
	Limits      Limits
	Rlimits     []Rlimit          // sorted by name
	Sysctls     map[string]string // a pod's
	// NetworkBandwidth is bytes a second, of each interface, each way; 0 limits
	// nothing.
	NetworkBandwidth int64

	cpuRequest int64 // thousandths of a processor
}

// UnknownIsolatorError says that an isolator cannot be enforced.
type UnknownIsolatorError struct{ Name string }

func (e *UnknownIsolatorError) Error() string {
	return fmt.Sprintf("isolator %q cannot be enforced by this version of rkt", e.Name)
}

// Hint says how to run the app all the same.
func (e *UnknownIsolatorError) Hint() string {
	return "to run without it, use --pod-manifest with an `app` section that leaves the isolator out"
}

// Isolate reads isolators. One that rkt does not enforce is an
// *UnknownIsolatorError: an app that asks for a limit is not run without it.
func Isolate(list []image.Isolator) (*Isolation, error) {
	is, err := isolate(list)
	if err == nil && is.Sysctls != nil {
		err = fmt.Errorf("isolator %q belongs to the pod, not to an app", IsolatorSysctl)
	}
	if err != nil {
		return nil, err
	}
	return is, nil
}

func isolate(list []image.Isolator) (*Isolation, error) {
	is := new(Isolation)
	seen := map[string]bool{}
	for _, i := range list {
		if seen[i.Name] {
			return nil, fmt.Errorf("isolator %q is given twice", i.Name)
		}
		seen[i.Name] = true
		err := is.add(i)
		if u := (*UnknownIsolatorError)(nil); errors.As(err, &u) {
			return nil, u
		}
		if err != nil {
			return nil, fmt.Errorf("isolator %q: %w", i.Name, err)
		}
	}
	if seen[IsolatorCapsRetain] && seen[IsolatorCapsRemove] {
		return nil, errors.New("capabilities cannot be both retained and removed")
	}
	if seen[IsolatorSeccompRetain] && seen[IsolatorSeccompRemove] {
		return nil, errors.New("system calls cannot be both retained and removed")
	}
	if seen[IsolatorSeccompProfile] && (seen[IsolatorSeccompRetain] || seen[IsolatorSeccompRemove]) {
		return nil, errors.New("system calls cannot be both in a profile and retained or removed")
	}
	is.shares()
	return is, is.ambient(seen[IsolatorCapsRetain], seen[IsolatorCapsAmbient])
}

// ambient: what is retained by name is meant for the app whoever it runs as,
// unless its ambient set says less. Neither the default set nor what a remove set
// leaves of it was asked for.
func (is *Isolation) ambient(retained, said bool) error {
	bounding := is.Capabilities
	if bounding == nil {
		bounding = DefaultCapabilities()
	}
	for _, c := range is.Ambient {
		if !slices.Contains(bounding, c) {
			return fmt.Errorf("isolator %q: the app may not have %s", IsolatorCapsAmbient, c)
		}
	}
	if retained && !said {
		is.Ambient = slices.Clone(is.Capabilities)
	}
	return nil
}

func (is *Isolation) add(i image.Isolator) error {
	switch i.Name {
	case IsolatorCapsRetain, IsolatorCapsRemove, IsolatorCapsAmbient:
		var v capsValue
		if err := strict(i.Value, &v); err != nil {
			return err
		}
		for _, c := range v.Set {
			if !ValidCapability(c) {
				return fmt.Errorf("%q is not a capability", c)
			}
		}
		set := v.Set
		if i.Name == IsolatorCapsRemove {
			if len(v.Set) == 0 {
				return errors.New("the set is empty")
			}
			set = slices.DeleteFunc(DefaultCapabilities(), func(c string) bool { return slices.Contains(v.Set, c) })
		}
		set = nonNil(slices.Clone(set))
		slices.Sort(set)
		set = slices.Compact(set)
		if i.Name == IsolatorCapsAmbient {
			is.Ambient = set
		} else {
			is.Capabilities = set
		}
	case IsolatorSeccompRetain, IsolatorSeccompRemove:
		var v seccompValue
		if err := strict(i.Value, &v); err != nil {
			return err
		}
		is.Seccomp = &Seccomp{Retain: i.Name == IsolatorSeccompRetain, Names: v.Set, Errno: v.Errno}
		return is.Seccomp.validate()
	case IsolatorSeccompProfile:
		// Whether it is a profile tells who knows system calls.
		if v := bytes.TrimSpace(i.Value); len(v) == 0 || v[0] != '{' {
			return errors.New("its value is not a profile")
		}
		is.Seccomp = &Seccomp{Profile: i.Value}
	case IsolatorDevices:
		return is.addDevices(i.Value)
	case IsolatorNoNewPrivs:
		return strict(i.Value, &is.NoNewPrivs)
	case IsolatorOOMScoreAdj:
		n, err := number(i.Value)
		if err != nil {
			return err
		}
		if n < -1000 || n > 1000 {
			return fmt.Errorf("%d is not from -1000 to 1000", n)
		}
		is.OOMScoreAdj = &n
	default:
		known, err := is.addLabel(i)
		if !known {
			known, err = is.addResource(i)
		}
		if !known {
			return &UnknownIsolatorError{i.Name}
		}
		return err
	}
	return nil
}

// number takes 5 and "5": appc's tools write either.
func number(v image.Raw) (int, error) {
	s := string(bytes.TrimSpace(v))
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number", v)
	}
	return n, nil
}

func strict(v image.Raw, to any) error {
	if len(v) == 0 || string(v) == "null" {
		return errors.New("its value is missing")
	}
	d := json.NewDecoder(bytes.NewReader(v))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("its value is not as specified: %w", err)
	}
	return nil
}
