// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// whereabouts is what an assembly changes of a thread.
type whereabouts struct {
	namespaces map[string]string
	umask      int
	uid, gid   int
	capable    uint32
	open       int
}

func here(t *testing.T) (w whereabouts) {
	t.Helper()
	w.namespaces = map[string]string{}
	for _, kind := range []string{"mnt", "uts", "ipc", "net", "user", "pid", "pid_for_children"} {
		ns, err := os.Readlink("/proc/thread-self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		w.namespaces[kind] = ns
	}
	w.umask = unix.Umask(0)
	unix.Umask(w.umask)
	uid, _, _ := unix.RawSyscall(unix.SYS_GETEUID, 0, 0, 0)
	gid, _, _ := unix.RawSyscall(unix.SYS_GETEGID, 0, 0, 0)
	w.uid, w.gid = int(uid), int(gid)
	var caps [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
		t.Fatal(err)
	}
	w.capable = caps[0].Effective
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	w.open = len(fds)
	return w
}

// TestBeginFails: whatever goes wrong, at whatever point, the thread is where it
// was, and nothing is left open.
func TestBeginFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // not unlocked: the thread goes with the goroutine
	want := errors.New("no network")
	users := contract.Users{First: 1 << 30, Count: 65536}
	badNetwork := func(int) (int, error) { return unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0) }
	before := here(t)
	for name, c := range map[string]struct {
		wants Wants
		files uint64 // how many descriptors it may open beside those that are; 0 for any number
	}{
		"no network":                  {Wants{Network: func(int) (int, error) { return -1, want }}, 0},
		"no network, its own users":   {Wants{Network: func(int) (int, error) { return -1, want }, Users: users}, 0},
		"another network":             {Wants{Network: badNetwork}, 0},
		"users that cannot be mapped": {Wants{Users: contract.Users{First: 1<<32 - 2, Count: 65536}}, 0},
		"the host's IPC":              {Wants{HostIPC: true, Network: func(int) (int, error) { return -1, want }}, 0},
		"first descriptor":            {Wants{}, 1},
		"second descriptor":           {Wants{}, 2},
		"third descriptor":            {Wants{}, 3},
		"fourth descriptor":           {Wants{}, 4},
		"fifth descriptor":            {Wants{}, 5},
		"sixth descriptor":            {Wants{}, 6},
		"users, fourth descriptor":    {Wants{Users: users}, 4},
		"users, fifth descriptor":     {Wants{Users: users}, 5},
		"users, sixth descriptor":     {Wants{Users: users}, 6},
		"users, seventh descriptor":   {Wants{Users: users}, 7},
	} {
		var a *Assembly
		var err error
		fd := -1
		if given := c.wants.Network; given != nil {
			c.wants.Network = func(made int) (int, error) {
				var err error
				fd, err = given(made)
				return fd, err
			}
		}
		if c.files == 0 {
			a, err = Begin(c.wants)
		} else {
			a, err = withFiles(t, c.files, c.wants)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err == nil {
			t.Errorf("%s: it succeeded", name)
			_ = a.Leave()
		}
		if errors.Is(err, ErrAstray) || a != nil && err != nil {
			t.Errorf("%s: %v, %v", name, a, err)
		}
		if after := here(t); !reflect.DeepEqual(after, before) {
			t.Errorf("%s (%v): the thread is\n%+v, and was\n%+v", name, err, after, before)
			before = after
		}
	}
	// And it can be used again.
	a, err := Begin(Wants{Users: users})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Leave(); err != nil {
		t.Fatal(err)
	}
	if after := here(t); !reflect.DeepEqual(after, before) {
		t.Errorf("the thread is\n%+v, and was\n%+v", after, before)
	}
}

// withFiles is Begin of a process that may open n more files.
func withFiles(t *testing.T, n uint64, w Wants) (*Assembly, error) {
	t.Helper()
	// Those up to the first that is free have no holes.
	free, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = uint64(free) + n - 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	a, err := Begin(w)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	return a, err
}
