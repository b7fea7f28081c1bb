// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

type findings map[string]struct{ State, Detail string }

// TestDoctor compares what the doctor finds with what other programs say, and
// sees that it leaves nothing behind.
func TestDoctor(t *testing.T) {
	h := host(t)
	say := func(script string) string {
		return strings.TrimSpace(h.Shell("{ " + script + "; } 2>/dev/null").Stdout)
	}
	snapshot := "ls -lAR " + h.Dir + "; ip -o link; nft list tables; cat /proc/self/mountinfo; find /sys/fs/cgroup -name '*doctor*'; ls -A " + h.Dir + "/.."
	h.Must("gc") // makes the data directory
	before := say(snapshot)
	var list []struct{ ID, State, Detail string }
	r := h.Must("doctor", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("%v\n%s", err, r.Stdout)
	}
	if after := say(snapshot); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	got := findings{}
	for _, f := range list {
		got[f.ID] = struct{ State, Detail string }{f.State, f.Detail}
	}
	yes := func(b bool) string {
		if b {
			return "ok"
		}
		return "missing"
	}
	works := func(name string, args ...string) string { return yes(exec.Command(name, args...).Run() == nil) }
	has := func(id, want string) {
		t.Helper()
		if got[id].State != want {
			t.Errorf("%s: %+v, want %s", id, got[id], want)
		}
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	has("overlay", yes(strings.Contains(string(filesystems), "\toverlay\n")))
	has("namespaces", works("unshare", "-m", "-p", "-f", "-i", "-u", "-n", "true"))
	has("namespaces.user", works("unshare", "-U", "-r", "-m", "-n", "true"))
	has("veth", works("unshare", "-n", "ip", "link", "add", "name", "rkt-x", "type", "veth", "peer", "name", "rkt-y"))
	has("bridge", works("unshare", "-n", "ip", "link", "add", "name", "rkt-x", "type", "bridge"))
	has("nftables", works("unshare", "-n", "nft", "add", "table", "inet", "x"))
	has("group.rkt", works("getent", "group", "rkt"))
	has("user.rkt-fetch", works("getent", "passwd", "rkt-fetch"))
	has("subuid", works("grep", "-q", "^root:", "/etc/subuid"))
	for _, p := range []string{"igzip", "unpigz", "xz", "newuidmap", "pasta", "slirp4netns"} {
		path, err := exec.LookPath(p)
		has("program."+p, yes(err == nil))
		if err == nil && got["program."+p].Detail != path {
			t.Errorf("%s: %+v, want %s", p, got["program."+p], path)
		}
	}
	if kind := say("stat -f -c %T " + h.Dir); !strings.HasPrefix(got["directory.space"].Detail, strings.Split(kind, "/")[0]) {
		t.Errorf("file system: %+v, want %s", got["directory.space"], kind)
	}
	if kind := say("stat -f -c %T /sys/fs/cgroup"); (kind == "cgroup2fs") != strings.HasPrefix(got["cgroup"].Detail, "version 2") {
		t.Errorf("cgroup: %+v, want %s", got["cgroup"], kind)
	}
	if got["kvm.boot"].State != "unknown" {
		t.Errorf("kvm.boot: %+v", got["kvm.boot"])
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		has("kvm", "missing")
	}
}
