// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"strings"
	"testing"
)

// rktRun are the words before a pod's image.
var rktRun = []string{"rkt", "--insecure-options=image", "run", "--net=none"}

// TestService: a pod as a service: its process is the unit's, its output the
// unit's, and to stop the unit is to stop the app in its own way.
func TestService(t *testing.T) {
	s := booted.Session(t)
	uuid := service(s, "web", nil, nil)
	if out := s.Must("systemctl", "status", "--no-pager", "web").Stdout; !strings.Contains(out, "active (running)") {
		t.Errorf("systemctl status:\n%s", out)
	}
	main := s.Must("systemctl", "show", "--property=MainPID", "--value", "web").Out()
	if pid := s.Must("rkt", "status", uuid).Stdout; !strings.Contains(pid, "pid=") {
		t.Errorf("rkt status:\n%s", pid)
	}
	if cgroup := s.Must("cat", "/proc/"+main+"/cgroup").Stdout; !strings.Contains(cgroup, "0::/system.slice/web.service") {
		t.Errorf("the service's process is in %s", cgroup)
	}
	if dir := s.Shell("ls -d /sys/fs/cgroup/system.slice/web.service/rkt-*").Out(); !strings.HasSuffix(dir, "/rkt-"+uuid) {
		t.Errorf("the pod's cgroup: %s", dir)
	}

	s.Must("systemctl", "stop", "web")
	if out := s.Journal("web", "--output=cat"); !strings.Contains(out, "told to end\n") {
		t.Errorf("the app did not hear of it:\n%s", out)
	}
	if out := s.Journal("web", "--output=cat"); !strings.Contains(out, "web.service: Deactivated successfully.") {
		t.Errorf("the unit did not end well:\n%s", out)
	}
	if state := s.Must("rkt", "list", "--no-legend").Stdout; !strings.Contains(state, "exited") {
		t.Errorf("rkt list: %s", state)
	}
}

// TestServiceStatus: the pod's exit status is the unit's.
func TestServiceStatus(t *testing.T) {
	s := booted.Session(t)
	id := tiny(s)
	argv := append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect"}, rktRun...)
	r := s.Run(append(argv, id, "--exec=/bin/sh", "--", "-c", "echo out; exit 7")...)
	if r.Status != 7 || r.Stdout != "out\n" {
		t.Errorf("status %d, output %q, %s", r.Status, r.Stdout, r.Stderr)
	}
}
