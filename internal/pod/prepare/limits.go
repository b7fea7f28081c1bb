// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// placeCgroup puts the pod's cgroups below those of this process, so that the
// caller's limits and accounting hold for the pod. They are chosen here, before
// stage1 makes them, so that gc finds them whatever is killed when. Hierarchies
// of version 1 are only looked for if a limit needs a controller.
func placeCgroup(c *contract.Pod, scope func(*contract.Pod) error) error {
	if scope != nil {
		if err := placeCaller(c, scope); err != nil {
			return err
		}
	}
	own, err := cgroup.Own()
	name := "/rkt-" + c.UUID
	c.Cgroup, c.Controllers = "", nil
	if err == nil {
		c.Cgroup = own + name
	} else if !errors.Is(err, cgroup.ErrNone) {
		return err
	}
	needed := controllers(c)
	device, err := placeDevices(c)
	if err != nil {
		return err
	}
	if needed == nil && device == "" {
		return nil
	}
	homes, err := cgroup.Homes(needed)
	if err != nil {
		return fmt.Errorf("cannot limit the pod: %w", err)
	}
	if device != "" {
		homes[devcgroup.Controller] = device
	}
	if dir, ok := homes["io"]; ok && dir == own && homes["memory"] == "" {
		// Who wrote to the page cache is only known to a memory cgroup.
		if m, err := cgroup.Homes([]string{"memory"}); err == nil && m["memory"] == own {
			homes["memory"] = own
		}
	}
	c.Controllers = make(map[string]string, len(homes))
	for controller, dir := range homes {
		c.Controllers[controller] = dir + name
	}
	return checkVersion1(c)
}

// placeCaller moves this process into a scope of the pod's own, if its limits need
// controllers of version 2 and its own cgroup is not to be divided. Where version 1
// has controllers nobody is in the way.
func placeCaller(c *contract.Pod, scope func(*contract.Pod) error) error {
	needed := controllers(c)
	if needed == nil {
		return nil
	}
	own, err := cgroup.Own()
	if errors.Is(err, cgroup.ErrNone) || err == nil && !cgroup.Unified() {
		return nil
	}
	if err != nil {
		return err
	}
	// What is not to be had here may be there.
	if homes, err := cgroup.Homes(needed); err == nil {
		if homes[needed[0]] != own || cgroup.Divisible(own, needed) {
			return nil
		}
	}
	return scope(c)
}

// controllers are those that the pod's limits and its apps' need.
func controllers(c *contract.Pod) []string {
	names := cgroup.Limits(c.Limits).Controllers()
	for i := range c.Apps {
		names = append(names, cgroup.Limits(c.Apps[i].Limits).Controllers()...)
	}
	if names == nil {
		return nil
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkVersion1 refuses what version 1 of the cgroups cannot do.
func checkVersion1(c *contract.Pod) error {
	isV1 := func(controller string) bool {
		dir, ok := c.Controllers[controller]
		return ok && dir != c.Cgroup
	}
	block := func(l *contract.Limits) bool { return l.BlockBandwidth > 0 || l.BlockIOPS > 0 }
	high := c.Limits.MemoryHigh > 0
	blockApp := false
	for i := range c.Apps {
		high = high || c.Apps[i].Limits.MemoryHigh > 0
		blockApp = blockApp || block(&c.Apps[i].Limits)
	}
	if high && isV1("memory") {
		return errors.New("cannot limit the pod: a high mark of memory needs cgroup version 2, and here version 1 has the controller \"memory\"")
	}
	if block(&c.Limits) && blockApp && isV1("io") {
		return hint.Wrap(errors.New("cannot limit the pod: block I/O of a pod and of its apps at once needs cgroup version 2, and here version 1 has the controller \"blkio\""),
			"limit the pod alone, or the apps alone")
	}
	return nil
}

// limits are the pod's own isolators in the document.
func (r *Request) limits(c *contract.Pod, m *pod.Manifest) error {
	m.Isolators = replaced(m.Isolators, r.Isolators)
	is, err := pod.PodIsolate(m.Isolators)
	if err != nil {
		return err
	}
	c.Limits, c.Sysctls, c.NetworkBandwidth = contract.Limits(is.Limits), is.Sysctls, is.NetworkBandwidth
	if err := needLimits(&r.Flavor, &c.Limits); err != nil {
		return err
	}
	if len(c.Sysctls) > 0 {
		return r.Flavor.need(contract.Sysctls, "isolator "+pod.IsolatorSysctl)
	}
	return nil
}

// replaced is a list of isolators in which others stand in for those of the same
// name.
func replaced(list, by []image.Isolator) []image.Isolator {
	list = slices.DeleteFunc(slices.Clone(list), func(i image.Isolator) bool {
		return slices.ContainsFunc(by, func(b image.Isolator) bool { return b.Name == i.Name })
	})
	return append(list, by...)
}

func needLimits(f *Flavor, l *contract.Limits) error {
	for _, n := range []struct {
		asked   bool
		feature contract.Feature
		what    string
	}{
		{l.CPU > 0 || l.CPUShares > 0 || l.CPUSet != "", contract.LimitCPU, "a limit of processors"},
		{l.Memory > 0 || l.MemoryRequest > 0 || l.MemoryHigh > 0, contract.LimitMemory, "a limit of memory"},
		{l.PIDs > 0, contract.LimitPIDs, "a limit of processes"},
		{l.BlockBandwidth > 0 || l.BlockIOPS > 0, contract.LimitBlockIO, "a limit of block I/O"},
	} {
		if n.asked {
			if err := f.need(n.feature, n.what); err != nil {
				return err
			}
		}
	}
	return nil
}

// rlimits are an app's in the document.
func rlimits(list []pod.Rlimit) (to []contract.Rlimit) {
	for _, l := range list {
		to = append(to, contract.Rlimit{Name: l.Name, Resource: slices.Index(pod.RlimitNames(), l.Name), Soft: l.Soft, Hard: l.Hard})
	}
	return to
}

// checkSysctls refuses kernel parameters of namespaces that the pod shares with
// the host: the host's would be set.
func checkSysctls(c *contract.Pod) error {
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		switch space := pod.SysctlNamespace(name); {
		case space == "net" && c.Network == contract.NetworkHost:
			return fmt.Errorf("kernel parameter %q would be the host's: the pod has the host's network", name)
		case space == "ipc" && c.HostIPC:
			return fmt.Errorf("kernel parameter %q would be the host's: the pod has the host's IPC namespace", name)
		case space == "":
			return fmt.Errorf("kernel parameter %q is not the pod's", name)
		}
	}
	return nil
}
