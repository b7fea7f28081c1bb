// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/test/rkt"
)

// managed is a machine on which systemd runs, as far as a program can see.
const managed = `mkdir -p $1/run/systemd/system; mount -o bind $1/run /run;`

// A slice is a cgroup of root's with controllers for those below.
type slice string

// newSlice needs to be at the root of a version 2 hierarchy.
func newSlice(t *testing.T) slice {
	t.Helper()
	dir := controlledCgroup(t, "rkt-e2e-user.slice")
	if err := cgroup.Enable(dir, controllers); err != nil {
		t.Fatal(err)
	}
	return slice(dir)
}

// give makes a cgroup for the ordinary user as systemd does: the directory and
// the files by which it is divided. marked: and says so.
func (s slice) give(t *testing.T, name string, marked bool) string {
	t.Helper()
	dir := filepath.Join(string(s), name)
	if err := cgroup.Create(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, f), rkt.User, rkt.User); err != nil {
			t.Fatal(err)
		}
	}
	if marked {
		if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
			t.Skipf("needs attributes of cgroups (Linux 5.7): %v", err)
		}
	}
	return dir
}

// TestRootlessLimits: in a cgroup that was given to the user, limits of the user's
// pods hold and are shown; the cgroup is as it was when the pod has ended, and
// after gc if rkt was killed.
func TestRootlessLimits(t *testing.T) {
	s := newSlice(t)
	h := rootless(t, rkt.NoSubIDs)
	id := plain(t, h)
	for name, c := range map[string]struct {
		setup  string
		marked bool
	}{"without systemd": {"", false}, "systemd's": {managed, true}} {
		t.Run(name, func(t *testing.T) {
			dir := s.give(t, "given"+strconv.Itoa(len(c.setup)), c.marked)
			in := h.In(dir, c.setup)
			file := filepath.Join(h.Home(), "uuid")
			run := func(flags []string, app []string, script string) []string {
				return append(append(append([]string{"run", "--net=none", "--uuid-file-save=" + file}, flags...), append([]string{id, "--name=x"}, app...)...), sh(script)...)
			}
			back := func(after string) {
				t.Helper()
				for _, name := range []string{"cgroup.subtree_control", "cgroup.procs"} {
					if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(strings.TrimSpace(string(text))) != 0 {
						t.Errorf("after %s, %s is %q (%v)", after, name, text, err)
					}
				}
				if left, _ := filepath.Glob(dir + "/*/"); len(left) != 0 {
					t.Errorf("after %s cgroups are left: %q", after, left)
				}
			}
			for name, flags := range map[string][2][]string{"the app's memory": {nil, {"--memory=32M"}}, "the pod's memory": {{"--memory=32M"}, nil}} {
				r := in.Rkt(run(flags[0], flags[1], "exec "+hungry)...)
				text := h.Must("status", readUUID(t, file)).Stdout
				if n, _ := strconv.Atoi(field(text, "oom-x")); r.Status != 137 || n == 0 || field(text, "app-x") != "137" {
					t.Errorf("%s: status %d\n%s%s\nrkt status says\n%s", name, r.Status, r.Stdout, r.Stderr, text)
				}
				back(name)
			}
			forks := strings.Repeat("sleep 1 & ", 8) + "wait; echo forked"
			for name, flags := range map[string][2][]string{"the app's pids": {nil, {"--pids-limit=5"}}, "the pod's pids": {{"--pids-limit=5"}, nil}} {
				if r := in.Rkt(run(flags[0], flags[1], forks)...); r.Status == 0 || !strings.Contains(r.Stderr, "can't fork") {
					t.Errorf("%s: status %d, %q\n%s", name, r.Status, r.Stdout, r.Stderr)
				}
				back(name)
			}
			{
				p := in.Start(run([]string{"--memory=1G"}, []string{"--cpu=100m", "--memory=64M", "--pids-limit=7"},
					"trap 'exit 6' TERM; i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done; echo ready; while :; do sleep 0.1; done")...)
				p.Expect("ready")
				uuid := readUUID(t, file)
				var pods []struct {
					Limits struct{ Memory int64 }
					Apps   []struct {
						Limits struct {
							CPU          int64 `json:"cpu_milli"`
							Memory, PIDs int64
						}
						Usage struct {
							Throttled int64 `json:"throttled_ns"`
							Memory    int64
							Resident  bool `json:"memory_is_resident"`
							PIDs      int64
						}
					}
				}
				text := h.Must("stats", "--json").Stdout
				if err := json.Unmarshal([]byte(text), &pods); err != nil || len(pods) != 1 || len(pods[0].Apps) != 1 {
					t.Fatalf("%v: %s", err, text)
				}
				a := pods[0].Apps[0]
				if pods[0].Limits.Memory != 1e9 || a.Limits.CPU != 100 || a.Limits.Memory != 64e6 || a.Limits.PIDs != 7 ||
					a.Usage.Throttled <= 0 || a.Usage.Memory <= 0 || a.Usage.Resident || a.Usage.PIDs < 1 {
					t.Errorf("stats say %s", text)
				}
				status := h.Must("status", uuid).Stdout
				if field(status, "limits-x") != "cpu=0.1 memory=64000000 pids=7" || !strings.Contains(field(status, "usage-x"), "memory=") {
					t.Errorf("status says\n%s", status)
				}
				// What enters is limited alike, and all of it stands still together.
				if r := h.Rkt("enter", uuid, "/bin/sh", "-c", forks); r.Status == 0 {
					t.Errorf("what enters forks: status %d\n%s", r.Status, r.Stderr)
				}
				h.Must("pause", uuid)
				if s := field(h.Must("status", uuid).Stdout, "state"); s != "paused" {
					t.Errorf("status says %q", s)
				}
				h.Must("stop", uuid)
				if status := p.Wait(); status != 6 {
					t.Errorf("stopped, it ended with %d", status)
				}
				h.Gone()
				back("stop")
			}
			p := in.Start(run(nil, []string{"--memory=64M"}, "echo ready; sleep 1000")...)
			p.Expect("ready")
			p.Signal(syscall.SIGKILL)
			p.Wait()
			h.Gone()
			h.Must("gc", "--grace-period=0s")
			back("kill -9 of rkt, and gc")
			if r := in.Rkt(run(nil, []string{"--memory=64M"}, "exit 3")...); r.Status != 3 {
				t.Errorf("once more: status %d\n%s", r.Status, r.Stderr)
			}
			// What was not given: the slice has no io.
			if r := in.Rkt(run(nil, []string{"--block-iops=10"}, "true")...); r.Status != 254 || !strings.Contains(r.Stderr, `controller "io"`) {
				t.Errorf("block I/O: status %d\n%s", r.Status, r.Stderr)
			}
		})
	}
}

