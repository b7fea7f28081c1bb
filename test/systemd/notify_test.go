// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"strings"
	"testing"

	"github.com/rkt/rkt/test/rkt"
	"github.com/rkt/rkt/test/systemdhost"
)

// speaker is an app that speaks sd_notify(3): it says what it reads from a fifo in
// /data, and tries to be more than it is.
const speaker = `
import os, socket, signal, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
say("MAINPID=1\nSTATUS=watchdog " + os.environ.get("WATCHDOG_USEC", "none"))
while True:
    with open("/data/words") as f: say(f.read().strip())
`

func property(s *systemdhost.Session, unit, name string) string {
	return s.Must("systemctl", "show", "--property="+name, "--value", unit).Out()
}

// speaks starts a unit with the speaker, which is not ready yet, and returns how to
// have it say something.
func speaks(t *testing.T, s *systemdhost.Session, unit string, properties ...string) (say func(string)) {
	s.Shell("mkdir -p /root/" + unit + " && mkfifo /root/" + unit + "/words")
	argv := []string{"systemd-run", "--quiet", "--no-block", "--unit=" + unit, "-p", "Type=notify", "-p", "KillMode=mixed"}
	for _, p := range properties {
		argv = append(argv, "-p", p)
	}
	python := s.Must("rkt", "--insecure-options=image", "fetch", "--full", image("python")).Out()
	argv = append(append(argv, rktRun...), "--volume=data,kind=host,source=/root/"+unit, python, "--annotation=appc.io/executor/supports-systemd-notify=true",
		"--mount=volume=data,target=/data", "--exec=/usr/bin/python3", "--", "-c", speaker)
	s.Must(argv...)
	s.Until("the app speaks", func(r rkt.Result) bool { return strings.HasPrefix(r.Stdout, "watchdog") }, "systemctl", "show", "--property=StatusText", "--value", unit)
	return func(text string) {
		s.Feed(text, "timeout", "20", "sh", "-c", "cat > /root/"+unit+"/words")
	}
}

func status(want string) func(rkt.Result) bool {
	return func(r rkt.Result) bool { return r.Out() == want }
}

// TestNotify: a unit of Type=notify is up when its pod's apps have started.
func TestNotify(t *testing.T) {
	s := booted.Session(t)
	uuid := service(s, "ready", []string{"Type=notify"}, nil) // systemd-run waits for it
	if state := property(s, "ready", "ActiveState"); state != "active" {
		t.Errorf("the unit is %s", state)
	}
	s.Must("rkt", "stop", uuid)
	s.Until("the unit has ended", status("inactive"), "systemctl", "is-active", "ready")
	id := tiny(s)
	argv := append([]string{"systemd-run", "--quiet", "--wait", "--collect", "-p", "Type=notify"}, rktRun...)
	for _, script := range []string{"true", "sleep 0.1", "exit 7"} {
		want := 0
		if script == "exit 7" {
			want = 7
		}
		if r := s.Run(append(argv, id, "--exec=/bin/sh", "--", "-c", script)...); r.Status != want {
			t.Errorf("%s: status %d\n%s", script, r.Status, r.Stderr)
		}
	}
	// Of two apps the first has a child that says when it runs, the second is not
	// there: the pod was never ready.
	r := s.Run(append(argv, id, "--name=one", "--exec=/bin/sleep", "--", "5", "---", id, "--name=two", "--exec=/no/such/program")...)
	if r.Status == 0 {
		t.Error("a pod whose second app does not start is ready")
	}
}

// TestNotifyOfApp: an app that speaks says itself that it is ready, in stage0's time
// and in `run`'s, and cannot say more than what is an app's.
func TestNotifyOfApp(t *testing.T) {
	s := booted.Session(t)
	for _, late := range []bool{false, true} {
		unit := map[bool]string{false: "early", true: "late"}[late]
		say := speaks(t, s, unit)
		if late {
			s.Must("sleep", "2.2") // stage0 has gone
		}
		if state := property(s, unit, "ActiveState"); state != "activating" {
			t.Errorf("%s: the unit is %s before its app said that it is ready", unit, state)
		}
		main := property(s, unit, "MainPID")
		say("READY=1\nMAINPID=1\nSTATUS=serving\n")
		s.Until("the unit is up", status("active"), "systemctl", "is-active", unit)
		if text := property(s, unit, "StatusText"); text != "serving" {
			t.Errorf("%s: its status is %q", unit, text)
		}
		if pid := property(s, unit, "MainPID"); pid != main || pid == "1" {
			t.Errorf("%s: its main process was %s, and is %s", unit, main, pid)
		}
		say("STATUS=done\n")
		s.Until("its status comes", status("done"), "systemctl", "show", "--property=StatusText", "--value", unit)
		s.Must("systemctl", "stop", unit)
		if result := property(s, unit, "Result"); result != "success" {
			t.Errorf("%s: its result is %s", unit, result)
		}
	}
}

// TestWatchdog: an app that falls silent is ended; where no app can be heard, there
// is no watchdog to be had.
func TestWatchdog(t *testing.T) {
	s := booted.Session(t)
	say := speaks(t, s, "watched", "WatchdogSec=4")
	if text := property(s, "watched", "StatusText"); text != "watchdog 4000000" {
		t.Errorf("the app knows of %q", text)
	}
	say("READY=1")
	s.Until("the unit is up", status("active"), "systemctl", "is-active", "watched")
	before := property(s, "watched", "WatchdogTimestampMonotonic")
	say("WATCHDOG=1")
	s.Until("the watchdog hears of it", func(r rkt.Result) bool { return r.Out() != before }, "systemctl", "show", "--property=WatchdogTimestampMonotonic", "--value", "watched")
	s.Until("the watchdog ends it", status("failed"), "systemctl", "is-active", "watched")
	if result := property(s, "watched", "Result"); result != "watchdog" {
		t.Errorf("its result is %s", result)
	}
	s.Must("systemctl", "reset-failed", "watched")

	argv := append([]string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "-p", "Type=notify", "-p", "WatchdogSec=4"}, rktRun...)
	r := s.Run(append(argv, tiny(s), "--exec=/bin/true")...)
	if r.Status != 254 || !strings.Contains(r.Stderr, "watchdog would hear of no app") {
		t.Errorf("status %d, %s", r.Status, r.Stderr)
	}
}
