// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/test/rkt"
)

// needController skips where this machine has no such cgroup controller.
func needController(t *testing.T, names ...string) {
	t.Helper()
	if _, err := cgroup.Homes(names); err != nil {
		t.Skipf("needs a cgroup controller: %v", err)
	}
}

// memoryIn2: this machine has the memory controller in version 2.
func memoryIn2(t *testing.T) bool {
	t.Helper()
	own, err := cgroup.Own()
	homes, herr := cgroup.Homes([]string{"memory"})
	return err == nil && herr == nil && homes["memory"] == own
}

// hungry takes 128 MiB at once.
const hungry = "dd if=/dev/zero of=/dev/null bs=128M count=1 2>&1"

// TestMemoryLimit: an app that takes more than it may is killed, and status says
// so; so is one in a pod that may not have more, and a child of an app that goes
// on. All of it in stage0's time, in `init`'s and in `run`'s.
func TestMemoryLimit(t *testing.T) {
	needController(t, "memory")
	h := host(t)
	child := "5"
	if memoryIn2(t) {
		child = "137" // the whole app goes
	}
	for name, c := range map[string]struct {
		pod, app []string
		script   string
		status   string
		killed   bool
	}{
		"app":             {nil, []string{"--memory=32M"}, "exec " + hungry, "137", true},
		"pod":             {[]string{"--memory=32M"}, nil, "exec " + hungry, "137", true},
		"app's child":     {nil, []string{"--memory=32M"}, hungry + "; exit 5", child, true},
		"later":           {nil, []string{"--memory=32M"}, "sleep 0.1; exec " + hungry, "137", true},
		"after two":       {nil, []string{"--memory=32M"}, "sleep 2.3; exec " + hungry, "137", true},
		"started by init": {nil, []string{"--memory=32M", "--oom-score-adj=1000"}, "exec " + hungry, "137", true},
		"enough":          {nil, []string{"--memory=256M"}, "exec " + hungry + " >/dev/null", "0", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "uuid")
			r := tiny(t, h, append([]string{"--uuid-file-save=" + file}, c.pod...), append([]string{"--name=x"}, c.app...), c.script)
			if strconv.Itoa(r.Status) != c.status {
				t.Errorf("status %d, want %s\n%s%s", r.Status, c.status, r.Stdout, r.Stderr)
			}
			text := h.Must("status", readUUID(t, file)).Stdout
			// In a group, the kernel counts its first victim twice.
			n, _ := strconv.Atoi(field(text, "oom-x"))
			if field(text, "app-x") != c.status || (n >= 1 && n <= 3) != c.killed {
				t.Errorf("status says\n%s", text)
			}
			if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
				t.Errorf("after the pod ended: %q", left)
			}
		})
	}
	// A request is where the kernel has it, at the app's level and, for want of one of
	// its own, at the pod's.
	homes, err := cgroup.Homes([]string{"memory"})
	if err != nil {
		t.Fatal(err)
	}
	p, uuid := startTiny(t, h, nil, []string{"--name=x", "--memory=limit=64M,request=16M"}, "echo ready; sleep 60")
	for _, dir := range []string{"", "/x"} {
		dir = homes["memory"] + "/rkt-" + uuid + dir
		low, err := os.ReadFile(dir + "/memory.low")
		if err != nil {
			low, err = os.ReadFile(dir + "/memory.soft_limit_in_bytes")
		}
		if got := strings.TrimSpace(string(low)); err != nil || got != "16000000" && got != "15998976" { // whole pages
			t.Errorf("%s asks for %q (%v)", dir, got, err)
		}
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

// TestPIDsLimit: a fork too many fails; the pod's limit holds for its apps
// together.
func TestPIDsLimit(t *testing.T) {
	needController(t, "pids")
	h := host(t)
	forks := func(n int) string {
		return strings.Repeat("sleep 1 & ", n) + "wait; echo forked"
	}
	if r := tiny(t, h, nil, []string{"--pids-limit=5"}, forks(3)); r.Stdout != "forked\n" {
		t.Errorf("as many as allowed: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for name, flags := range map[string][2][]string{"app": {nil, {"--pids-limit=5"}}, "pod": {{"--pids-limit=5"}, nil}} {
		if r := tiny(t, h, flags[0], flags[1], forks(8)); r.Status == 0 || !strings.Contains(r.Stderr, "can't fork") {
			t.Errorf("%s: status %d, %q\n%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
	// Each of two apps is below it, both are not.
	id := tinyID(t, h)
	args := []string{"run", "--net=host", "--pids-limit=5", id, "--name=a"}
	args = append(append(args, sh(forks(3))...), "---", id, "--name=b")
	if r := h.Rkt(append(args, sh(forks(3))...)...); r.Status == 0 || !strings.Contains(r.Stderr, "can't fork") {
		t.Errorf("two apps: status %d\n%s", r.Status, r.Stderr)
	}
}

// TestCPULimit: what burns a processor is held back, and status shows for how
// long; a request and shares weigh.
func TestCPULimit(t *testing.T) {
	needController(t, "cpu", "cpuset")
	h := host(t)
	for name, flags := range map[string][2][]string{"app": {nil, {"--cpu=100m"}}, "pod": {{"--cpu=0.1"}, nil}} {
		t.Run(name, func(t *testing.T) {
			p, uuid := startTiny(t, h, flags[0], append([]string{"--name=x"}, flags[1]...), "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo ready; sleep 60")
			var status struct {
				Limits struct {
					CPU int64 `json:"cpu_milli"`
				}
				Usage struct {
					Throttled int64 `json:"throttled_ns"`
					CPU       int64 `json:"cpu_ns"`
				}
				Apps []struct {
					Limits struct {
						CPU int64 `json:"cpu_milli"`
					}
					Usage struct {
						Throttled int64 `json:"throttled_ns"`
						PIDs      int64
					}
				}
			}
			text := h.Must("status", "--json", uuid).Stdout
			if err := json.Unmarshal([]byte(text), &status); err != nil {
				t.Fatal(err)
			}
			if n := status.Usage.Throttled + status.Apps[0].Usage.Throttled; n == 0 {
				t.Errorf("nothing was throttled: %s", text)
			}
			if status.Limits.CPU+status.Apps[0].Limits.CPU != 100 || status.Usage.CPU <= 0 || status.Apps[0].Usage.PIDs == 0 {
				t.Errorf("%s", text)
			}
			h.Must("stop", "--force", uuid)
			p.Wait()
		})
	}
	r := tiny(t, h, nil, []string{"--cpu-set=1"}, "grep Cpus_allowed_list /proc/self/status")
	if r.Stdout != "Cpus_allowed_list:\t1\n" {
		t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := tiny(t, h, nil, []string{"--cpu-set=4000"}, "true"); r.Status != 254 || !strings.Contains(r.Stderr, "cpuset.cpus") {
		t.Errorf("a processor that is not there: status %d\n%s", r.Status, r.Stderr)
	}
	// What is written is read where the kernel has it.
	p, uuid := startTiny(t, h, nil, []string{"--name=x", "--cpu=limit=2,request=500m"}, "echo ready; sleep 60")
	homes, err := cgroup.Homes([]string{"cpu"})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "/x"} {
		dir = homes["cpu"] + "/rkt-" + uuid + dir
		shares, err := os.ReadFile(dir + "/cpu.shares")
		if weight, werr := os.ReadFile(dir + "/cpu.weight"); werr == nil {
			shares, err = weight, nil
		}
		if got := strings.TrimSpace(string(shares)); err != nil || got != "512" && got != "50" {
			t.Errorf("%s weighs %q (%v)", dir, got, err)
		}
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

// TestBlockLimit: four MiB at one a second, or ten writes at two, cannot be there
// in two seconds. This is the one clock that decides: being late cannot make the
// test pass wrongly but on a machine that needs that by itself, which is checked.
func TestBlockLimit(t *testing.T) {
	needController(t, "io")
	h := host(t)
	write := func(pod, app []string, blocks string) float64 {
		script := "read a b < /proc/uptime; dd if=/dev/zero of=/x " + blocks + " oflag=direct 2>&1 || exit; read c b < /proc/uptime; echo $a $c"
		r := tiny(t, h, pod, app, script)
		lines := strings.Split(r.Out(), "\n")
		f := strings.Fields(lines[len(lines)-1])
		if r.Status == 254 {
			t.Fatalf("%q %q: %s", pod, app, r.Stderr)
		}
		if r.Status != 0 || len(f) != 2 {
			t.Skipf("needs a file system with direct I/O under the data directory: %s", r.Stdout)
		}
		from, err1 := strconv.ParseFloat(f[0], 64)
		to, err2 := strconv.ParseFloat(f[1], 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return to - from
	}
	const large, many = "bs=1M count=4", "bs=4k count=10"
	if free := max(write(nil, nil, large), write(nil, nil, many)); free > 2 {
		t.Skipf("needs a disk that writes 4 MiB in two seconds, not in %v", free)
	}
	for _, c := range []struct {
		name     string
		pod, app []string
		blocks   string
	}{
		{"app", nil, []string{"--block-bandwidth=1Mi"}, large},
		{"pod", []string{"--block-bandwidth=1Mi"}, nil, large},
		{"operations", nil, []string{"--block-iops=2"}, many},
	} {
		if took := write(c.pod, c.app, c.blocks); took < 2 {
			t.Errorf("%s: written in %v seconds", c.name, took)
		}
	}
}

// TestRlimits: read from inside, in the app and in what enters it.
func TestRlimits(t *testing.T) {
	h := host(t)
	const script = "echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c) $(ulimit -s)"
	flags := []string{"--rlimit=nofile=100:200", "--rlimit=core=0", "--rlimit=stack=1048576"}
	if r := tiny(t, h, nil, flags, script); r.Stdout != "100 200 0 1024\n" {
		t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	p, uuid := startTiny(t, h, nil, flags, "echo ready; sleep 60")
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", script); r.Stdout != "100 200 0 1024\n" {
		t.Errorf("entered: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
	// Fewer than what is still done before the program runs needs.
	for name, few := range map[string][2][]string{
		"usual":            {nil, nil},
		"users of its own": {{"--private-users"}, nil},
		"started by init":  {nil, {"--oom-score-adj=100"}},
		"another user":     {{"--private-users"}, {"--user=1000", "--group=1000"}},
	} {
		for _, n := range []string{"0", "3", "4"} {
			if r := tiny(t, h, few[0], append([]string{"--rlimit=nofile=" + n}, few[1]...), "ulimit -n"); r.Stdout != n+"\n" {
				t.Errorf("%s, nofile=%s: status %d, %q\n%s", name, n, r.Status, r.Stdout, r.Stderr)
			}
		}
	}
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	r := tiny(t, h, nil, []string{"--rlimit=nofile=" + strconv.FormatUint(own.Max+1, 10)}, script)
	if r.Status == 0 {
		return // with CAP_SYS_RESOURCE it may
	}
	if r.Status != 254 || !strings.Contains(r.Stderr, "CAP_SYS_RESOURCE") || !strings.Contains(r.Stderr, "hint: ask for at most --rlimit=nofile=") {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
}

// TestSysctls: the pod's namespaces have them, the host does not notice.
func TestSysctls(t *testing.T) {
	h := host(t)
	id := tinyID(t, h)
	files := []string{"net/core/somaxconn", "kernel/shmmax", "kernel/msgmax", "fs/mqueue/msg_max"}
	before := map[string]string{}
	flags := []string{"run", "--net=none"}
	for i, f := range files {
		text, err := os.ReadFile("/proc/sys/" + f)
		if err != nil {
			t.Fatal(err)
		}
		before[f] = string(text)
		flags = append(flags, "--sysctl="+strings.ReplaceAll(f, "/", ".")+"="+strconv.Itoa(201+i))
	}
	r := h.Rkt(append(append(flags, id), sh("cd /proc/sys; cat "+strings.Join(files, " "))...)...)
	if r.Stdout != "201\n202\n203\n204\n" {
		t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for f, was := range before {
		if text, _ := os.ReadFile("/proc/sys/" + f); string(text) != was {
			t.Errorf("the host's %s is %q now, was %q", f, text, was)
		}
	}
	for _, c := range [][]string{
		{"--net=none", "--sysctl=kernel.core_pattern=x", "whole machine's"},
		{"--net=host", "--sysctl=net.core.somaxconn=9", "host's network"},
		{"--net=none", "--ipc=parent", "--sysctl=kernel.shmmax=9", "host's IPC"},
		{"--net=none", "--sysctl=net.core.nonsense=9", "none of that name"},
		{"--net=none", "--sysctl=net.core.somaxconn=many", "net.core.somaxconn"},
	} {
		r := h.Rkt(append(append(append([]string{"run"}, c[:len(c)-1]...), id), sh("true")...)...)
		if r.Status != 254 || !strings.Contains(r.Stderr, c[len(c)-1]) {
			t.Errorf("%q: status %d\n%s", c, r.Status, r.Stderr)
		}
	}
}

// TestEnterIsLimited: what enters is in the app's cgroups, of all hierarchies.
func TestEnterIsLimited(t *testing.T) {
	needController(t, "memory", "pids")
	h := host(t)
	p, uuid := startTiny(t, h, nil, []string{"--name=x", "--memory=64M", "--pids-limit=6"}, "echo ready; sleep 60")
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", strings.Repeat("sleep 0.3 & ", 8)+"wait"); r.Status == 0 {
		t.Errorf("fork: status %d\n%s", r.Status, r.Stderr)
	}
	text := h.Must("status", uuid).Stdout
	if field(text, "oom-x") != "" || field(text, "limits-x") != "memory=64000000 pids=6" || !strings.Contains(field(text, "usage-x"), "memory=") {
		t.Errorf("status says\n%s", text)
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "exec "+hungry); r.Status != 137 {
		t.Errorf("hungry: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	if memoryIn2(t) { // it was of the app's, which goes as one
		if status := p.Wait(); status != 137 {
			t.Errorf("the app that was entered: status %d", status)
		}
		return
	}
	if text := h.Must("status", uuid).Stdout; field(text, "oom-x") != "1" || field(text, "state") != "running" {
		t.Errorf("status says\n%s", text)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

// TestStats: pods that run, and no others, in both forms.
func TestStats(t *testing.T) {
	needController(t, "memory")
	h := host(t)
	if r := h.Must("stats", "--json"); r.Out() != "[]" {
		t.Errorf("without pods: %q", r.Stdout)
	}
	p, uuid := startTiny(t, h, nil, []string{"--name=x", "--memory=64M"}, "echo ready; sleep 60")
	q, free := startTiny(t, h, nil, []string{"--name=y"}, "echo ready; sleep 60")
	var all []struct {
		Name string
		Apps []struct {
			Name   string
			Limits struct{ Memory int64 }
			Usage  struct {
				CPU      int64 `json:"cpu_ns"`
				Memory   int64
				Resident bool `json:"memory_is_resident"`
				PIDs     int64
			}
		}
	}
	text := h.Must("stats", "--json").Stdout
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, pod := range all {
		a := pod.Apps[0]
		limited := pod.Name == uuid
		// The shell has forked sleep.
		if a.Usage.CPU <= 0 || a.Usage.Memory <= 0 || a.Usage.PIDs < 1 || a.Usage.Resident == limited || (a.Limits.Memory == 64e6) != limited {
			t.Errorf("%+v", pod)
		}
	}
	table := h.Must("stats").Stdout
	if !strings.HasPrefix(table, "UUID") || strings.Count(table, "\n") != 3 || !strings.Contains(table, "61MiB") {
		t.Errorf("table\n%s", table)
	}
	h.Must("stop", "--force", uuid, free)
	p.Wait()
	q.Wait()
	if r := h.Rkt("stats", uuid); r.Status != 254 || !strings.Contains(r.Stderr, "it is exited") {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
}

// TestLimitedPodLeavesNothing: whatever ends it, but the death of rkt itself.
func TestLimitedPodLeavesNothing(t *testing.T) {
	needController(t, "memory", "pids", "cpu")
	for name, end := range map[string]func(h *rkt.Host, p *rkt.Process, uuid string){
		"stop":          func(h *rkt.Host, _ *rkt.Process, uuid string) { h.Must("stop", uuid) },
		"stop by force": func(h *rkt.Host, _ *rkt.Process, uuid string) { h.Must("stop", "--force", uuid) },
		"later": func(_ *rkt.Host, p *rkt.Process, _ string) {
			time.Sleep(2500 * time.Millisecond) // past the youth of the pod
			p.Signal(syscall.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			p, uuid := startTiny(t, h, []string{"--memory=1G"}, []string{"--memory=64M", "--pids-limit=10", "--cpu=1"}, "echo ready; sleep 60")
			dirs := 0
			for _, c := range []string{"memory", "pids", "cpu"} {
				homes, err := cgroup.Homes([]string{c})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(homes[c] + "/rkt-" + uuid); err == nil {
					dirs++
				}
			}
			if dirs != 3 {
				t.Errorf("the pod has cgroups of %d controllers, want 3", dirs)
			}
			end(h, p, uuid)
			p.Wait()
			h.Gone()
			if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
				t.Errorf("after the pod ended: %q", left)
			}
		})
	}
}

// TestNoLimitNoHierarchy: a pod without limits has no cgroup but in version 2.
func TestNoLimitNoHierarchy(t *testing.T) {
	h := host(t)
	p, uuid := startTiny(t, h, nil, nil, "echo ready; sleep 60")
	found, err := filepath.Glob("/sys/fs/cgroup/*/rkt-" + uuid)
	more, _ := filepath.Glob("/sys/fs/cgroup/memory/*/*/rkt-" + uuid)
	if err != nil || len(found)+len(more) > 1 || len(found) == 1 && !strings.HasPrefix(found[0], "/sys/fs/cgroup/unified/") {
		t.Errorf("cgroups %q %q, %v", found, more, err)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

// controllers are those that user@.service has.
var controllers = []string{"cpu", "memory", "pids"}

// controlledCgroup makes a cgroup that has controllers, until the test's end. It
// needs to be at the root of a version 2 hierarchy.
func controlledCgroup(t *testing.T, name string) (dir string) {
	t.Helper()
	own, err := cgroup.Own()
	if err != nil || !memoryIn2(t) {
		t.Skipf("needs the memory controller in cgroup version 2 (%v)", err)
	}
	if err := cgroup.Enable(own, controllers); err != nil {
		t.Skipf("needs to be at the root of the hierarchy: %v", err)
	}
	dir = filepath.Join(own, name)
	if err := cgroup.Create(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cgroup.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestAside: in version 2, rkt in a cgroup of its own steps aside for the
// controllers, and back; where others are in that cgroup, the pod is refused.
func TestAside(t *testing.T) {
	h := host(t)
	dir := controlledCgroup(t, "rkt-e2e-aside")
	id := tinyID(t, h)
	run := func(before, script string) rkt.Result {
		line := before + "; exec " + install.Bin("rkt") + " --dir=" + h.Dir + " --insecure-options=image run --net=none " + id + " --memory=32M --exec=/bin/sh -- -c '" + script + "'"
		return h.Shell("echo $$ > " + dir + "/cgroup.procs; " + line)
	}
	for _, script := range []string{"exec " + hungry, "sleep 2.5; exec " + hungry} { // in stage0's time and in run's
		if r := run(":", script); r.Status != 137 {
			t.Errorf("%s: status %d\n%s%s", script, r.Status, r.Stdout, r.Stderr)
		}
		for _, name := range []string{"cgroup.subtree_control", "cgroup.procs"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(strings.TrimSpace(string(text))) != 0 {
				t.Errorf("after the pod, %s is %q (%v)", name, text, err)
			}
		}
		if left, _ := filepath.Glob(dir + "/*/"); len(left) != 0 {
			t.Errorf("cgroups are left: %q", left)
		}
	}
	// The kernel would let cpu and pids be enabled beside rkt, and nothing else be
	// done with that cgroup.
	for _, flag := range []string{"--cpu=1", "--pids-limit=50"} {
		r := h.Shell("echo $$ > " + dir + "/cgroup.procs; exec " + install.Bin("rkt") + " --dir=" + h.Dir + " --insecure-options=image run --net=none " + id + " " + flag + " --exec=/bin/sh -- -c 'exit 7'")
		if r.Status != 7 {
			t.Errorf("%s: status %d\n%s%s", flag, r.Status, r.Stdout, r.Stderr)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); err != nil || len(strings.TrimSpace(string(text))) != 0 {
			t.Errorf("after %s, the cgroup has controllers %q (%v)", flag, text, err)
		}
	}
	// A shell that stays is in the way, and not rkt's to move.
	r := h.Shell("echo $$ > " + dir + "/cgroup.procs; " + install.Bin("rkt") + " --dir=" + h.Dir + " --insecure-options=image run --net=none " + id + " --memory=32M --exec=/bin/true; echo status $?")
	if !strings.Contains(r.Stdout, "status 254") || !strings.Contains(r.Stderr, "other processes than rkt") || !strings.Contains(r.Stderr, "systemd-run --scope") {
		t.Errorf("%s%s", r.Stdout, r.Stderr)
	}
	if r := h.Shell("echo $$ > " + dir + "/cgroup.procs; " + install.Bin("rkt") + " --dir=" + h.Dir + " --insecure-options=image run --net=none " + id + " --exec=/bin/true; echo status $?"); r.Stdout != "status 0\n" {
		t.Errorf("without limits: %s%s", r.Stdout, r.Stderr)
	}
}

// TestPreparedLimits: limits are kept by a prepared pod and by its manifest,
// which makes the same pod again.
func TestPreparedLimits(t *testing.T) {
	needController(t, "memory", "pids")
	h := host(t)
	id := tinyID(t, h)
	args := append([]string{"prepare", "--memory=32M", "--sysctl=net.core.somaxconn=77", id, "--name=x", "--pids-limit=50", "--rlimit=core=0"},
		sh("cat /proc/sys/net/core/somaxconn; ulimit -c; exec "+hungry)...)
	uuid := h.Must(args...).Out()
	text := h.Must("status", uuid).Stdout
	if field(text, "limits") != "memory=32000000" || field(text, "limits-x") != "pids=50" {
		t.Errorf("status of the prepared pod says\n%s", text)
	}
	manifest := filepath.Join(t.TempDir(), "pod.json")
	write(t, manifest, h.Must("cat-manifest", uuid).Stdout)
	for _, run := range [][]string{{"run-prepared", uuid}, {"run", "--pod-manifest=" + manifest}} {
		if r := h.Rkt(run...); r.Status != 137 || r.Stdout != "77\n0\n" {
			t.Errorf("%s: status %d, %q\n%s", run[0], r.Status, r.Stdout, r.Stderr)
		}
	}
}
