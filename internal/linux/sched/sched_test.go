// SPDX-License-Identifier: Apache-2.0

package sched_test

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/linux/sched"
)

// policy asks chrt(1) of util-linux.
func policy(t *testing.T, tid int) string {
	t.Helper()
	out, err := exec.Command("chrt", "-p", strconv.Itoa(tid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, name, _ := strings.Cut(strings.SplitN(string(out), "\n", 2)[0], "policy: ")
	return name
}

func TestSecond(t *testing.T) {
	second := sched.Second()
	if second == 0 || second == os.Getpid() {
		t.Fatalf("second thread %d of process %d", second, os.Getpid())
	}
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(second)); err != nil {
		t.Fatal(err)
	}
	if err := sched.Set(second, sched.Batch); err != nil {
		t.Fatal(err)
	}
	if got := policy(t, second); got != "SCHED_BATCH" {
		t.Errorf("chrt says %s", got)
	}
	if got, err := sched.Get(second); err != nil || got != sched.Batch {
		t.Errorf("got %d, %v", got, err)
	}
	if err := sched.Set(second, sched.Normal); err != nil {
		t.Fatal(err)
	}
	if got := policy(t, second); got != "SCHED_OTHER" {
		t.Errorf("chrt says %s", got)
	}
}

func TestInherited(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its policy
		if err := sched.Set(0, sched.Batch); err != nil {
			done <- err
			return
		}
		done <- exec.Command("sh", "-c", "chrt -p $$ | grep -q SCHED_BATCH").Run()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := sched.Set(1<<22+1, sched.Batch); err == nil {
		t.Error("no error for a thread that cannot be")
	}
}
