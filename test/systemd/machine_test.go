// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"strings"
	"testing"

	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/systemdhost"
)

// loop is an app that says when it is up, and ends well when it is told to.
const loop = `trap 'echo told to end; exit 0' TERM; echo up; while :; do sleep 0.05; done`

// service starts a pod with loop as the unit, and returns its UUID. Words are
// between rkt run and the image.
func service(s *systemdhost.Session, unit string, properties, words []string) string {
	argv := []string{"systemd-run", "--quiet", "--unit=" + unit, "-p", "KillMode=mixed"}
	for _, p := range properties {
		argv = append(argv, "-p", p)
	}
	argv = append(append(argv, rktRun...), words...)
	s.Must(append(argv, tiny(s), "--exec=/bin/sh", "--", "-c", loop)...)
	s.Until("the app is up", func(r rkt.Result) bool { return strings.Contains(r.Stdout, "up\n") },
		"journalctl", "--unit="+unit, "--output=cat", "--no-pager")
	return running(s)
}

// running is the UUID of the pod that runs.
func running(s *systemdhost.Session) string {
	for line := range strings.Lines(s.Must("rkt", "list", "--no-legend", "--full").Stdout) {
		if strings.Contains(line, "running") {
			return strings.Fields(line)[0]
		}
	}
	return ""
}

// known waits until machined knows the pod.
func known(s *systemdhost.Session, uuid string) {
	s.Until("the pod is a machine", func(r rkt.Result) bool { return strings.Contains(r.Stdout, "rkt-"+uuid+" ") }, "machinectl", "list", "--no-legend", "--full")
}

// machines counts those that machined has ever known.
func machines(s *systemdhost.Session) int {
	return strings.Count(s.Journal("systemd-machined", "--output=cat"), "New machine rkt-")
}

// TestMachine: machined knows a service's pod, and can do with it what it does with
// containers that have no systemd inside.
func TestMachine(t *testing.T) {
	s := booted.Session(t)
	uuid := service(s, "known", nil, nil)
	known(s, uuid)
	if machines(s) == 0 {
		t.Error("the journal has no word of it, on which TestMachineNone relies")
	}
	name := "rkt-" + uuid
	if out := s.Must("machinectl", "list", "--no-legend", "--full").Stdout; !strings.Contains(out, name+" container rkt ") {
		t.Errorf("machinectl list: %s", out)
	}
	init := strings.TrimSpace(s.Must("machinectl", "show", "--property=Leader", "--value", name).Stdout)
	if out := s.Must("rkt", "status", uuid).Stdout; !strings.Contains(out, "pid="+init+"\n") {
		t.Errorf("the machine's leader is %s, rkt status says:\n%s", init, out)
	}
	out := s.Must("machinectl", "status", "--no-pager", name).Stdout
	for _, want := range []string{name + "(" + strings.ReplaceAll(uuid, "-", "") + ")", "Service: rkt; class container", "Unit: known.service"} {
		if !strings.Contains(out, want) {
			t.Errorf("machinectl status has no %q:\n%s", want, out)
		}
	}
	if r := s.Run("machinectl", "shell", name); r.Status == 0 {
		t.Error("machinectl shell works: docs/systemd.md says that it cannot")
	}
	// The pod outlives stage0's attention: what it tells is told by its run.
	s.Must("machinectl", "poweroff", name)
	s.Until("the unit has ended", func(r rkt.Result) bool { return r.Out() == "inactive" }, "systemctl", "is-active", "known")
	if out := s.Journal("known", "--output=cat"); !strings.Contains(out, "told to end\n") || !strings.Contains(out, "Deactivated successfully") {
		t.Errorf("the pod did not power off well:\n%s", out)
	}
}

// TestMachineTerminate: it is the unit's end.
func TestMachineTerminate(t *testing.T) {
	s := booted.Session(t)
	uuid := service(s, "ended", nil, nil)
	known(s, uuid)
	s.Must("sleep", "2.5") // now the pod's `run` is there, which ends it otherwise than stage0
	s.Must("machinectl", "terminate", "rkt-"+uuid)
	s.Until("the unit has ended", func(r rkt.Result) bool { return r.Out() == "inactive" }, "systemctl", "is-active", "ended")
}

// TestMachineForgotten: a pod of a scope, which ends before its unit does, is
// forgotten with its own end, by stage0 as by `run`.
func TestMachineForgotten(t *testing.T) {
	s := booted.Session(t)
	id := tiny(s)
	for _, life := range []string{"1", "3"} {
		script := `systemd-run --quiet --scope --unit=one-$1 rkt --insecure-options=image run --net=none "$0" --exec=/bin/sleep -- "$1" & 
			until machinectl list --no-legend | grep -q rkt-; do sleep 0.05; done
			wait $!; echo "status $?"; machinectl list --no-legend`
		if out := s.Must("sh", "-c", script, id, life).Stdout; out != "status 0\n" {
			t.Errorf("a pod of %s s: %s", life, out)
		}
	}
}

// TestMachineNone: what is not made known: a pod that is told not to be; one that
// shares its unit, which machinectl terminate would stop; one in a user's session;
// none of them waits for it.
func TestMachineNone(t *testing.T) {
	s := booted.Session(t)
	for name, argv := range map[string][]string{
		"told":    append([]string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect"}, append(rktRun, "--register=false")...),
		"shared":  append([]string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "sh", "-c", `sleep 0.01; "$0" "$@"; exit $?`}, rktRun...),
		"session": append([]string{"systemd-run", "--quiet", "--scope", "--collect", "--slice=user-0.slice"}, rktRun...),
		"no unit": rktRun,
	} {
		before := machines(s)
		r := s.Run(append(argv, tiny(s), "--exec=/bin/sh", "--", "-c", "sleep 0.7; echo done")...)
		if r.Status != 0 || r.Stdout != "done\n" || strings.Contains(r.Stderr, "machine") {
			t.Errorf("%s: status %d, %q, %s", name, r.Status, r.Stdout, r.Stderr)
		}
		if n := machines(s); n != before {
			t.Errorf("%s: the pod was made known", name)
		}
	}
}
