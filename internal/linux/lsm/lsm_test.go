// SPDX-License-Identifier: Apache-2.0

package lsm

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
)

// TestOnExec: what comes before the label is written works, and a label that is
// not there stops the child by its name. That one which is there holds is shown
// end to end, where a kernel has AppArmor (tools/vm).
func TestOnExec(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	start := func(l Label) error {
		c := &forkexec.Child{CloneFlags: unix.CLONE_NEWPID}
		c.Call("close descriptors", unix.SYS_CLOSE_RANGE, 3, 1<<32-1, 0)
		if err := OnExec(c, l, OwnProc, 3); err != nil {
			return err
		}
		if err := c.Exec("/bin/true", []string{"true"}, nil); err != nil {
			return err
		}
		pid, err := c.Start()
		if err == nil {
			_, err = unix.Wait4(pid, nil, 0, nil)
		}
		return err
	}
	if err := start(Label{}); err != nil {
		t.Errorf("no label: %v", err)
	}
	for name, l := range map[string]Label{"AppArmor profile \"rkt-no-such\"": {AppArmor: "rkt-no-such"}, "SELinux context \"a:b:c\"": {SELinux: "a:b:c"}} {
		var e *forkexec.Error
		if err := start(l); !errors.As(err, &e) || !strings.Contains(e.What, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLoaded: no profile of that name is, anywhere. That one which is is found is
// shown end to end.
func TestLoaded(t *testing.T) {
	if is, err := Loaded("rkt-no-such"); is || err != nil {
		t.Errorf("a profile that is not there: %v, %v", is, err)
	}
}
