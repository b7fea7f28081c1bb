// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/images"
)

func TestExitStatus(t *testing.T) {
	h := host(t)
	for script, want := range map[string]int{
		"exit 0":     0,
		"exit 1":     1,
		"exit 7":     7,
		"exit 255":   255,
		"kill -9 $$": 128 + 9,
		// The kernel spares a pid 1 its own TERM; the app is not pid 1.
		"kill -TERM $$; sleep 5": 128 + 15,
		"kill -SEGV $$; sleep 5": 128 + 11,
		// A child that outlives the app does not hold the pod.
		"sleep 1000 & exit 3": 3,
	} {
		if r := tiny(t, h, nil, nil, script); r.Status != want {
			t.Errorf("%q: exit status %d, want %d\n%s", script, r.Status, want, r.Stderr)
		}
	}
	if r := h.Rkt("run", "--net=host", image(t, images.Tiny), "--exec=/no/such/program"); r.Status != 254 || !strings.Contains(r.Stderr, "/no/such/program") {
		t.Errorf("a missing program: exit status %d, stderr %q; want 254 and its name", r.Status, r.Stderr)
	}
}

// TestScheduling: what rkt does to its own threads does not reach the app, and
// what the caller chose does.
func TestScheduling(t *testing.T) {
	h := host(t)
	script := `read -r stat </proc/self/stat; set -- $stat; echo "policy ${41}"`
	for _, way := range []struct {
		chrt []string
		want string
	}{{nil, "policy 0"}, {[]string{"chrt", "-b", "0"}, "policy 3"}, {[]string{"chrt", "-i", "0"}, "policy 5"}, {[]string{"chrt", "-r", "5"}, "policy 2"}} {
		for _, apps := range []int{1, 2} { // the first process starts one, init starts several
			args := []string{"run", "--net=host"}
			for i := range apps {
				args = append(args, image(t, images.Tiny), fmt.Sprintf("--name=a%d", i), "--exec=/bin/sh", "--", "-c", script, "---")
			}
			h.Under = way.chrt
			r := h.Rkt(args...)
			if r.Status != 0 || strings.Count(r.Stdout, way.want) != apps {
				t.Errorf("%v, %d apps: status %d, %q; want %s\n%s", way.chrt, apps, r.Status, r.Stdout, way.want, r.Stderr)
			}
		}
	}
}

// TestFirstFailureWins: the pod's status is that of the first app that fails,
// and a failing app ends the pod.
func TestFirstFailureWins(t *testing.T) {
	h := host(t)
	img := image(t, images.Tiny)
	args := func(first, second string) []string {
		return []string{"run", "--net=host",
			img, "--name=one", "--exec=/bin/sh", "--", "-c", first, "---",
			img, "--name=two", "--exec=/bin/sh", "--", "-c", second, "---"}
	}
	if r := h.Rkt(args("exit 0", "exit 0")...); r.Status != 0 {
		t.Errorf("both succeed: exit status %d\n%s", r.Status, r.Stderr)
	}
	if r := h.Rkt(args("exit 0", "sleep 0.2; exit 5")...); r.Status != 5 {
		t.Errorf("the second fails: exit status %d, want 5\n%s", r.Status, r.Stderr)
	}
	if r := h.Rkt(args("exit 4", "trap 'exit 9' TERM; sleep 1000 & wait")...); r.Status != 4 {
		t.Errorf("the first fails, the second is stopped: exit status %d, want 4\n%s", r.Status, r.Stderr)
	}
	if r := h.Rkt(args("exit 0", "sleep 0.2; echo two went on")...); r.Status != 0 || !strings.Contains(r.Stdout, "two went on") {
		t.Errorf("a successful app must not end the others: exit status %d, stdout %q", r.Status, r.Stdout)
	}
}

