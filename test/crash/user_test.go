// SPDX-License-Identifier: Apache-2.0

//go:build e2e && failpoint

package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/test/rkt"
)

// userStories are those of an ordinary user. Who has one id alone has other points
// to pass only where users are.
func userStories() map[string]story {
	tiny, plain := server.URL("tiny"), server.URL("plain")
	fetch := []string{"fetch", tiny}
	run := []string{"run", "--net=none", tiny, "--exec=/bin/sleep", "--", "0.1"}
	return map[string]story{
		"fetch": {command: fetch, again: true, user: rkt.SubIDs},
		"run":   {before: [][]string{fetch}, command: run, again: true, user: rkt.SubIDs},
		"run with one id": {before: [][]string{{"fetch", plain}}, again: true, user: rkt.NoSubIDs,
			command: []string{"run", "--net=none", plain, "--exec=/bin/sleep", "--", "0.1"}},
		"run of a moment": {before: [][]string{fetch}, again: true, never: "native/", user: rkt.SubIDs,
			command: []string{"run", "--net=none", tiny, "--exec=/bin/true"}},
		"run with volumes": {before: [][]string{fetch}, again: true, user: rkt.SubIDs,
			command: []string{"run", "--net=none", "--volume=v,kind=empty", tiny, "--mount=volume=v,target=/v", "--readonly-rootfs=true", "--exec=/bin/sleep", "--", "0.1"}},
		"run of two apps": {before: [][]string{fetch}, again: true, user: rkt.SubIDs,
			command: []string{"run", "--net=none", tiny, "--name=a", "--exec=/bin/true", tiny, "--name=b", "--exec=/bin/true"}},
		"run on a network": {before: [][]string{fetch}, again: true, user: rkt.SubIDs + rkt.Tun,
			command: []string{"run", "--net=default", "--port=web:tcp:80:18080", tiny, "--exec=/bin/sleep", "--", "0.1"}},
		"rm": {before: [][]string{fetch, run}, command: []string{"rm", "$UUID"}, user: rkt.SubIDs},
		"gc": {before: [][]string{fetch, run, {"prepare", tiny, "--exec=/bin/true"}}, again: true, user: rkt.SubIDs,
			command: []string{"gc", "--grace-period=0s", "--expire-prepared=0s"}},
	}
}

// TestCrashOfUser: what an ordinary user's rkt leaves when it is killed, that
// user's gc takes away.
func TestCrashOfUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become an ordinary user")
	}
	for _, c := range [][]string{{"link", "add", "crash0", "type", "veth", "peer", "name", "crash1"}, {"link", "set", "crash1", "up"},
		{"addr", "add", "192.0.2.10/24", "dev", "crash0"}, {"link", "set", "crash0", "up"}, {"route", "add", "default", "via", "192.0.2.1"}} {
		if out, err := exec.Command("ip", c...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(c, " "), err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "crash0").Run() })
	for name, s := range userStories() {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("pasta"); err != nil && name == "run on a network" {
				t.Skip("needs pasta")
			}
			s.test(t)
		})
	}
}

// byUser is a user's host, with a cgroup of version 2 that was given to the user,
// if this machine has that version: pods have theirs in it.
func byUser(t *testing.T, h *rkt.Host, setup string) *rkt.Host {
	t.Helper()
	h.ByUser(setup)
	own, err := cgroup.Own()
	if err != nil {
		return h
	}
	dir := filepath.Join(own, "rkt-crash-"+filepath.Base(filepath.Dir(h.Dir)))
	if err := cgroup.Create(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(dir + "/*/"); left != nil {
			t.Errorf("cgroups of pods are left: %q", left)
		}
		if err := cgroup.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, f := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, f), rkt.User, rkt.User); err != nil {
			t.Fatal(err)
		}
	}
	return h.In(dir, "")
}

// userGone: no process of the user is left, in whatever namespace, such as one that
// waits to be root of one or carries a network.
func userGone(t *testing.T) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := rkt.OfUser()
		if left == nil {
			return
		}
		if time.Since(start) > rkt.Patience {
			t.Fatalf("processes of the user are left: %q", left)
		}
	}
}
