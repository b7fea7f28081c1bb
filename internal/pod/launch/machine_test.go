// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A pod whose registration ended, and was reaped on the way to a `run` that did not
// come to be, is forgotten if it had become known, and only then.
func TestForgetAfterTheRegistrationEnded(t *testing.T) {
	for script, known := range map[string]bool{"exit 0": true, "exit 1": false} {
		dir := t.TempDir()
		program := filepath.Join(dir, "program")
		write(t, dir, "program", "#!/bin/sh\necho \"$1\" >told\n", 0o755)
		child, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Waitid(unix.P_PID, child, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
		s := &Start{machineState: machineState{program: program, pid: child}}
		env, err := s.machineToRun()
		if err != nil || (len(env) == 1) != known {
			t.Errorf("%s: machineToRun: %q, %v", script, env, err)
		}
		if err := s.forget(dir)(); err != nil {
			t.Errorf("%s: forget: %v", script, err)
		}
		told, err := os.ReadFile(filepath.Join(dir, "told"))
		if got := err == nil && string(told) == "unregister\n"; got != known {
			t.Errorf("%s: the program was told %q (%v)", script, told, err)
		}
	}
}

// TestForgetSlowly: a registration that does not come to its end is not waited for,
// and the pod is forgotten all the same.
func TestForgetSlowly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "program", "#!/bin/sh\necho \"$1\" >told\n", 0o755)
	child, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "3600"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Start{machineState: machineState{program: filepath.Join(dir, "program"), pid: child}}
	if err := s.forget(dir)(); err != nil {
		t.Error(err)
	}
	if told, err := os.ReadFile(filepath.Join(dir, "told")); err != nil || string(told) != "unregister\n" {
		t.Errorf("the program was told %q (%v)", told, err)
	}
	if err := unix.Kill(child, 0); err != unix.ESRCH {
		t.Errorf("the registration goes on (%v)", err)
	}
}
