// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Isolators of resources: appc 0.8.11's, and three that it has no word for.
const (
	IsolatorCPU              = "resource/cpu"
	IsolatorMemory           = "resource/memory"
	IsolatorBlockBandwidth   = "resource/block-bandwidth"
	IsolatorBlockIOPS        = "resource/block-iops"
	IsolatorNetworkBandwidth = "resource/network-bandwidth"
	IsolatorCPUShares        = "os/linux/cpu-shares"
	IsolatorSysctl           = "os/unix/sysctl"

	IsolatorPIDs    = "resource/pids"    // {"limit": N}
	IsolatorRlimits = "os/unix/rlimits"  // {"NAME": "SOFT:HARD"}
	IsolatorCPUSet  = "os/linux/cpu-set" // "0-2,7"
)

// MinNetworkBandwidth is the least limit of a network, in bytes a second.
const MinNetworkBandwidth = 1024

// MinMemory is the least limit of memory, in bytes, as rkt always had it.
const MinMemory = 4096

// Limits are what an app or a pod may use. A field left at zero limits nothing.
type Limits struct {
	CPU            int64  // thousandths of a processor
	CPUShares      int64  // weight when processors are short; 1024 is usual
	CPUSet         string // processors that may be used
	Memory         int64  // bytes
	MemoryRequest  int64
	MemoryHigh     int64
	Swap           int64 // bytes beside Memory
	PIDs           int64
	BlockBandwidth int64 // bytes a second, of each device, each way
	BlockIOPS      int64
}

// Unlimited is a limit of setrlimit(2) that is none.
const Unlimited = ^uint64(0)

// Rlimit is one of setrlimit(2)'s.
type Rlimit struct {
	Name       string // "nofile"
	Soft, Hard uint64 // Unlimited for none
}

// RlimitNames are the resources of getrlimit(2), in the kernel's order: an
// index is the kernel's number.
func RlimitNames() []string {
	return []string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}
}

// ParseRlimit reads NAME=SOFT[:HARD]; a number or "unlimited". Without HARD that
// is SOFT.
func ParseRlimit(s string) (Rlimit, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return Rlimit{}, fmt.Errorf("%q is not NAME=SOFT[:HARD]", s)
	}
	return rlimit(name, value)
}

func rlimit(name, value string) (Rlimit, error) {
	r := Rlimit{Name: strings.TrimPrefix(strings.ToLower(name), "rlimit_")}
	if !slices.Contains(RlimitNames(), r.Name) {
		return Rlimit{}, fmt.Errorf("%q is not a limit of getrlimit(2); they are %s", name, strings.Join(RlimitNames(), ", "))
	}
	soft, hard, both := strings.Cut(value, ":")
	if !both {
		hard = soft
	}
	for _, p := range []struct {
		text string
		to   *uint64
	}{{soft, &r.Soft}, {hard, &r.Hard}} {
		if p.text == "unlimited" || p.text == "infinity" {
			*p.to = Unlimited
			continue
		}
		n, err := strconv.ParseUint(p.text, 10, 64)
		if err != nil {
			return Rlimit{}, fmt.Errorf("%q is neither a number nor unlimited", p.text)
		}
		*p.to = n
	}
	if r.Soft > r.Hard {
		return Rlimit{}, fmt.Errorf("the soft limit %s of %s is above the hard one, %s", soft, r.Name, hard)
	}
	return r, nil
}

// String is NAME=SOFT:HARD.
func (r Rlimit) String() string { return r.Name + "=" + r.value() }

func (r Rlimit) value() string {
	word := func(n uint64) string {
		if n == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	return word(r.Soft) + ":" + word(r.Hard)
}

// RlimitsIsolator is a list of limits, the last of a name counting.
func RlimitsIsolator(list []Rlimit) image.Isolator {
	m := map[string]string{}
	for _, r := range list {
		m[r.Name] = r.value()
	}
	return image.Isolator{Name: IsolatorRlimits, Value: mustJSON(m)}
}

// SysctlIsolator is os/unix/sysctl.
func SysctlIsolator(m map[string]string) image.Isolator {
	return image.Isolator{Name: IsolatorSysctl, Value: mustJSON(m)}
}

// ParseSysctl reads NAME=VALUE of a pod's own kernel parameters: those of the
// IPC and network namespaces. Others are the whole machine's, and refused.
func ParseSysctl(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("%q is not NAME=VALUE", s)
	}
	return name, value, ValidateSysctl(name, value)
}

