// SPDX-License-Identifier: Apache-2.0

package systemdhost

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rkt/rkt/test/rkt"
)

// A Session is a host as one test has it.
type Session struct {
	*Host
	t testing.TB
}

// Session begins a test on the host, which is skipped where there is none. When
// the test ends, what it left of pods in the host — a process, a cgroup, a
// machine, a mount, a unit that failed — fails it.
func (h *Host) Session(t testing.TB) *Session {
	t.Helper()
	if h == nil {
		t.Skip(Missing())
	}
	s := &Session{h, t}
	t.Cleanup(func() {
		if left := s.leftovers(); left != "" {
			t.Errorf("left in the systemd host:\n%s", left)
		}
		s.Must("systemctl", "reset-failed")
		s.Must("rkt", "gc", "--grace-period=0s", "--expire-prepared=0s")
		if t.Failed() {
			t.Logf("the journal's end:\n%s", s.Run("journalctl", "--no-pager", "--lines=60").Stdout)
		}
	})
	return s
}

// leftovers names what is left of pods.
func (s *Session) leftovers() string {
	return s.Shell(`
		for p in /proc/[0-9]*; do
			case "$(readlink $p/exe)" in */rkt|*/rkt/*) echo "process ${p#/proc/}: $(tr '\0' ' ' <$p/cmdline)";; esac
			case "$(readlink $p/cwd)" in /var/lib/rkt/*) echo "process ${p#/proc/} in $(readlink $p/cwd)";; esac
		done
		find /sys/fs/cgroup -name 'rkt-*-*-*-*-*' | sed 's/^/cgroup /'
		machinectl list --no-legend | sed 's/^/machine /'
		grep ' /var/lib/rkt/' /proc/self/mountinfo | sed 's/^/mount /'
		systemctl list-units --failed --no-legend | sed 's/^/failed /'`).Out()
}

// Run runs a command in the host to its end.
func (s *Session) Run(argv ...string) rkt.Result {
	s.t.Helper()
	return s.Feed("", argv...)
}

// Feed runs a command in the host with text as its standard input.
func (s *Session) Feed(text string, argv ...string) rkt.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), rkt.Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := s.command(ctx, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		s.t.Fatalf("%s: still running after %s\nstdout: %s\nstderr: %s", strings.Join(argv, " "), rkt.Patience, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		s.t.Fatalf("cannot run %s: %v", argv[0], err)
	}
	r := rkt.Result{Stdout: stdout.String(), Stderr: stderr.String(), Status: cmd.ProcessState.ExitCode()}
	s.t.Logf("%s → %d", strings.Join(argv, " "), r.Status)
	return r
}

// Must is Run for what must succeed.
func (s *Session) Must(argv ...string) rkt.Result {
	s.t.Helper()
	r := s.Run(argv...)
	if r.Status != 0 {
		s.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(argv, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r
}

// Shell runs a script of the host's shell, which must succeed.
func (s *Session) Shell(script string) rkt.Result {
	s.t.Helper()
	return s.Must("sh", "-c", script)
}

// Write writes a file of the host's. /run is the host's own: not there.
func (s *Session) Write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.Path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Until runs a command again and again until ok is content with its result, and
// ends the test if that does not come.
func (s *Session) Until(what string, ok func(rkt.Result) bool, argv ...string) rkt.Result {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		r := s.Run(argv...)
		if ok(r) {
			return r
		}
		if time.Since(begun) > rkt.Patience/2 {
			s.t.Fatalf("waiting until %s: %s: exit status %d\n%s%s", what, strings.Join(argv, " "), r.Status, r.Stdout, r.Stderr)
		}
	}
}

// Journal is what a unit's processes wrote, as journalctl prints it with options.
func (s *Session) Journal(unit string, options ...string) string {
	s.t.Helper()
	s.Must("journalctl", "--sync")
	return s.Must(append([]string{"journalctl", "--no-pager", "--quiet", "--unit=" + unit}, options...)...).Stdout
}
