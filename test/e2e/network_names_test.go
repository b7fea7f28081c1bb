// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/rkt"
)

// resolvers are the pids of programs of this installation that attach pods, or
// answer for them.
func resolvers() (pids []string) {
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, e := range exes {
		if to, _ := os.Readlink(e); to == filepath.Join(install.Dir, "libexec", "rkt", "network") {
			pids = append(pids, filepath.Base(filepath.Dir(e)))
		}
	}
	return pids
}

// noResolvers waits until all of them have ended.
func (w *world) noResolvers() {
	w.t.Helper()
	for until := time.Now().Add(rkt.Patience); ; time.Sleep(10 * time.Millisecond) {
		pids := resolvers()
		if pids == nil {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("resolvers are left: %q", pids)
		}
	}
}

// TestNetworkNames: a pod that asks for it finds its neighbours by their host
// names, as long as they run, and its resolver ends with it, however it ends.
func TestNetworkNames(t *testing.T) {
	w := newWorld(t)
	db := w.pod([]string{"--hostname=db"}, "tcp::80")
	closed := w.pod([]string{"--hostname=closed", "--net=default-restricted"}, "tcp::80")
	// It lives long enough for its flavor's `run` to take over.
	web := w.podScript([]string{"--net=default:names=on", "--hostname=web"}, "echo ready; sleep 3; echo lives; sleep 1000")
	answersTo := func(p *netPod, name string) (string, error) { return p.ask("tcp", name, 80) }
	w.answers("by name", web.ip[0])(answersTo(web, "db"))
	web.Expect("lives")
	w.answers("by name, later", web.ip[0])(answersTo(web, "DB"))
	w.silent("a name of another network")(answersTo(web, "closed"))
	w.silent("by name without having asked for that")(answersTo(db, "web"))
	late := w.pod([]string{"--hostname=late"}, "tcp::80")
	w.answers("one that came later", web.ip[0])(answersTo(web, "late"))
	out := w.h.Must("enter", web.uuid, "/bin/busybox", "nslookup", "db", "127.0.0.53").Stdout
	if !strings.Contains(out, db.ip[0]) {
		t.Errorf("busybox nslookup:\n%s", out)
	}
	late.end()
	w.silent("one that has ended")(answersTo(web, "late"))
	if len(resolvers()) != 1 {
		t.Errorf("resolvers %q; one pod has asked for one", resolvers())
	}
	// Without privileges.
	if status, err := os.ReadFile("/proc/" + resolvers()[0] + "/status"); err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") ||
		!strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Errorf("the resolver has privileges: %v\n%s", err, status)
	}
	web.end()
	w.noResolvers()

	// Killed with rkt, young and old.
	for _, script := range []string{"echo ready; sleep 1000", "echo ready; sleep 3; echo lives; sleep 1000"} {
		p := w.podScript([]string{"--net=default:names=on"}, script)
		if strings.Contains(script, "lives") {
			p.Expect("lives")
		}
		p.Signal(unix.SIGKILL)
		p.Wait()
		w.noResolvers()
	}
	r := w.run([]string{"--net=default:names=on", "--dns=192.0.2.53"}, "echo started")
	if r.Status != 254 || !strings.Contains(r.Stderr, "argument names: it does not go with --dns") {
		t.Errorf("with --dns: status %d\n%s", r.Status, r.Stderr)
	}
	if r := w.run([]string{"--net=default:names=on"}, "cat /etc/resolv.conf"); !strings.Contains(r.Stdout, "nameserver 127.0.0.53\n") {
		t.Errorf("resolv.conf: %q\n%s", r.Stdout, r.Stderr)
	}
	db.end()
	closed.end()
	w.h.Must("gc", "--grace-period=0s")
	w.nothingLeft()
}
