// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/test/rkt"
)

// TestPause: a paused pod does nothing, and says so; it goes on where it was, and
// can be stopped in every way.
func TestPause(t *testing.T) {
	if _, err := cgroup.Own(); err != nil {
		t.Skipf("needs a cgroup of version 2: %v", err)
	}
	h := host(t)
	dir := shared(t)
	volume, mount := []string{"--volume=v,kind=host,source=" + dir}, []string{"--mount=volume=v,target=/v"}
	p, uuid := startTiny(t, h, volume, mount, "trap 'echo told; exit 5' TERM; echo ready; while :; do date +%N >/v/beat; test -e /v/go && exit 3; done")
	beat := func() string {
		text, err := os.ReadFile(dir + "/beat")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	h.Must("resume", uuid) // it goes on already
	if out := h.Must("pause", uuid).Out(); !strings.Contains(out, uuid) {
		t.Errorf("pause prints %q", out)
	}
	h.Must("pause", uuid)
	before := beat()
	write(t, dir+"/go", "")
	if s := field(h.Must("status", uuid).Stdout, "state"); s != "paused" {
		t.Errorf("status says %q", s)
	}
	if r := h.Must("list", "--full", "--no-legend"); !strings.Contains(r.Stdout, "paused") {
		t.Errorf("list says %q", r.Stdout)
	}
	if r := h.Must("list", "--json"); !strings.Contains(r.Stdout, `"state":"paused"`) {
		t.Errorf("list says %q", r.Stdout)
	}
	if r := h.Rkt("enter", uuid, "/bin/true"); r.Status != 254 || !strings.Contains(r.Stderr, "the pod is paused") {
		t.Errorf("enter: status %d\n%s", r.Status, r.Stderr)
	}
	if now := beat(); now != before {
		t.Errorf("it went on: %q, %q", before, now)
	}
	h.Must("resume", uuid)
	if status := p.Wait(); status != 3 {
		t.Errorf("after resume it ended with %d", status)
	}
	if r := h.Rkt("pause", uuid); r.Status != 254 || !strings.Contains(r.Stderr, "not running") {
		t.Errorf("an ended pod: status %d\n%s", r.Status, r.Stderr)
	}
	for name, c := range map[string]struct {
		end    func(p *rkt.Process, uuid string)
		status int
	}{
		"stop":          {func(_ *rkt.Process, uuid string) { h.Must("stop", uuid) }, 5},
		"stop by force": {func(_ *rkt.Process, uuid string) { h.Must("stop", "--force", uuid) }, 137},
		"killed":        {func(p *rkt.Process, _ string) { p.Signal(syscall.SIGKILL) }, 137},
	} {
		p, uuid := startTiny(t, h, nil, nil, "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
		h.Must("pause", uuid)
		c.end(p, uuid)
		if status := p.Wait(); status != c.status {
			t.Errorf("%s: ended with %d, want %d", name, status, c.status)
		}
		if name == "killed" {
			h.Must("gc", "--grace-period=0s")
		}
		h.Gone()
	}
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("after the pods ended: %q", left)
	}
}
