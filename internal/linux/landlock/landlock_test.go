// SPDX-License-Identifier: Apache-2.0

package landlock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHandled: what is asked of a kernel grows with its ABI, and never beyond.
func TestHandled(t *testing.T) {
	last := rulesetAttr{}
	for abi := 1; abi <= 9; abi++ {
		attr, size := handled(abi)
		if attr.fs&last.fs != last.fs || attr.net&last.net != last.net || attr.scoped&last.scoped != last.scoped {
			t.Errorf("ABI %d asks for less than the one before", abi)
		}
		if (attr.net != 0) != (size >= 16) || (attr.scoped != 0) != (size == 24) {
			t.Errorf("ABI %d: %+v in %d bytes", abi, attr, size)
		}
		last = attr
	}
	if attr, size := handled(1); attr.fs != 1<<13-1 || size != 8 {
		t.Errorf("ABI 1: %#x, %d bytes", attr.fs, size)
	}
}

// TestRestrict restricts a shell and looks at what it can do still.
func TestRestrict(t *testing.T) {
	if ABI() == 0 {
		t.Skip("needs Landlock")
	}
	if dir := os.Getenv("RKT_TEST_LANDLOCK"); dir != "" {
		restricted(t, dir)
		return
	}
	dir := t.TempDir()
	for _, d := range []string{"reads", "fills", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d, "f"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestRestrict$", "-test.v")
	cmd.Env = append(os.Environ(), "RKT_TEST_LANDLOCK="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func restricted(t *testing.T, dir string) {
	runtime.LockOSThread() // the domain is this thread's, and goes with it
	fills, err := unix.Open(dir+"/fills", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	set, err := New(Rules{Reads: []string{dir + "/reads", dir + "/nothing"}, Fills: []int{fills}})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set.FD(), 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	_ = set.Close()
	open := func(path string, flags int) error {
		fd, err := unix.Open(dir+path, flags, 0o644)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	socket := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrInet4{})
	}
	for what, c := range map[string]struct {
		err   error
		works bool
	}{
		"read what may be read":  {open("/reads/f", unix.O_RDONLY), true},
		"write what may be read": {open("/reads/f", unix.O_WRONLY), false},
		"create there":           {open("/reads/g", unix.O_WRONLY|unix.O_CREAT), false},
		"read elsewhere":         {open("/other/f", unix.O_RDONLY), false},
		"list elsewhere":         {open("/other", unix.O_RDONLY|unix.O_DIRECTORY), false},
		"create where to fill":   {open("/fills/g", unix.O_WRONLY|unix.O_CREAT), true},
		"link out of it":         {unix.Link(dir+"/fills/f", dir+"/other/g"), false},
		"remove in it":           {unix.Unlink(dir + "/fills/f"), true},
		"remove elsewhere":       {unix.Unlink(dir + "/other/f"), false},
		"bind a port":            {socket(), ABI() < 4},
	} {
		if (c.err == nil) != c.works {
			t.Errorf("%s: %v", what, c.err)
		}
		if c.err != nil && !errors.Is(c.err, unix.EACCES) && !errors.Is(c.err, unix.EXDEV) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
}
