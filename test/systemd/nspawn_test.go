// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"strings"
	"testing"

	"github.com/rkt/rkt/test/rkt"
)

// TestNspawn: a pod of the host flavor is a machine with a journal of its own, which
// the host's journalctl reads, and ends in order when machinectl asks for that.
func TestNspawn(t *testing.T) {
	s := booted.Session(t)
	s.Shell("test -d /var/log/journal || { mkdir /var/log/journal && touch /var/log/journal/made; }")
	defer s.Shell("test ! -e /var/log/journal/made || rm -r /var/log/journal")
	uuid := service(s, "spawned", []string{"Type=notify"}, []string{"--stage1-name=host"})
	known(s, uuid)
	name, id := "rkt-"+uuid, strings.ReplaceAll(uuid, "-", "")
	for _, argv := range [][]string{
		{"journalctl", "--machine=" + name, "--output=cat", "--no-pager"},
		{"journalctl", "--merge", "_MACHINE_ID=" + id, "--output=cat", "--no-pager"},
	} {
		s.Until("the pod's journal is read by "+argv[1], func(r rkt.Result) bool { return strings.Contains(r.Stdout, "up\n") }, argv...)
	}
	init := strings.TrimSpace(s.Must("machinectl", "show", "--property=Leader", "--value", name).Stdout)
	if out := s.Must("cat", "/proc/"+init+"/comm").Out(); out != "systemd" {
		t.Errorf("the machine's leader is %q", out)
	}
	in := []string{"nsenter", "--target=" + init, "--mount", "--pid", "--ipc", "--cgroup", "--"}
	if out := s.Must(append(in, "systemctl", "list-units", "--no-pager", "--no-legend", "--plain", "--type=service")...).Stdout; !strings.Contains(strings.Join(strings.Fields(out), " "), ".service loaded active running rkt app ") {
		t.Errorf("the pod's systemd knows these services:\n%s", out)
	}
	s.Must("machinectl", "poweroff", name)
	s.Until("the unit has ended", func(r rkt.Result) bool { return r.Out() == "inactive" }, "systemctl", "is-active", "spawned")
	if out := s.Journal("spawned", "--output=cat"); !strings.Contains(out, "told to end\n") || !strings.Contains(out, "Deactivated successfully") {
		t.Errorf("the pod did not power off well:\n%s", out)
	}
	if r := s.Run("test", "-L", "/var/log/journal/"+id); r.Status == 0 {
		t.Error("the link to the pod's journal is still there")
	}
}

// TestNspawnStopped: systemctl stop is the apps' stop.
func TestNspawnStopped(t *testing.T) {
	s := booted.Session(t)
	service(s, "halted", nil, []string{"--stage1-name=host"})
	s.Must("systemctl", "stop", "halted")
	if out := s.Journal("halted", "--output=cat"); !strings.Contains(out, "told to end\n") || !strings.Contains(out, "Deactivated successfully") {
		t.Errorf("the pod did not stop well:\n%s", out)
	}
}

// TestNspawnKilled: of a pod whose run was killed machined knows nothing more, and gc
// takes away what is left outside of the pod's directory: its journal's link.
func TestNspawnKilled(t *testing.T) {
	s := booted.Session(t)
	s.Shell("test -d /var/log/journal || { mkdir /var/log/journal && touch /var/log/journal/made; }")
	defer s.Shell("test ! -e /var/log/journal/made || rm -r /var/log/journal")
	uuid := service(s, "slain", []string{"Type=notify"}, []string{"--stage1-name=host"})
	known(s, uuid)
	link := "/var/log/journal/" + strings.ReplaceAll(uuid, "-", "")
	s.Must("test", "-L", link)
	s.Must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "slain")
	s.Until("the unit has ended", func(r rkt.Result) bool { return r.Out() == "failed" }, "systemctl", "is-active", "slain")
	s.Until("the machine is forgotten", func(r rkt.Result) bool { return !strings.Contains(r.Stdout, uuid) }, "machinectl", "list", "--no-legend", "--full")
	s.Must("rkt", "gc", "--grace-period=0s")
	s.Must("rkt", "gc", "--grace-period=0s")
	if r := s.Run("test", "-L", link); r.Status == 0 {
		t.Error("the link to the pod's journal is still there")
	}
	if out := s.Must("rkt", "list", "--no-legend", "--full").Stdout; strings.Contains(out, uuid) {
		t.Errorf("after gc the pod is there:\n%s", out)
	}
	if out := s.Must("find", "/sys/fs/cgroup", "-name", "rkt-"+uuid+"*").Out(); out != "" {
		t.Errorf("after gc cgroups are left: %s", out)
	}
	s.Must("systemctl", "reset-failed", "slain")
}
