// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A network once took a thread with it, and with that thread the fetch helper
// that it happened to have started.
func TestNewNetworkLeavesThreadsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var children []*exec.Cmd
	for range 20 {
		c := exec.Command("/bin/sleep", "1000")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			fd, err := NewNetwork()
			if err != nil {
				t.Error(err)
				return
			}
			unix.Close(fd)
		})
	}
	all.Wait()
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != own {
			t.Errorf("%s is %s", task, ns)
		}
	}
	for _, c := range children {
		if err := c.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("child %d: %v", c.Process.Pid, err)
		}
		var ws unix.WaitStatus
		if pid, _ := unix.Wait4(c.Process.Pid, &ws, unix.WNOHANG, nil); pid != 0 {
			t.Errorf("child %d was ended: %v", c.Process.Pid, ws)
			continue
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}
