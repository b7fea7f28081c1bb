// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree makes a directory that looks like cgroupfs.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mountLine(root, at, fstype, super string) string {
	return "31 23 0:28 " + root + " " + at + " rw,relatime shared:9 - " + fstype + " x " + super + "\n"
}

// TestHomes: where the controllers are on hosts of all kinds.
func TestHomes(t *testing.T) {
	v2 := tree(t, map[string]string{"system.slice/a.service/cgroup.controllers": "cpu memory pids\n"})
	hybrid := tree(t, map[string]string{"cgroup.controllers": "hugetlb\n"})
	for name, c := range map[string]struct {
		own, mounts string
		want        []string
		homes       map[string]string
		err         string
	}{
		"unified": {"0::/system.slice/a.service\n", mountLine("/", v2, "cgroup2", "rw"), []string{"cpu", "memory"},
			map[string]string{"cpu": v2 + "/system.slice/a.service", "memory": v2 + "/system.slice/a.service"}, ""},
		"unified, one missing": {"0::/system.slice/a.service\n", mountLine("/", v2, "cgroup2", "rw"), []string{"cpu", "io"}, nil, `"io"`},
		"hybrid": {"9:memory:/process/x\n7:blkio:/\n3:cpu,cpuacct:/c\n0::/\n",
			mountLine("/", hybrid, "cgroup2", "rw") + mountLine("/", "/h/memory", "cgroup", "rw,memory") + mountLine("/", "/h/blkio", "cgroup", "rw,blkio") +
				mountLine("/", `/h/cpu\040x`, "cgroup", "rw,cpu,cpuacct"), []string{"cpu", "io", "memory"},
			map[string]string{"cpu": "/h/cpu x/c", "io": "/h/blkio", "memory": "/h/memory/process/x"}, ""},
		"in a container, a part of the hierarchy": {"9:memory:/docker/x/y\n", mountLine("/docker/x", "/c/memory", "cgroup", "rw,memory"),
			[]string{"memory"}, map[string]string{"memory": "/c/memory/y"}, ""},
		"another part":                    {"9:memory:/docker/xx\n", mountLine("/docker/x", "/c/memory", "cgroup", "rw,memory"), []string{"memory"}, nil, `"memory"`},
		"outside of the cgroup namespace": {"9:memory:/../x\n", mountLine("/", "/c/memory", "cgroup", "rw,memory"), []string{"memory"}, nil, `"memory"`},
		"not mounted":                     {"9:memory:/\n", "", []string{"memory"}, nil, `"memory"`},
	} {
		got, err := homes(c.own, c.mounts, c.want)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v; want an error with %s", name, got, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.homes) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.homes)
		}
	}
}

func FuzzHomes(f *testing.F) {
	f.Add("9:memory:/x\n0::/\n", mountLine("/", "/c/memory", "cgroup", "rw,memory"))
	f.Fuzz(func(t *testing.T, own, mounts string) {
		// "io" alone: no file is read for it unless a version 2 line is there.
		dir, err := ownDir(own, mounts, "memory")
		if err == nil && strings.Contains(dir, "/../") && !strings.Contains(mounts, "/../") && !strings.Contains(own, "/../") {
			t.Fatalf("%q", dir)
		}
	})
}

var everything = Limits{CPU: 1500, CPUShares: 512, CPUSet: "0-1", Memory: 64 << 20, MemoryRequest: 1 << 20, MemoryHigh: 32 << 20,
	Swap: 1 << 20, PIDs: 10, BlockBandwidth: 1 << 20, BlockIOPS: 100}

