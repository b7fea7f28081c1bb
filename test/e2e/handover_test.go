// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// becomesRun waits until rkt has become stage1's `run`.
func becomesRun(t *testing.T, p *rkt.Process) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		exe, err := os.Readlink("/proc/" + strconv.Itoa(p.PID()) + "/exe")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(exe, "/stage1-native") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("rkt does not become stage1's run")
		}
	}
}

// A signal that comes while rkt becomes `run` waits for that.
func TestSignalAtTheHandover(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2} {
		h := host(t)
		p, _ := startTiny(t, h, nil, nil, "trap 'exit 24' "+name+"; echo ready; while :; do sleep 0.1; done")
		becomesRun(t, p)
		p.Signal(sig)
		if got := p.Wait(); got != 24 {
			t.Errorf("%s: exit status %d, want 24", name, got)
		}
		h.Gone()
	}
}

// One that was stopped when it should have become `run` does so when it goes on.
func TestStoppedAtTheHandover(t *testing.T) {
	h := host(t)
	p, _ := startTiny(t, h, nil, nil, "echo ready; exec sleep 1000")
	p.Signal(syscall.SIGSTOP)
	time.Sleep(2500 * time.Millisecond)
	p.Signal(syscall.SIGWINCH) // interrupts its wait
	p.Signal(syscall.SIGCONT)
	becomesRun(t, p)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	h.Gone()
}

// The pod's root may set the OOM score of the pod's first process, but not that of
// rkt, with which that shares its memory at first.
func TestOOMScoreOfRkt(t *testing.T) {
	h := host(t)
	p, _ := startTiny(t, h, nil, nil, "echo 777 > /proc/1/oom_score_adj; echo ready; exec sleep 1000")
	want, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	becomesRun(t, p)
	if got, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/oom_score_adj"); err != nil || string(got) != string(want) {
		t.Errorf("rkt's oom_score_adj is %q, want %q (%v)", got, want, err)
	}
	p.Signal(syscall.SIGKILL)
	p.Wait()
	h.Gone()
}

// Apps have the caller's limit of open files, not what Go makes of it for itself.
func TestLimitOfOpenFiles(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 321, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }()
	h := host(t)
	img := image(t, images.Tiny)
	script := []string{"--exec=/bin/sh", "--", "-c", "ulimit -Sn"}
	one := append([]string{"run", "--net=host", img}, script...)
	two := append(append([]string{"run", "--net=host", img, "--name=one"}, script...), "---", img, "--name=two", "--exec=/bin/true")
	for _, args := range [][]string{one, two} { // started by the first process, and by init
		if r := h.Must(args...); r.Out() != "321" {
			t.Errorf("soft limit %q, want 321", r.Out())
		}
	}
}