// SysctlNamespace is the kind of namespace that the parameter belongs to, "ipc"
// or "net"; "" if it is the machine's.
func SysctlNamespace(name string) string {
	switch name {
	case "kernel.sem", "kernel.auto_msgmni":
		return "ipc"
	}
	switch {
	case strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), strings.HasPrefix(name, "fs.mqueue."):
		return "ipc"
	case strings.HasPrefix(name, "net."):
		return "net"
	}
	return ""
}

// ValidateSysctl checks a parameter as sysctl(8) writes it: words with dots
// between, in which a slash stands for a dot ("net.ipv4.conf.eth0/1.forwarding").
func ValidateSysctl(name, value string) error {
	for _, word := range strings.Split(name, ".") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/@") != "" ||
			strings.Trim(word, "/") == "" {
			return fmt.Errorf("%q is not the name of a kernel parameter", name)
		}
	}
	if strings.ContainsAny(value, "\x00\n") || len(value) > 4096 {
		return fmt.Errorf("the value of %q is not one line", name)
	}
	if SysctlNamespace(name) == "" {
		return fmt.Errorf("kernel parameter %q is the whole machine's, not the pod's: only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.* can be set", name)
	}
	return nil
}

// limitValue is the value of a resource isolator. What appc does not have:
// high and swap of memory.
type limitValue struct {
	Default *bool     `json:"default,omitempty"`
	Request *quantity `json:"request,omitempty"`
	Limit   *quantity `json:"limit,omitempty"`
	High    *quantity `json:"high,omitempty"`
	Swap    *quantity `json:"swap,omitempty"`
}

// ResourceIsolator makes a resource isolator of what a flag says: LIMIT, or a
// list of KEY=VALUE, the keys those of the isolator's value.
func ResourceIsolator(name, text string) (image.Isolator, error) {
	v := limitValue{}
	for _, field := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			key, value = "limit", field
		}
		to := map[string]**quantity{"limit": &v.Limit, "request": &v.Request, "high": &v.High, "swap": &v.Swap}[key]
		if to == nil || *to != nil {
			return image.Isolator{}, fmt.Errorf("unexpected %q", field)
		}
		q, err := parseQuantity(value)
		if err != nil {
			return image.Isolator{}, err
		}
		*to = &q
	}
	if ofDevices(name) {
		yes := true
		v.Default = &yes
	}
	i := image.Isolator{Name: name, Value: mustJSON(v)}
	return i, new(Isolation).add(i)
}

// CPUSharesIsolator is os/linux/cpu-shares.
func CPUSharesIsolator(n int64) image.Isolator {
	return image.Isolator{Name: IsolatorCPUShares, Value: mustJSON(n)}
}

// CPUSetIsolator is a list of processors, "0-2,7".
func CPUSetIsolator(list string) image.Isolator {
	return image.Isolator{Name: IsolatorCPUSet, Value: mustJSON(list)}
}

// MaxPIDs is the kernel's bound of process ids.
const MaxPIDs = 1 << 22

