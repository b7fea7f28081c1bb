// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// Limits are what a cgroup may use. A field left at zero limits nothing.
type Limits struct {
	CPU            int64  // thousandths of a processor
	CPUShares      int64  // weight against others when processors are short; 1024 is usual
	CPUSet         string // processors that may be used, "0-2,7"
	Memory         int64  // bytes; more is answered by the OOM killer
	MemoryRequest  int64  // bytes that are reclaimed last
	MemoryHigh     int64  // bytes from which on the kernel reclaims hard and slows down
	Swap           int64  // bytes of swap beside Memory
	PIDs           int64  // processes and threads
	BlockBandwidth int64  // bytes a second, of each block device, of reading and of writing
	BlockIOPS      int64  // operations a second, likewise
}

// Controllers names those that the limits need, as version 2 does.
func (l Limits) Controllers() []string {
	var names []string
	for _, c := range []struct {
		name string
		used bool
	}{
		{"cpu", l.CPU > 0 || l.CPUShares > 0},
		{"cpuset", l.CPUSet != ""},
		{"io", l.BlockBandwidth > 0 || l.BlockIOPS > 0},
		{"memory", l.Memory > 0 || l.MemoryRequest > 0 || l.MemoryHigh > 0},
		{"pids", l.PIDs > 0},
	} {
		if c.used {
			names = append(names, c.name)
		}
	}
	return names
}

// A Setting is a value for one of a cgroup's files.
type Setting struct {
	File, Value string
	// optional: a kernel may be built without the file; nothing is lost then.
	optional bool
}

// Settings are how a controller is told the limits. devices are block devices
// as MAJOR:MINOR. group: processes of the cgroup die together if the OOM killer
// takes one; version 1 cannot do that.
func (l Limits) Settings(controller string, v2, group bool, devices []string) ([]Setting, error) {
	if v2 {
		return l.settings2(controller, group, devices), nil
	}
	return l.settings1(controller, devices)
}

func (l Limits) settings2(controller string, group bool, devices []string) (list []Setting) {
	set := func(file string, n int64) {
		if n > 0 {
			list = append(list, Setting{File: file, Value: number(n)})
		}
	}
	switch controller {
	case "cpu":
		if l.CPU > 0 {
			quota, period := bandwidth(l.CPU)
			list = append(list, Setting{File: "cpu.max", Value: number(quota) + " " + number(period)})
		}
		if l.CPUShares > 0 {
			set("cpu.weight", Weight(l.CPUShares))
		}
	case "cpuset":
		if l.CPUSet != "" {
			list = append(list, Setting{File: "cpuset.cpus", Value: l.CPUSet})
		}
	case "memory":
		set("memory.low", l.MemoryRequest)
		set("memory.high", l.MemoryHigh)
		set("memory.max", l.Memory)
		if l.Memory > 0 {
			list = append(list, Setting{File: "memory.swap.max", Value: number(l.Swap), optional: l.Swap == 0})
		}
		if group {
			list = append(list, Setting{File: "memory.oom.group", Value: "1", optional: true}) // since Linux 4.19
		}
	case "pids":
		set("pids.max", l.PIDs)
	case "io":
		for _, d := range devices {
			value := d
			if n := number(l.BlockBandwidth); l.BlockBandwidth > 0 {
				value += " rbps=" + n + " wbps=" + n
			}
			if n := number(l.BlockIOPS); l.BlockIOPS > 0 {
				value += " riops=" + n + " wiops=" + n
			}
			if value != d {
				list = append(list, Setting{File: "io.max", Value: value})
			}
		}
	}
	return list
}

