// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/caps"
)

// An image chooses the working directory. It must not be a way to what the
// supervisor has open or sees (CVE-2024-21626).
func TestWorkingDirCannotBeTheSupervisors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	fd, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// As the supervisor is.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }()
	have, _, err := caps.Bounding()
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]error{
		"/":                                 nil,
		fmt.Sprintf("/proc/self/fd/%d", fd): unix.ENOENT,
		fmt.Sprintf("/proc/%d/root", os.Getpid()): unix.EACCES,
	} {
		p := &Process{
			Program: "/bin/true", Argv: []string{"true"}, Dir: dir,
			Bounding: caps.Default() & have, Stdio: [3]int{0, 1, 2},
		}
		pid, err := p.Start()
		if err == nil {
			var ws unix.WaitStatus
			if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != 0 {
				t.Errorf("%s: %v, status %d", dir, err, ws.ExitStatus())
			}
		}
		if !errors.Is(err, want) {
			t.Errorf("start in %s: %v, want %v", dir, err, want)
		}
	}
}

func TestAccountsAreNotReadFromProc(t *testing.T) {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	if text, err := readInRoot(root, "proc/version"); err == nil {
		t.Errorf("read %q", text)
	}
}