func TestSignalsReachTheApp(t *testing.T) {
	for name, c := range map[string]struct {
		sig    syscall.Signal
		script string
		want   int
		old    bool // stage0 has left the pod to stage1's `run`
	}{
		"TERM, handled, old pod": {syscall.SIGTERM, "trap 'echo got TERM; exit 21' TERM; echo ready; while :; do sleep 0.1; done", 21, true},
		"INT, default, old pod":  {syscall.SIGINT, "echo ready; exec sleep 1000", 128 + 2, true},
		"WINCH, handled, old":    {syscall.SIGWINCH, "trap 'echo got WINCH; exit 25' WINCH; echo ready; while :; do sleep 0.1; done", 25, true},
		"TERM, handled":          {syscall.SIGTERM, "trap 'echo got TERM; exit 21' TERM; echo ready; while :; do sleep 0.1; done", 21, false},
		"INT, handled":           {syscall.SIGINT, "trap 'echo got INT; exit 22' INT; echo ready; while :; do sleep 0.1; done", 22, false},
		"HUP, handled":           {syscall.SIGHUP, "trap 'echo got HUP; exit 23' HUP; echo ready; while :; do sleep 0.1; done", 23, false},
		"TERM, default":          {syscall.SIGTERM, "echo ready; exec sleep 1000", 128 + 15, false},
		"INT, default":           {syscall.SIGINT, "echo ready; exec sleep 1000", 128 + 2, false},
		"USR1, handled":          {syscall.SIGUSR1, "trap 'echo got USR1; exit 24' USR1; echo ready; while :; do sleep 0.1; done", 24, false},
		"WINCH, ignored":         {syscall.SIGWINCH, "trap 'echo got WINCH; exit 25' WINCH; echo ready; while :; do sleep 0.1; done", 25, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			p, _ := startTiny(t, h, nil, nil, c.script)
			if c.old {
				time.Sleep(2500 * time.Millisecond)
			}
			p.Signal(c.sig)
			if got := p.Wait(); got != c.want {
				t.Errorf("exit status %d, want %d", got, c.want)
			}
			h.Gone()
		})
	}
}

// TestKillLeavesNothing: kill -9 of rkt takes the whole pod along.
func TestKillLeavesNothing(t *testing.T) {
	h := host(t)
	p, uuid := startTiny(t, h, nil, nil, "trap '' TERM HUP INT; setsid sleep 1000 & sleep 1000 & echo ready; while :; do sleep 1; done")
	p.Signal(syscall.SIGKILL)
	if got := p.Wait(); got != 128+9 {
		t.Errorf("exit status %d, want 137", got)
	}
	h.Gone()
	if state := field(h.Must("status", uuid).Stdout, "state"); state != "exited" {
		t.Errorf("state=%s, want exited", state)
	}
	h.Must("gc", "--grace-period=0s")
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("after gc, pods %q are left", pods)
	}
}

func TestStop(t *testing.T) {
	h := host(t)
	p, uuid := startTiny(t, h, nil, nil, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
	if r := h.Must("stop", uuid[:8]); !strings.Contains(r.Stdout, uuid) {
		t.Errorf("rkt stop printed %q, want the UUID", r.Stdout)
	}
	p.Expect("bye")
	p.Wait()
	h.Gone()
	if r := h.Rkt("stop", uuid); r.Status != 0 {
		t.Errorf("stopping a stopped pod: exit status %d, want 0\n%s", r.Status, r.Stderr)
	}

	p, uuid = startTiny(t, h, nil, nil, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	h.Must("stop", "--force", uuid)
	if got := p.Wait(); got == 0 {
		t.Errorf("a pod that was killed ended with status 0")
	}
	h.Gone()
}

// TestStopSignal: the image's own stop signal is used instead of TERM.
func TestStopSignal(t *testing.T) {
	h := host(t)
	p := h.Start("run", "--net=none", image(t, images.Nginx), "--exec=/bin/bash", "--", "-c", "trap 'echo got QUIT; exit 0' QUIT; echo ready; while :; do sleep 0.1; done")
	p.Expect("ready")
	h.Must("stop", h.Pods()[0])
	p.Expect("got QUIT")
	p.Wait()
}

// TestSignalsAreNotBlocked: what rkt's caller has blocked reaches apps all the same.
func TestSignalsAreNotBlocked(t *testing.T) {
	h := host(t)
	const script = "grep SigBlk /proc/self/status"
	const want = "SigBlk:\t0000000000000000\n"
	p, uuid := startTiny(t, h, nil, nil, "echo ready; exec sleep 1000")
	runtime.LockOSThread() // not unlocked: the thread goes with the goroutine
	set := unix.Sigset_t{}
	for _, s := range []unix.Signal{unix.SIGUSR1, unix.SIGALRM, unix.SIGCHLD, unix.SIGPIPE, unix.SIGTERM} {
		set.Val[0] |= 1 << (s - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		t.Fatal(err)
	}
	// The test's own children have them blocked.
	if out, err := exec.Command("grep", "SigBlk", "/proc/self/status").Output(); err != nil || string(out) == want {
		t.Fatalf("nothing is blocked: %q, %v", out, err)
	}
	for name, flags := range map[string][]string{"of a moment": nil, "started by init": {"--oom-score-adj=100"}} {
		if r := tiny(t, h, nil, flags, script); r.Stdout != want {
			t.Errorf("%s: %q\n%s", name, r.Stdout, r.Stderr)
		}
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", script); r.Stdout != want {
		t.Errorf("entered: %q\n%s", r.Stdout, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}