// addResource reads an isolator of resources; known is false for others.
func (is *Isolation) addResource(i image.Isolator) (known bool, err error) {
	l := &is.Limits
	switch i.Name {
	case IsolatorCPU, IsolatorMemory, IsolatorPIDs, IsolatorBlockBandwidth, IsolatorBlockIOPS, IsolatorNetworkBandwidth:
		var v limitValue
		if err := strict(i.Value, &v); err != nil {
			return true, err
		}
		return true, is.addLimit(i.Name, &v)
	case IsolatorCPUShares:
		n, err := number(i.Value)
		if err == nil && (n < 2 || n > 1<<18) {
			err = fmt.Errorf("%d is not from 2 to %d", n, 1<<18)
		}
		l.CPUShares = int64(n)
		return true, err
	case IsolatorCPUSet:
		if err := strict(i.Value, &l.CPUSet); err != nil {
			return true, err
		}
		return true, validateCPUSet(l.CPUSet)
	case IsolatorRlimits:
		m := map[string]string{}
		if err := strict(i.Value, &m); err != nil {
			return true, err
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			r, err := rlimit(name, m[name])
			if err != nil {
				return true, err
			}
			if slices.ContainsFunc(is.Rlimits, func(o Rlimit) bool { return o.Name == r.Name }) {
				return true, fmt.Errorf("%q is given twice", r.Name)
			}
			is.Rlimits = append(is.Rlimits, r)
		}
		return true, nil
	case IsolatorSysctl:
		if err := strict(i.Value, &is.Sysctls); err != nil {
			return true, err
		}
		for _, name := range slices.Sorted(maps.Keys(is.Sysctls)) {
			if err := ValidateSysctl(name, is.Sysctls[name]); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

// ofDevices tells whether an isolator is of all devices of its kind: disks, or
// network interfaces.
func ofDevices(name string) bool {
	return name == IsolatorBlockBandwidth || name == IsolatorBlockIOPS || name == IsolatorNetworkBandwidth
}

func (is *Isolation) addLimit(name string, v *limitValue) error {
	l := &is.Limits
	block := ofDevices(name)
	switch {
	case block && (v.Default == nil || !*v.Default):
		return errors.New("default must be true: a limit of single devices is not specified")
	case !block && v.Default != nil && *v.Default:
		return errors.New("default must be false")
	case v.Limit == nil && (v.Request == nil || block):
		return errors.New("it has no limit")
	case name != IsolatorMemory && (v.High != nil || v.Swap != nil):
		return errors.New("only memory has high and swap")
	case (block || name == IsolatorPIDs) && v.Request != nil:
		return errors.New("it takes no request")
	case v.Swap != nil && v.Limit == nil:
		return errors.New("swap needs a limit beside it")
	}
	for _, f := range []struct {
		what  string
		q     *quantity
		to    *int64
		least int64
		most  int64
	}{
		{"limit", v.Limit, map[string]*int64{IsolatorCPU: &l.CPU, IsolatorMemory: &l.Memory, IsolatorPIDs: &l.PIDs,
			IsolatorBlockBandwidth: &l.BlockBandwidth, IsolatorBlockIOPS: &l.BlockIOPS, IsolatorNetworkBandwidth: &is.NetworkBandwidth}[name], 1, 1 << 62},
		{"request", v.Request, map[string]*int64{IsolatorCPU: &is.cpuRequest, IsolatorMemory: &l.MemoryRequest}[name], 1, 1 << 62},
		{"high", v.High, &l.MemoryHigh, 1, 1 << 62},
		{"swap", v.Swap, &l.Swap, 0, 1 << 62},
	} {
		if f.q == nil {
			continue
		}
		switch {
		case name == IsolatorCPU:
			f.most = 1 << 23 // 8,388 processors
		case name == IsolatorMemory && f.what == "limit":
			f.least = MinMemory
		case name == IsolatorPIDs:
			f.most = MaxPIDs
		case name == IsolatorNetworkBandwidth:
			f.least, f.most = MinNetworkBandwidth, 1<<40
		case block:
			f.least = 2 // the kernel's own, in version 2 of the cgroups
		}
		n, err := f.q.whole()
		if name == IsolatorCPU {
			n, err = f.q.milli()
		}
		if err == nil && (n < f.least || n > f.most) {
			err = errors.New("out of range")
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", f.what, *f.q, err)
		}
		*f.to = n
	}
	if l.Memory > 0 && l.MemoryRequest > l.Memory {
		return errors.New("the request is above the limit")
	}
	if l.CPU > 0 && is.cpuRequest > l.CPU {
		return errors.New("the request is above the limit")
	}
	return nil
}

// shares is what a request of processors weighs, unless shares are given: in
// proportion, 1024 for one, as everywhere.
func (is *Isolation) shares() {
	if is.cpuRequest > 0 && is.Limits.CPUShares == 0 {
		is.Limits.CPUShares = max(2, min(1<<18, is.cpuRequest*1024/1000))
	}
}

func validateCPUSet(s string) error {
	for _, part := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || a > b {
			return fmt.Errorf("%q is not a list of processors such as 0-2,7", s)
		}
	}
	return nil
}

// PodIsolate reads a pod's own isolators: resources and kernel parameters. Those
// of an app are refused, as is what Isolate refuses.
func PodIsolate(list []image.Isolator) (*Isolation, error) {
	for _, i := range list {
		switch i.Name {
		case IsolatorCapsRetain, IsolatorCapsRemove, IsolatorCapsAmbient, IsolatorNoNewPrivs, IsolatorSeccompRetain, IsolatorSeccompRemove, IsolatorSeccompProfile,
			IsolatorOOMScoreAdj, IsolatorRlimits, IsolatorDevices,
			IsolatorAppArmor, IsolatorSELinux:
			return nil, fmt.Errorf("isolator %q belongs to an app, not to the pod", i.Name)
		}
	}
	return isolate(list)
}
