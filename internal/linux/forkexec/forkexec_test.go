// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
)

func status(t *testing.T, pid int) int {
	t.Helper()
	n, err := wait.For(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStart(t *testing.T) {
	var c Child
	dir, err := c.String(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c.Call("enter a directory", unix.SYS_CHDIR, dir)
	if err := c.Exec("/bin/sh", []string{"sh", "-c", `test "$X" = y && test "$PWD" != / && exit 5`}, []string{"X=y"}); err != nil {
		t.Fatal(err)
	}
	pid, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, pid); got != 5 {
		t.Errorf("exit status %d, want 5", got)
	}
	if wd, _ := os.Getwd(); wd == "" {
		t.Error("the parent lost its directory")
	}
}

// A call that fails ends the child, names itself, and leaves no process.
func TestFailingCall(t *testing.T) {
	var c Child
	gone, _ := c.String("/nowhere/at/all")
	c.Try("this may fail", unix.SYS_CHDIR, gone)
	c.Call("enter nowhere", unix.SYS_CHDIR, gone)
	if err := c.Exec("/bin/true", []string{"true"}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Start()
	var e *Error
	if !errors.As(err, &e) || e.What != "enter nowhere" || e.Errno != unix.ENOENT {
		t.Fatalf("error %v, want enter nowhere: ENOENT", err)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

func TestNUL(t *testing.T) {
	var c Child
	if err := c.Exec("/bin/\x00sh", []string{"sh"}, nil); err == nil {
		t.Error("a path with a NUL was accepted")
	}
	if err := c.Exec("/bin/sh", []string{"a\x00b"}, nil); err == nil {
		t.Error("an argument with a NUL was accepted")
	}
}

// Many threads that allocate while others fork: the child must not need them.
func TestBusyParent(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = make([]byte, 1<<16)
				}
			}
		}()
	}
	for range 100 {
		var c Child
		if err := c.Exec("/bin/true", []string{"true"}, nil); err != nil {
			t.Fatal(err)
		}
		pid, err := c.Start()
		if err != nil {
			t.Fatal(err)
		}
		if got := status(t, pid); got != 0 {
			t.Fatalf("exit status %d", got)
		}
	}
}

// Go raises its own soft limit; a program must not inherit that: those that use
// select(2), or close whatever may be open, rely on a low one.
func TestLimitFiles(t *testing.T) {
	if os.Getenv("FORKEXEC_LIMIT") == "" {
		cmd := exec.Command("/bin/sh", "-c", "ulimit -Sn 321; exec /proc/$PPID/exe -test.run=^TestLimitFiles$")
		cmd.Env = append(os.Environ(), "FORKEXEC_LIMIT=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil || now.Cur == 321 {
		t.Skipf("Go did not raise the limit: %v, %v", now, err)
	}
	c := &Child{}
	if err := c.LimitFiles(); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("/bin/sh", []string{"sh", "-c", "exit $(($(ulimit -Sn) == 321 ? 7 : 8))"}, nil); err != nil {
		t.Fatal(err)
	}
	pid, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, pid); got != 7 {
		t.Errorf("the program has another limit: status %d", got)
	}
}