// TestRootlessLimitsRefused: where no cgroup was given to the user each limit is
// refused by its controller's name before anything is started; a pod without limits
// runs.
func TestRootlessLimitsRefused(t *testing.T) {
	s := newSlice(t)
	h := rootless(t, rkt.NoSubIDs)
	id := plain(t, h)
	limits := map[string]string{"--memory=64M": "memory", "--cpu=1": "cpu", "--pids-limit=9": "pids"}
	refused := func(in *rkt.Host, where, flag, words string) {
		t.Helper()
		r := in.Rkt(append([]string{"run", "--net=none", flag, id}, sh("echo it runs")...)...)
		if r.Status != 254 || r.Stdout != "" || !strings.Contains(r.Stderr, words) || !strings.Contains(r.Stderr, "systemd-run --user --scope -p Delegate=yes") {
			t.Errorf("%s, %s: status %d, want %q\n%s%s", where, flag, r.Status, words, r.Stdout, r.Stderr)
		}
		for range 2 { // the first may only mark
			h.Must("gc", "--grace-period=0s")
		}
		if left := h.Pods(); len(left) > 0 {
			t.Errorf("%s, %s: of the pod that was refused %v is left", where, flag, left)
		}
	}
	roots := filepath.Join(string(s), "root.service")
	if err := cgroup.Create(roots); err != nil {
		t.Fatal(err)
	}
	for flag, controller := range limits {
		refused(h.In(roots, ""), "root's cgroup", flag, `cannot limit the pod by controller "`+controller+`": cgroup `+roots+" is not yours to divide")
	}
	if r := h.In(roots, "").Rkt(append([]string{"run", "--net=none", id}, sh("exit 4")...)...); r.Status != 4 {
		t.Errorf("without limits: status %d\n%s", r.Status, r.Stderr)
	}
	// A user's systemd makes the user's units and has their controllers in hand:
	// what it was given itself it has not given to them.
	manager := s.give(t, "user@54321.service", true)
	if err := cgroup.Enable(manager, []string{"cpu", "memory", "pids"}); err != nil {
		t.Fatal(err)
	}
	unit := slice(manager).give(t, "run-1.scope", false)
	refused(h.In(unit, managed), "a unit of the user's systemd", "--memory=64M", `cannot enable controllers "memory" in cgroup `+unit+": systemd manages it and has not delegated it")
	if err := unix.Setxattr(unit, "user.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if r := h.In(unit, managed).Rkt(append([]string{"run", "--net=none", "--memory=64M", id}, sh("exit 5")...)...); r.Status != 5 {
		t.Errorf("delegated: status %d\n%s", r.Status, r.Stderr)
	}
	// Another program in it is not rkt's to move.
	other := "(sleep 1000 >/dev/null 2>&1 & echo $! >" + unit + "/cgroup.procs);"
	refused(h.In(unit, other), "a cgroup with others", "--memory=64M", "other processes than rkt are in it")
}
