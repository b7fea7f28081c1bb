// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/rkt"
)

// TestTalk: the lines by which rkt was introduced, with etcd.
func TestTalk(t *testing.T) {
	s := booted.Session(t)
	r := s.Must("systemd-run", "rkt", "--insecure-options=image", "run", image("etcd"), "--name=etcd", "--net=host")
	unit := strings.TrimSuffix(strings.TrimSpace(r.Stderr[strings.LastIndexByte(r.Stderr, ':')+1:]), ".service")
	s.Until("etcd serves", func(r rkt.Result) bool { return strings.Contains(r.Stdout, "127.0.0.1:2379") }, "journalctl", "--no-pager", "-u", unit, "-t", "etcd")
	if out := s.Must("systemctl", "status", "--no-pager", unit).Stdout; !strings.Contains(out, "active (running)") {
		t.Errorf("systemctl status:\n%s", out)
	}
	s.Until("machinectl lists it", func(r rkt.Result) bool { return strings.Contains(r.Stdout, " container rkt ") }, "machinectl", "list")
	s.Must("systemctl", "stop", unit)
	s.Run("systemctl", "reset-failed", unit) // etcd ends by the signal that it was sent, with its number
}

// TestUnitFiles: systemd finds nothing wrong with the units of dist/, and they do
// their work.
func TestUnitFiles(t *testing.T) {
	s := booted.Session(t)
	files, err := filepath.Glob("../../dist/systemd/system/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d unit files, %v", len(files), err)
	}
	verify := []string{"systemd-analyze", "verify", "--man=no"}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := "/usr/lib/systemd/system/" + filepath.Base(f)
		s.Write(to, string(text))
		verify = append(verify, to)
	}
	s.Must("systemctl", "daemon-reload")
	if r := s.Run(verify...); r.Status != 0 || strings.Contains(r.Stderr, "rkt") {
		t.Errorf("systemd-analyze verify: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	s.Must(append(rktRun, tiny(s), "--exec=/bin/true")...)
	s.Must("systemctl", "start", "rkt-gc.service")
	if out := s.Must("rkt", "list", "--no-legend").Stdout; !strings.Contains(out, "exited garbage") {
		t.Errorf("after gc rkt list says:\n%s", out)
	}
	s.Must("systemctl", "start", "rkt-gc.timer")
	if out := s.Must("systemctl", "list-timers", "--no-pager").Stdout; !strings.Contains(out, "rkt-gc.service") {
		t.Errorf("timers:\n%s", out)
	}
	s.Must("systemctl", "stop", "rkt-gc.timer")
}
