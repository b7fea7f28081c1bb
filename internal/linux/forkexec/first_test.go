// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("FORKEXEC_ORPHAN") != "" {
		orphan()
	}
	os.Exit(m.Run())
}

// sh is a Child that runs a shell script.
func sh(t *testing.T, script string) *Child {
	t.Helper()
	c := &Child{}
	if err := c.Exec("/bin/sh", []string{"sh", "-c", script}, []string{"PATH=/bin:/usr/bin"}); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin makes a First in a pid namespace of its own.
func begin(t *testing.T, c *Child) *First {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if c == nil {
		c = &Child{}
	}
	c.CloneFlags = unix.CLONE_NEWPID
	f, err := Begin(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFirstEndsWithItsApp(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "test $$ = 2 && exit 3": 3} {
		f := begin(t, nil)
		f.Go(&Rest{App: sh(t, script), Moment: time.Minute, Then: sh(t, "exit 99")})
		o, err := f.Wait()
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		if got := status(t, o.PID); got != want || !o.Ended || o.Status != want {
			t.Errorf("%s: ended %v with %d, first process with %d, want %d", script, o.Ended, o.Status, got, want)
		}
		if o.App != 2 || o.Started.IsZero() || o.Finished.Before(o.Started) {
			t.Errorf("%s: outcome %+v", script, o)
		}
	}
}

// What lives longer than the moment is left to Then, which has its pid 1.
func TestFirstBecomesThen(t *testing.T) {
	f := begin(t, nil)
	f.Go(&Rest{App: sh(t, "exec sleep 1000"), Moment: time.Millisecond, Then: sh(t, "test $$ = 1 && kill -0 2 && exit 6")})
	o, err := f.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, o.PID); got != 6 || o.Ended || o.App != 2 {
		t.Errorf("ended with %d, outcome %+v", got, o)
	}
}

// Without an app it becomes Then at once.
func TestFirstWithoutApp(t *testing.T) {
	f := begin(t, nil)
	f.Go(&Rest{Then: sh(t, "test $$ = 1 && exit 4")})
	o, err := f.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, o.PID); got != 4 || o.App != 0 || o.Ended {
		t.Errorf("ended with %d, outcome %+v", got, o)
	}
}

// It has the signal mask of its maker, though that blocked all while it cloned.
func TestFirstBlocksNoSignal(t *testing.T) {
	f := begin(t, nil)
	f.Go(&Rest{Then: sh(t, `set -- $(grep SigBlk /proc/self/status); test "$2" = 0000000000000000 && exit 5`)})
	o, err := f.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, o.PID); got != 5 {
		t.Errorf("ended with %d", got)
	}
}

func TestFirstSaysWhatFailed(t *testing.T) {
	nowhere := func() *Child {
		c := &Child{}
		gone, err := c.String("/nowhere/at/all")
		if err != nil {
			t.Fatal(err)
		}
		c.Call("enter nowhere", unix.SYS_CHDIR, gone)
		return c
	}
	for name, c := range map[string]struct {
		begin *Child
		rest  *Rest
		app   bool
	}{
		"begin": {nowhere(), &Rest{App: sh(t, "exit 0"), Moment: time.Minute, Then: sh(t, "exit 0")}, false},
		"rest":  {nil, &Rest{Child: *nowhere(), App: sh(t, "exit 0"), Moment: time.Minute, Then: sh(t, "exit 0")}, false},
		"app":   {nil, &Rest{App: nowhere(), Moment: time.Minute, Then: sh(t, "exit 0")}, true},
		"then":  {nil, &Rest{Then: nowhere()}, false},
	} {
		f := begin(t, c.begin)
		f.Go(c.rest)
		_, err := f.Wait()
		var e *Error
		if !errors.As(err, &e) || e.What != "enter nowhere" || e.Errno != unix.ENOENT {
			t.Errorf("%s: error %v", name, err)
		}
		var app *AppError
		if errors.As(err, &app) != c.app {
			t.Errorf("%s: %T", name, err)
		}
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("%s: a child is left: %v", name, err)
		}
	}
}

func TestFirstKilled(t *testing.T) {
	f := begin(t, nil)
	f.Kill()
	if err := unix.Kill(f.PID(), 0); err != unix.ESRCH {
		t.Errorf("it is still there: %v", err)
	}
}

// Killed by somebody else, before it has an app.
func TestFirstKilledByOthers(t *testing.T) {
	f := begin(t, nil)
	if err := unix.Kill(f.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for atomic.LoadInt32(&f.w.tid) != 0 {
		runtime.Gosched()
	}
	f.Go(&Rest{App: sh(t, "exit 0"), Moment: time.Minute, Then: sh(t, "exit 0")})
	if _, err := f.Wait(); err != ErrKilled {
		t.Errorf("error %v, want %v", err, ErrKilled)
	}
}

// Many of them, while other threads allocate and collect garbage.
func TestFirstBesideABusyRuntime(t *testing.T) {
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
	for i := range 30 {
		f := begin(t, nil)
		if i%3 == 0 {
			runtime.GC()
		}
		f.Go(&Rest{App: sh(t, "exit 1"), Moment: time.Minute, Then: sh(t, "exit 99")})
		o, err := f.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got := status(t, o.PID); got != 1 {
			t.Fatalf("ended with %d", got)
		}
	}
}

// orphan begins a First that never asks to end with its parent, says its pid, and
// is killed.
func orphan() {
	runtime.LockOSThread()
	f, err := Begin(&Child{CloneFlags: unix.CLONE_NEWPID})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(f.PID())
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
}

// One whose parent died before it could ask to die with it ends all the same.
func TestFirstOrphaned(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "FORKEXEC_ORPHAN=1")
	out, _ := cmd.Output()
	var pid int
	if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &pid); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 20_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("it lives on without its parent")
		}
		return
	}
}
