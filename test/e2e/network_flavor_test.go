// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shellFlavor is a flavor without `init`, of which only the network is looked at:
// docs/stage1-contract.md is all that it is written from.
const shellFlavor = `#!/bin/bash
case $1 in
run)
	echo "run $$ $(date +%s%N)" >>events
	[ -z "$RKT_RESOLV" ] || printf 'resolv %s' "$RKT_RESOLV"
	if [ -n "$RKT_NETNS_FD" ]; then
		eval "nsenter --net=/proc/self/fd/$RKT_NETNS_FD ip -o addr; exec $RKT_NETNS_FD<&-"
	else
		ip -o addr
	fi
	status=0
	[ -z "$RKT_NETWORK" ] || ("$RKT_NETWORK" del 3>&1 >/dev/null) | grep -qx done || status=9
	[ -z "$RKT_CGROUP" ] || find "$RKT_CGROUP" -depth -type d -exec rmdir {} +
	exit $status;;
gc) ;;
esac
`

// TestNetworkOfFlavor: a flavor that assembles its pods itself gets a network that
// is attached, and gives it back.
func TestNetworkOfFlavor(t *testing.T) {
	w := newWorld(t)
	dir, config := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(config, "paths.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		dir + "/stage1-shell":            shellFlavor,
		dir + "/stage1-shell.json":       `{"contractVersion":1,"name":"shell","entrypoints":{"run":["stage1-shell","run"],"enter":["stage1-shell","enter"],"stop":["stage1-shell","stop"],"gc":["stage1-shell","gc"]},"features":["net-contained","net-none","net-host","ports"]}`,
		config + "/paths.d/flavors.json": `{"rktKind":"paths","rktVersion":"v1","stage1-images":"` + dir + `"}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(flags ...string) string {
		t.Helper()
		r := w.h.Rkt(append(append([]string{"--local-config=" + config, "run", "--stage1-name=shell"}, flags...), w.id)...)
		if r.Status != 0 {
			t.Errorf("%q: status %d\n%s%s", flags, r.Status, r.Stdout, r.Stderr)
		}
		return r.Stdout
	}
	if out := run("--port=web:tcp:80:8080"); !strings.Contains(out, "eth0    inet 172.16.28.2/22") || !strings.Contains(out, "eth0    inet6 fd") || strings.Contains(out, "up0") {
		t.Errorf("attached:\n%s", out)
	}
	w.nothingLeft()
	if out := run("--net=none"); !strings.Contains(out, "127.0.0.1/8") || strings.Contains(out, "eth0") || strings.Contains(out, "up0") {
		t.Errorf("without networks:\n%s", out)
	}
	if out := run("--net=host"); !strings.Contains(out, "up0") {
		t.Errorf("the host's:\n%s", out)
	}
	// A flavor that cannot be executed holds nothing.
	if err := os.Remove(dir + "/stage1-shell"); err != nil {
		t.Fatal(err)
	}
	if r := w.h.Rkt("--local-config="+config, "run", "--stage1-name=shell", w.id); r.Status != 254 || !strings.Contains(r.Stderr, "cannot execute stage1") {
		t.Errorf("without its program: status %d, %s", r.Status, r.Stderr)
	}
	w.nothingLeft()
}