// TestSettings2: what version 2 is told, written to a tree that looks like it.
func TestSettings2(t *testing.T) {
	want := map[string]string{
		"cpu.max": "150000 100000", "cpu.weight": "50", "cpuset.cpus": "0-1",
		"memory.low": "1048576", "memory.high": "33554432", "memory.max": "67108864", "memory.swap.max": "1048576", "memory.oom.group": "1",
		"pids.max": "10", "io.max": "8:0 rbps=1048576 wbps=1048576 riops=100 wiops=100",
	}
	files := map[string]string{}
	for f := range want {
		files[f] = ""
	}
	dir := tree(t, files)
	for _, c := range everything.Controllers() {
		s, err := everything.Settings(c, true, true, []string{"8:0"})
		if err == nil {
			err = Apply(dir, s)
		}
		if err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	for f, w := range want {
		if text, err := os.ReadFile(dir + "/" + f); err != nil || string(text) != w {
			t.Errorf("%s is %q (%v), want %q", f, text, err, w)
		}
	}
}

func TestSettings1(t *testing.T) {
	l := everything
	l.MemoryHigh = 0
	var got []string
	for _, c := range l.Controllers() {
		s, err := l.Settings(c, false, true, []string{"8:0"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range s {
			got = append(got, s.File+" "+s.Value)
		}
	}
	want := []string{"cpu.cfs_period_us 100000", "cpu.cfs_quota_us 150000", "cpu.shares 512", "cpuset.cpus 0-1",
		"blkio.throttle.read_bps_device 8:0 1048576", "blkio.throttle.read_iops_device 8:0 100",
		"blkio.throttle.write_bps_device 8:0 1048576", "blkio.throttle.write_iops_device 8:0 100",
		"memory.soft_limit_in_bytes 1048576", "memory.limit_in_bytes 67108864", "memory.memsw.limit_in_bytes 68157440", "pids.max 10"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	if s, err := everything.Settings("memory", false, true, nil); err == nil {
		t.Errorf("a high mark in version 1: %v", s)
	}
}

func TestFineProcessorTime(t *testing.T) {
	for milli, want := range map[int64][2]int64{1: {1000, 1000000}, 9: {9000, 1000000}, 10: {1000, 100000}, 2500: {250000, 100000}} {
		if q, p := bandwidth(milli); q != want[0] || p != want[1] {
			t.Errorf("%dm: %d of %d, want %v", milli, q, p, want)
		}
	}
	for shares, want := range map[int64]int64{2: 1, 1024: 100, 2048: 200, 262144: 10000} {
		if w := Weight(shares); w != want {
			t.Errorf("%d shares weigh %d, want %d", shares, w, want)
		}
	}
}

// TestApplyRefused: a limit that cannot be set is an error that names the file;
// only what nothing is lost by is passed over.
func TestApplyRefused(t *testing.T) {
	dir := tree(t, map[string]string{"memory.max": ""})
	none := Limits{Memory: 4096}
	s, _ := none.Settings("memory", true, true, nil)
	if err := Apply(dir, s); err != nil {
		t.Errorf("without swap and groups: %v", err)
	}
	some := Limits{Memory: 4096, Swap: 1}
	s, _ = some.Settings("memory", true, true, nil)
	if err := Apply(dir, s); err == nil || !strings.Contains(err.Error(), "memory.swap.max") {
		t.Errorf("swap that was asked for: %v", err)
	}
	if _, err := os.Stat(dir + "/memory.swap.max"); err == nil {
		t.Error("a file was made")
	}
	s, _ = Limits{PIDs: 5}.Settings("pids", true, true, nil)
	if err := Apply(dir, s); err == nil || !strings.Contains(err.Error(), "pids.max") {
		t.Errorf("%v", err)
	}
}

func TestEnable(t *testing.T) {
	dir := tree(t, map[string]string{"cgroup.subtree_control": "cpu memory\n"})
	if err := Enable(dir, []string{"cpu", "memory"}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(dir + "/cgroup.subtree_control"); string(text) != "cpu memory\n" {
		t.Errorf("what is on was written: %q", text)
	}
	if err := Enable(dir, []string{"cpu", "io", "pids"}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(dir + "/cgroup.subtree_control"); !strings.HasPrefix(string(text), "+io +pids") {
		t.Errorf("wrote %q", text)
	}
	// Where processes are, and not at the root, none is enabled, whatever the
	// kernel thinks of it.
	dir = tree(t, map[string]string{"cgroup.subtree_control": "", "cgroup.type": "domain\n", "cgroup.procs": "17\n"})
	if err := Enable(dir, []string{"pids"}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("with processes: %v", err)
	}
	if text, _ := os.ReadFile(dir + "/cgroup.subtree_control"); len(text) > 0 {
		t.Errorf("wrote %q", text)
	}
}

// TestStepAside refuses to move others' processes.
func TestStepAside(t *testing.T) {
	dir := tree(t, map[string]string{"cgroup.procs": "1\n"})
	if err := StepAside(dir, dir+"/aside", []string{"cpu"}); err == nil || !strings.Contains(err.Error(), `controllers "cpu" in cgroup `+dir+": other processes") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir + "/aside"); err == nil {
		t.Error("it made a cgroup")
	}
	if err := StepBack(dir, dir+"/aside"); err != nil {
		t.Errorf("nothing to step back from: %v", err)
	}
}

func TestUsage2(t *testing.T) {
	dir := tree(t, map[string]string{
		"cpu.stat": "usage_usec 1500\nuser_usec 1\nthrottled_usec 7\n", "memory.current": "4096\n", "memory.peak": "8192\n",
		"memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n", "memory.pressure": "some avg10=1.50 avg60=0 avg300=0 total=1\nfull avg10=0.00\n",
		"pids.current": "3\n", "io.stat": "8:0 rbytes=100 wbytes=10 rios=1\n8:16 rbytes=1 wbytes=2\n", "cgroup.threads": "1\n2\n", "sub/cgroup.threads": "3\n",
		"cgroup.procs": "",
	})
	u := Read(dir, map[string]string{"cpu": dir, "memory": dir, "pids": dir, "io": dir})
	want := Usage{CPU: 1500 * time.Microsecond, Throttled: 7 * time.Microsecond, Memory: 4096, MemoryPeak: 8192, PIDs: 3, Read: 101, Write: 12,
		OOMKills: 1, PressureCPU: Unknown, PressureMem: 1.5, PressureDisk: Unknown}
	if u != want {
		t.Errorf("got\n%+v, want\n%+v", u, want)
	}
	// Without controllers, what version 2 always has.
	if u = Read(dir, nil); u.PIDs != 3 || !u.Resident || u.OOMKills != Unknown || u.CPU != 1500*time.Microsecond {
		t.Errorf("%+v", u)
	}
}

func TestUsage1(t *testing.T) {
	dir := tree(t, map[string]string{
		"cpu.stat": "nr_periods 1\nnr_throttled 1\nthrottled_time 7\n", "memory.usage_in_bytes": "4096\n", "memory.max_usage_in_bytes": "8192\n",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 10\n8:0 Total 110\nTotal 110\n",
		"pids.current": "3\n",
	})
	u := Read("", map[string]string{"cpu": dir, "memory": dir, "pids": dir, "io": dir})
	if u.Throttled != 7 || u.Memory != 4096 || u.MemoryPeak != 8192 || u.OOMKills != 2 || u.Read != 100 || u.Write != 10 || u.PIDs != 3 || u.CPU != Unknown {
		t.Errorf("%+v", u)
	}
}

// TestRemoveKills: in a real hierarchy, with a process inside.
func TestRemoveKills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, controller := range []string{"pids", ""} {
		var dir string
		if controller == "" {
			own, err := Own()
			if err != nil {
				t.Skip("needs a version 2 hierarchy")
			}
			dir = own
		} else {
			homes, err := Homes([]string{controller})
			if err != nil {
				t.Skipf("needs the controller %s: %v", controller, err)
			}
			dir = homes[controller]
		}
		dir += "/rkt-test-" + filepath.Base(t.TempDir()) + "-" + controller
		if err := Create(dir); err != nil {
			if errors.Is(err, unix.EROFS) {
				t.Skip("needs a writable cgroup hierarchy")
			}
			t.Fatal(err)
		}
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Kill(); _, _ = p.Wait() }()
		if err := write(dir+"/cgroup.procs", number(int64(p.Pid))); err != nil {
			t.Fatal(err)
		}
		if err := RemoveEmpty(dir); err == nil {
			t.Error("removed with a process in it")
		}
		gone := make(chan error, 1)
		go func() { gone <- Remove(dir) }()
		state, err := p.Wait() // it is ours to reap
		if err != nil || state.Sys().(interface{ Signaled() bool }).Signaled() == false {
			t.Errorf("%v, %v", state, err)
		}
		if err := <-gone; err != nil {
			t.Error(err)
		}
	}
}