func (l Limits) settings1(controller string, devices []string) (list []Setting, err error) {
	set := func(file string, n int64) {
		if n > 0 {
			list = append(list, Setting{File: file, Value: number(n)})
		}
	}
	switch controller {
	case "cpu":
		if l.CPU > 0 {
			quota, period := bandwidth(l.CPU)
			set("cpu.cfs_period_us", period)
			set("cpu.cfs_quota_us", quota)
		}
		set("cpu.shares", l.CPUShares)
	case "cpuset":
		if l.CPUSet != "" {
			list = append(list, Setting{File: "cpuset.cpus", Value: l.CPUSet})
		}
	case "memory":
		if l.MemoryHigh > 0 {
			return nil, errors.New("a high mark of memory needs cgroup version 2, and this host has the memory controller in version 1")
		}
		set("memory.soft_limit_in_bytes", l.MemoryRequest)
		set("memory.limit_in_bytes", l.Memory)
		if l.Memory > 0 { // must not be lower than the limit of memory alone, so after it
			list = append(list, Setting{File: "memory.memsw.limit_in_bytes", Value: number(l.Memory + l.Swap), optional: l.Swap == 0})
		}
	case "pids":
		set("pids.max", l.PIDs)
	case "io":
		for _, d := range devices {
			for _, way := range []string{"read", "write"} {
				if l.BlockBandwidth > 0 {
					list = append(list, Setting{File: "blkio.throttle." + way + "_bps_device", Value: d + " " + number(l.BlockBandwidth)})
				}
				if l.BlockIOPS > 0 {
					list = append(list, Setting{File: "blkio.throttle." + way + "_iops_device", Value: d + " " + number(l.BlockIOPS)})
				}
			}
		}
	}
	return list, nil
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// bandwidth is how many microseconds of each period may be used: 100 ms as
// everywhere, longer only where the kernel's least quota, 1 ms, would be too much.
func bandwidth(milli int64) (quota, period int64) {
	period = 100_000
	if milli < 10 {
		period = 1_000_000
	}
	return milli * period / 1000, period
}

// Weight is version 2's word for shares. It keeps what is usual (1024 is 100)
// and proportions, between the kernel's bounds.
func Weight(shares int64) int64 { return max(1, min(10000, (shares*100+512)/1024)) }

// Apply writes the settings to the cgroup dir. With an error some may be
// written.
func Apply(dir string, settings []Setting) error {
	for _, s := range settings {
		err := write(dir+"/"+s.File, s.Value)
		switch {
		case err == nil || s.optional && errors.Is(err, unix.ENOENT):
			continue
		case errors.Is(err, unix.ENODEV) && (s.File == "io.max" || strings.HasPrefix(s.File, "blkio.")):
			continue // the device was removed since we looked
		case errors.Is(err, unix.ENOENT):
			return fmt.Errorf("cannot set %s to %q: this kernel's cgroups have no such file", s.File, s.Value)
		case errors.Is(err, unix.EINVAL) && s.File == "cpu.cfs_quota_us":
			return hint.Wrap(fmt.Errorf("cannot set %s of cgroup %s to %s: %w", s.File, dir, s.Value, err),
				"cgroup version 1 refuses more than the cgroup above may use")
		}
		return fmt.Errorf("cannot set %s of cgroup %s to %q: %w", s.File, dir, s.Value, err)
	}
	return nil
}

// write writes to a file that is there: cgroupfs makes them.
func write(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			return err
		}
	}
}

// Inherit gives a new version 1 cpuset what no process can be in it without:
// the processors and the memory nodes of the one above.
func Inherit(dir, above string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(above + "/" + name)
		if err == nil {
			err = write(dir+"/"+name, strings.TrimSpace(string(text)))
		}
		if err != nil {
			return fmt.Errorf("cannot set %s of cgroup %s: %w", name, dir, err)
		}
	}
	return nil
}

// Enable makes controllers of the version 2 cgroup dir available to those below
// it. unix.EBUSY: dir has processes of its own ("no internal processes",
// Documentation/admin-guide/cgroup-v2.rst) and is not the root. The kernel itself
// would allow cpu and pids there, and make of dir the root of a threaded subtree,
// in which nothing but threads of its own processes can be.
func Enable(dir string, controllers []string) error {
	text, err := os.ReadFile(dir + "/cgroup.subtree_control")
	if err != nil {
		return fmt.Errorf("cannot enable controllers in cgroup %s: %w", dir, err)
	}
	have := strings.Fields(string(text))
	var words []string
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			words = append(words, "+"+c)
		}
	}
	if words == nil {
		return nil
	}
	if _, err := os.Lstat(dir + "/cgroup.type"); err == nil { // the root has none
		pids, err := Processes(dir)
		if err == nil && len(pids) > 0 {
			err = unix.EBUSY
		}
		if err != nil {
			return fmt.Errorf("cannot enable controllers %q in cgroup %s: %w", strings.Join(words, " "), dir, err)
		}
	}
	if err := write(dir+"/cgroup.subtree_control", strings.Join(words, " ")); err != nil {
		return fmt.Errorf("cannot enable controllers %q in cgroup %s: %w", strings.Join(words, " "), dir, err)
	}
	return nil
}

// BlockDevices are the host's whole disks as MAJOR:MINOR, but for those without
// a medium.
func BlockDevices() ([]string, error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, fmt.Errorf("cannot list block devices: %w", err)
	}
	var list []string
	for _, e := range entries {
		size, err := os.ReadFile("/sys/block/" + e.Name() + "/size")
		if err != nil || strings.TrimSpace(string(size)) == "0" {
			continue
		}
		number, err := os.ReadFile("/sys/block/" + e.Name() + "/dev")
		if err != nil {
			continue // removed since
		}
		list = append(list, strings.TrimSpace(string(number)))
	}
	return list, nil
}
