// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// limitsJSON are limits in force; what is not limited is missing.
type limitsJSON struct {
	resourcesJSON
	NetworkBandwidth int64 `json:"network_bandwidth,omitempty"` // a pod's
}

// resourcesJSON are those of cgroups.
type resourcesJSON struct {
	CPU            int64  `json:"cpu_milli,omitempty"`
	CPUShares      int64  `json:"cpu_shares,omitempty"`
	CPUSet         string `json:"cpu_set,omitempty"`
	Memory         int64  `json:"memory,omitempty"`
	MemoryRequest  int64  `json:"memory_request,omitempty"`
	MemoryHigh     int64  `json:"memory_high,omitempty"`
	Swap           int64  `json:"swap,omitempty"`
	PIDs           int64  `json:"pids,omitempty"`
	BlockBandwidth int64  `json:"block_bandwidth,omitempty"`
	BlockIOPS      int64  `json:"block_iops,omitempty"`
}

func newLimitsJSON(l contract.Limits) *limitsJSON {
	if l == (contract.Limits{}) {
		return nil
	}
	return &limitsJSON{resourcesJSON: resourcesJSON(l)}
}

// podLimitsJSON are the pod's own.
func podLimitsJSON(c *contract.Pod) *limitsJSON {
	j := newLimitsJSON(c.Limits)
	if c.NetworkBandwidth > 0 {
		if j == nil {
			j = new(limitsJSON)
		}
		j.NetworkBandwidth = c.NetworkBandwidth
	}
	return j
}

// words are limits for people, in the flags' words.
func (j *limitsJSON) words() string {
	if j == nil {
		return ""
	}
	var list []string
	add := func(name string, n int64) {
		if n > 0 {
			list = append(list, name+"="+strconv.FormatInt(n, 10))
		}
	}
	if j.CPU > 0 {
		list = append(list, "cpu="+strconv.FormatFloat(float64(j.CPU)/1000, 'f', -1, 64))
	}
	add("cpu-shares", j.CPUShares)
	if j.CPUSet != "" {
		list = append(list, "cpu-set="+j.CPUSet)
	}
	add("memory", j.Memory)
	add("memory-request", j.MemoryRequest)
	add("memory-high", j.MemoryHigh)
	add("swap", j.Swap)
	add("pids", j.PIDs)
	add("block-bandwidth", j.BlockBandwidth)
	add("block-iops", j.BlockIOPS)
	add("network-bandwidth", j.NetworkBandwidth)
	return strings.Join(list, " ")
}

// usageJSON is what a pod or an app uses; what cannot be told is missing.
type usageJSON struct {
	CPU       *int64 `json:"cpu_ns,omitempty"`
	Throttled *int64 `json:"throttled_ns,omitempty"`
	Memory    *int64 `json:"memory,omitempty"`
	// Resident: without a memory cgroup, Memory is the sum of what its processes
	// have resident, in which shared pages count for each.
	Resident     bool     `json:"memory_is_resident,omitempty"`
	MemoryPeak   *int64   `json:"memory_peak,omitempty"`
	PIDs         *int64   `json:"pids,omitempty"`
	Read         *int64   `json:"block_read,omitempty"`
	Write        *int64   `json:"block_write,omitempty"`
	OOMKills     *int64   `json:"oom_kills,omitempty"`
	PressureCPU  *float64 `json:"pressure_cpu,omitempty"`
	PressureMem  *float64 `json:"pressure_memory,omitempty"`
	PressureDisk *float64 `json:"pressure_io,omitempty"`
}

func known[T int64 | float64](n T) *T {
	if n < 0 {
		return nil
	}
	return &n
}

func newUsageJSON(u cgroup.Usage) *usageJSON {
	return &usageJSON{CPU: known(int64(u.CPU)), Throttled: known(int64(u.Throttled)), Memory: known(u.Memory), Resident: u.Resident,
		MemoryPeak: known(u.MemoryPeak), PIDs: known(u.PIDs), Read: known(u.Read), Write: known(u.Write), OOMKills: known(u.OOMKills),
		PressureCPU: known(u.PressureCPU), PressureMem: known(u.PressureMem), PressureDisk: known(u.PressureDisk)}
}

// words are usage for people.
func (j *usageJSON) words() string {
	if j == nil {
		return ""
	}
	var list []string
	add := func(name string, n *int64) {
		if n != nil {
			list = append(list, name+"="+strconv.FormatInt(*n, 10))
		}
	}
	span := func(name string, n *int64) {
		if n != nil {
			list = append(list, name+"="+time.Duration(*n).Round(time.Millisecond).String())
		}
	}
	span("cpu", j.CPU)
	span("throttled", j.Throttled)
	add("memory", j.Memory)
	add("memory-peak", j.MemoryPeak)
	add("pids", j.PIDs)
	add("block-read", j.Read)
	add("block-write", j.Write)
	return strings.Join(list, " ")
}

// podUsage reads what the pod uses.
func podUsage(c *contract.Pod) cgroup.Usage { return cgroup.Read(c.Cgroup, c.Controllers) }

// appUsage reads what one of its apps uses.
func appUsage(c *contract.Pod, app string) cgroup.Usage {
	own := c.AppControllers(app)
	for name, dir := range own {
		if dir == c.Controllers[name] {
			delete(own, name) // the pod's, of all apps
		}
	}
	v2 := c.Cgroup
	if v2 != "" {
		v2 += "/" + app
	}
	return cgroup.Read(v2, own)
}
