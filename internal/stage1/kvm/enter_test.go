// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestAwaitApp: who comes while the machine starts waits for the app, or for the
// pod's end.
func TestAwaitApp(t *testing.T) {
	t.Chdir(t.TempDir())
	begin := func() (*exec.Cmd, *poddir.EventLog) {
		run := exec.Command("sleep", "1000")
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		events, err := poddir.OpenEvents(".")
		if err != nil {
			t.Fatal(err)
		}
		return run, events
	}
	wait := func() chan error {
		came := make(chan error, 1)
		go func() { came <- awaitApp("app") }()
		select {
		case err := <-came:
			t.Fatalf("it has not waited: %v", err)
		case <-time.After(30 * time.Millisecond):
		}
		return came
	}
	run, events := begin()
	came := wait() // before `run` is noted
	events.Note(contract.RunLine(run.Process.Pid, 1))
	events.Note(contract.InitLine(run.Process.Pid, 1))
	events.Note(contract.StartedLine("other", run.Process.Pid, 1))
	again := wait()
	events.Note(contract.StartedLine("app", run.Process.Pid, 1))
	for _, c := range []chan error{came, again} {
		if err := <-c; err != nil {
			t.Errorf("an app that has started: %v", err)
		}
	}
	_ = run.Process.Kill()
	_ = run.Wait()

	t.Chdir(t.TempDir())
	run, events = begin()
	events.Note(contract.RunLine(run.Process.Pid, 1))
	came = wait()
	_ = run.Process.Kill()
	_ = run.Wait()
	if err := <-came; !errors.Is(err, errEnded) {
		t.Errorf("a pod that ends: %v", err)
	}
	if err := awaitApp("app"); !errors.Is(err, errEnded) {
		t.Errorf("a pod that has ended: %v", err)
	}
}
