// SPDX-License-Identifier: Apache-2.0

package pidfd

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPID(t *testing.T) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	if got := PID(self); got != os.Getpid() {
		t.Errorf("PID of this process = %d, want %d", got, os.Getpid())
	}
	cmd := exec.Command("/bin/sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := PID(fd); got != 0 {
		t.Errorf("PID of an ended process = %d, want 0", got)
	}
	if got := PID(-1); got != 0 {
		t.Errorf("PID of no descriptor = %d, want 0", got)
	}
}

func TestOpenAndParent(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if got := Parent(pid); got != os.Getpid() {
		t.Errorf("parent %d, want %d", got, os.Getpid())
	}
	fd, err := Open(pid)
	if err != nil || PID(fd) != pid {
		t.Errorf("Open: %d of process %d, %v", fd, PID(fd), err)
	}
	unix.Close(fd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if fd, err := Open(pid); fd != -1 || err != nil {
		t.Errorf("Open of an ended process: %d, %v", fd, err)
	}
	if got := Parent(pid); got != 0 {
		t.Errorf("parent of an ended process: %d", got)
	}
}
