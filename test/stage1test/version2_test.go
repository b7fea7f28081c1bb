// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package stage1test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/test/rkt"
)

// TestLimitsOfVersion2: on a host with cgroups of version 2 alone, where systemd in the
// pod and rkt share one hierarchy, limits of the flavors of systemd-nspawn are the
// kernel's, for the app and for the pod.
func TestLimitsOfVersion2(t *testing.T) {
	have, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	for _, c := range []string{"memory", "pids", "cpu"} {
		if err != nil || !strings.Contains(string(have), c) {
			t.Skipf("needs a host with version 2 of cgroups alone, with the controller %s: make vm", c)
		}
	}
	for _, name := range []string{"host", "coreos"} {
		t.Run(name, func(t *testing.T) {
			tt := host(t, name)
			t.Run("memory", func(t *testing.T) { memoryOf2(tt.of(t)) })
			t.Run("pids", func(t *testing.T) { pidsOf2(tt.of(t)) })
			t.Run("cpu", func(t *testing.T) { cpuOf2(tt.of(t)) })
		})
	}
}

// of is t for a part of its test.
func (t *T) of(part *testing.T) *T {
	return &T{T: part, Host: t.Host.For(part), Flavor: t.Flavor, Image: t.Image}
}

// memoryOf2: who takes too much is killed, and that is told, of the app and of the
// pod; who takes less is not.
func memoryOf2(t *T) {
	const hungry = "x=xxxxxxxx; while :; do x=$x$x; done"
	for _, c := range []struct {
		pod, app []string
	}{{nil, []string{"--memory=32M"}}, {[]string{"--memory=64M"}, nil}} {
		file := filepath.Join(t.TempDir(), "uuid")
		r := t.Run(append([]string{"--uuid-file-save=" + file}, c.pod...), append([]string{"--name=x"}, c.app...), "exec sh -c '"+hungry+"'")
		uuid, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := t.Host.Must("status", strings.TrimSpace(string(uuid))).Stdout
		if r.Status != 137 || !strings.Contains(text, "app-x=137\n") || !strings.Contains(text, "oom-x=") {
			t.Errorf("%q %q: status %d, want 137; rkt status:\n%s%s", c.pod, c.app, r.Status, text, r.Stderr)
		}
	}
	t.Want("fed\n", []string{"--memory=256M"}, []string{"--memory=64M"}, "head -c 8000000 /dev/zero | tail -c 8000000 >/dev/null && echo fed")
}

// pidsOf2: a fork too many fails, the app's or the pod's own.
func pidsOf2(t *T) {
	forks := func(n int) string { return strings.Repeat("sleep 2 & ", n) + "wait; echo forked" }
	t.Want("forked\n", nil, []string{"--pids-limit=8"}, forks(3))
	if r := t.Run(nil, []string{"--pids-limit=8"}, forks(12)); r.Status == 0 || !strings.Contains(r.Stderr, "can't fork") {
		t.Errorf("12 processes of 8: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// cpuOf2: who burns the processor is held back.
func cpuOf2(t *T) {
	p, uuid := t.Start(nil, []string{"--name=x", "--cpu=100m"}, "echo ready; while :; do :; done")
	found, err := filepath.Glob("/sys/fs/cgroup/rkt-" + uuid + "/x/cpu.stat")
	if more, _ := filepath.Glob("/sys/fs/cgroup/*/rkt-" + uuid + "/x/cpu.stat"); err != nil || len(found)+len(more) != 1 {
		t.Fatalf("the app's cgroup: %q, %q, %v", found, more, err)
	} else {
		found = append(found, more...)
	}
	max, err := os.ReadFile(filepath.Dir(found[0]) + "/cpu.max")
	if f := strings.Fields(string(max)); err != nil || len(f) != 2 || f[0]+" of "+f[1] != "10000 of 100000" {
		t.Errorf("cpu.max is %q, %v", max, err)
	}
	held := false
	for until := time.Now().Add(rkt.Patience); !held && time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		b, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		held = strings.Contains(string(b), "nr_throttled") && !strings.Contains(string(b), "nr_throttled 0\n")
	}
	if !held {
		t.Error("an app of a tenth of a processor is never held back")
	}
	t.Host.Must("stop", "--force", uuid)
	if got := p.Wait(); got != 137 {
		t.Errorf("status %d, want 137", got)
	}
}
