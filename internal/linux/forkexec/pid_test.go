// SPDX-License-Identifier: Apache-2.0

package forkexec

import (
	"strconv"
	"testing"
	"time"

	"github.com/rkt/rkt/internal/linux/wait"
)

func TestWrite(t *testing.T) {
	for _, n := range []uintptr{0, 1, 9, 10, 99, 100, 4194304, 1<<31 - 1} {
		to := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
		write(&to, n)
		want := strconv.Itoa(int(n))
		if string(to[:len(want)+1]) != want+"\x00" {
			t.Errorf("%d is %q", n, to)
		}
	}
}

const own = `test "$OWN_PID" = $$ && test "$OTHER" = x && exit 7`

func telling(t *testing.T) *Child {
	t.Helper()
	c := &Child{}
	if err := c.TellPID("OWN_PID"); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("/bin/sh", []string{"sh", "-c", own}, []string{"PATH=/bin:/usr/bin", "OTHER=x"}); err != nil {
		t.Fatal(err)
	}
	return c
}

// A program learns its own pid, in whatever namespace.
func TestTellPID(t *testing.T) {
	for _, name := range []string{"", "A=B", "A\x00"} {
		if (&Child{}).TellPID(name) == nil {
			t.Errorf("%q is a variable", name)
		}
	}
	for range 3 {
		pid, err := telling(t).Start()
		if err != nil {
			t.Fatal(err)
		}
		if status, err := wait.For(pid); err != nil || status != 7 {
			t.Errorf("ended with %d, %v", status, err)
		}
	}
	f := begin(t, nil)
	f.Go(&Rest{App: telling(t), Moment: time.Minute, Then: sh(t, "exit 99")})
	if o, err := f.Wait(); err != nil || o.Status != 7 {
		t.Errorf("in a namespace: %+v, %v", o, err)
	}
}
