// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/wait"
)

// sh is a Child that runs a shell script.
func sh(t *testing.T, script string) *Child {
	t.Helper()
	c := &Child{}
	if err := c.Exec("/bin/sh", []string{"sh", "-c", script}, []string{"PATH=/bin:/usr/bin"}); err != nil {
		t.Fatal(err)
	}
	return c
}

// newFirst is a First in a pid namespace of its own, with a socket to hang up.
func newFirst(t *testing.T) (*First, int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	f := &First{Hangup: ends[0]}
	f.CloneFlags = unix.CLONE_NEWPID
	f.Call("close the other end", unix.SYS_CLOSE, uintptr(ends[1]))
	return f, ends[1]
}

func TestFirstEndsWithItsApp(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "test $$ = 2 && exit 3": 3} {
		f, _ := newFirst(t)
		f.App, f.Moment, f.Then = sh(t, script), time.Minute, sh(t, "exit 99")
		o, err := f.Start()
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

// What lives longer than the moment is left to Then, whose child it is.
func TestFirstBecomesThen(t *testing.T) {
	f, _ := newFirst(t)
	dir := t.TempDir()
	f.App, f.Moment = sh(t, "while ! test -e "+dir+"/go; do :; done; exit 5"), time.Millisecond
	// busybox and dash both wait for children they did not start, by pid 1's duty.
	f.Then = sh(t, "test $$ = 1 || exit 98; touch "+dir+"/go; while test -d /proc/self && kill -0 2 2>/dev/null; do :; done; exit 6")
	o, err := f.Start()
	if err != nil {
		t.Fatal(err)
	}
	if o.Ended || o.App != 2 {
		t.Errorf("outcome %+v, want an app that lives", o)
	}
	_ = unix.Kill(o.PID, unix.SIGKILL)
	if got := status(t, o.PID); got != 137 && got != 6 {
		t.Errorf("the first process ended with %d", got)
	}
}

// Without an app it becomes Then at once.
func TestFirstWithoutApp(t *testing.T) {
	f, _ := newFirst(t)
	f.Then = sh(t, "test $$ = 1 && exit 4")
	o, err := f.Start()
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, o.PID); got != 4 || o.App != 0 || o.Ended {
		t.Errorf("ended with %d, outcome %+v", got, o)
	}
}

func TestFirstSaysWhatFailed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*First, uintptr)
		app   bool
	}{
		"itself": {spoil: func(f *First, gone uintptr) { f.Call("enter nowhere", unix.SYS_CHDIR, gone) }},
		"app": {app: true, spoil: func(f *First, gone uintptr) {
			f.App = &Child{}
			f.App.Call("enter nowhere", unix.SYS_CHDIR, gone)
		}},
		"then": {spoil: func(f *First, gone uintptr) {
			f.App, f.Moment = nil, 0
			f.Then = &Child{}
			f.Then.Call("enter nowhere", unix.SYS_CHDIR, gone)
		}},
	} {
		f, _ := newFirst(t)
		gone, err := f.String("/nowhere/at/all")
		if err != nil {
			t.Fatal(err)
		}
		f.App, f.Moment, f.Then = sh(t, "exit 0"), time.Minute, sh(t, "exit 0")
		c.spoil(f, gone)
		_, err = f.Start()
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

// The end of the other side ends the moment, and so does a kill.
func TestFirstMomentEnds(t *testing.T) {
	f, other := newFirst(t)
	f.App, f.Moment, f.Then = sh(t, "sleep 1000"), time.Hour, sh(t, "exit 8")
	go func() {
		time.Sleep(50 * time.Millisecond)
		unix.Shutdown(other, unix.SHUT_RDWR)
	}()
	o, err := f.Start()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wait.For(o.PID); got != 8 || err != nil || o.Ended {
		t.Errorf("ended with %d (%v), outcome %+v", got, err, o)
	}
}
