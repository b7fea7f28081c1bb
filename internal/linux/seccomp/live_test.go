// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "seccomp-child" {
		var c confined
		if err := json.Unmarshal([]byte(os.Args[2]), &c); err != nil {
			panic(err)
		}
		c.run()
	}
	os.Exit(m.Run())
}

// confined is what a child does under a filter.
type confined struct {
	Filter Filter
	Only   []Arch     // if not nil: Default for these architectures
	NoNNP  bool       // as nobody, without no_new_privs
	Calls  [][]uint64 // number and arguments
	Exec   []string   // at last
}

func (c *confined) run() {
	runtime.LockOSThread()
	prog, err := ForApp(c.Filter, rktCaps)
	if c.Only != nil {
		p := Default(rktCaps, c.Only...)
		prog, err = Compile(&p)
	}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fail(err)
	if !c.NoNNP {
		fail(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	} else if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
		fail(e)
	}
	fail(Install(prog, 0))
	for _, call := range c.Calls {
		var v [7]uintptr
		for i, a := range call {
			v[i] = uintptr(a)
		}
		_, _, e := unix.RawSyscall6(v[0], v[1], v[2], v[3], v[4], v[5], v[6])
		fmt.Println(int(e))
	}
	if c.Exec != nil {
		fail(unix.Exec(c.Exec[0], c.Exec, nil))
	}
	os.Exit(0)
}

func (c *confined) start(t *testing.T) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, "seccomp-child", string(spec)).Output()
	return string(out), err
}

// The kernel takes the default filter, and it does what it should.
func TestLiveDefault(t *testing.T) {
	const bad = ^uint64(0) >> 1 // no descriptor, no address
	tests := []struct {
		name string
		call []uint64
		want unix.Errno
	}{
		{"getpid", []uint64{unix.SYS_GETPID}, 0},
		{"openat2", []uint64{unix.SYS_OPENAT2, bad, 0, 0, 0}, unix.EINVAL},
		{"socket AF_UNIX", []uint64{unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0}, 0},
		{"socket AF_VSOCK", []uint64{unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0}, unix.EPERM},
		{"socket AF_ALG", []uint64{unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, unix.EPERM},
		{"ioctl TCGETS", []uint64{unix.SYS_IOCTL, bad, unix.TCGETS}, unix.EBADF},
		{"ioctl TIOCSTI", []uint64{unix.SYS_IOCTL, bad, unix.TIOCSTI}, unix.EPERM},
		{"ioctl TIOCSTI with rubbish", []uint64{unix.SYS_IOCTL, bad, unix.TIOCSTI | 1<<40}, unix.EPERM},
		{"ioctl TIOCLINUX", []uint64{unix.SYS_IOCTL, bad, 0x541c}, unix.EPERM},
		{"keyctl", []uint64{unix.SYS_KEYCTL, 0, 0}, unix.EPERM},
		{"io_uring_setup", []uint64{unix.SYS_IO_URING_SETUP, 0, 0}, unix.EPERM},
		{"userfaultfd", []uint64{unix.SYS_USERFAULTFD, ^uint64(0)}, unix.EPERM},
		{"bpf", []uint64{unix.SYS_BPF, 9999, 0, 0}, unix.EPERM},
		{"clone3", []uint64{unix.SYS_CLONE3, 0, 0}, unix.ENOSYS},
		{"clone NEWUSER", []uint64{unix.SYS_CLONE, unix.CLONE_NEWUSER, 0, 0, 0, 0}, unix.EPERM},
		{"unshare NEWUSER", []uint64{unix.SYS_UNSHARE, unix.CLONE_NEWUSER}, unix.EPERM},
		{"unshare FS", []uint64{unix.SYS_UNSHARE, unix.CLONE_FS}, 0},
		{"personality query", []uint64{unix.SYS_PERSONALITY, 0xffffffff}, 0},
		{"personality ADDR_NO_RANDOMIZE", []uint64{unix.SYS_PERSONALITY, 0x40000}, unix.EPERM},
		{"9999", []uint64{9999}, unix.ENOSYS},
	}
	// Without the filter most of them would say something else.
	c := confined{Exec: []string{"/bin/echo", "end"}}
	free := confined{Filter: Filter{Mode: "unconfined"}}
	for _, tt := range tests {
		c.Calls = append(c.Calls, tt.call)
		if tt.want == unix.EPERM && tt.call[0] != unix.SYS_UNSHARE && tt.call[0] != unix.SYS_CLONE {
			free.Calls = append(free.Calls, tt.call)
		}
	}
	out, err := c.start(t)
	if err != nil {
		t.Fatal(err, stderr(err))
	}
	lines := strings.Fields(out)
	if len(lines) != len(tests)+1 || lines[len(tests)] != "end" {
		t.Fatalf("child says %q", out)
	}
	for i, tt := range tests {
		if lines[i] != fmt.Sprint(int(tt.want)) {
			t.Errorf("%s: errno %s, want %d", tt.name, lines[i], int(tt.want))
		}
	}
	out, err = free.start(t)
	if err != nil {
		t.Fatal(err, stderr(err))
	}
	denied := 0
	for line := range strings.FieldsSeq(out) {
		if line == "1" {
			denied++
		}
	}
	if denied > len(free.Calls)/2 {
		t.Errorf("without filter: %q", out)
	}
}

func stderr(err error) string {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

func killedBy(err error) syscall.Signal {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return ws.Signal()
		}
	}
	return 0
}

// Death by SIGSYS, but not for calls newer than the tables.
func TestLiveRetain(t *testing.T) {
	f := Filter{Mode: "retain", Names: []string{"@rkt/default-whitelist"}}
	c := confined{Filter: f, Calls: [][]uint64{{9999}, {unix.SYS_CLONE3, 0, 0}}, Exec: []string{"/bin/echo", "end"}}
	out, err := c.start(t)
	if err != nil || out != "38\n38\nend\n" {
		t.Fatalf("%q, %v %s", out, err, stderr(err))
	}
	c.Calls = append(c.Calls, []uint64{unix.SYS_KEYCTL, 0, 0})
	out, err = c.start(t)
	if out != "38\n38\n" || killedBy(err) != unix.SIGSYS {
		t.Errorf("%q, %v; want death by SIGSYS", out, err)
	}
}

func TestLiveRemove(t *testing.T) {
	c := confined{
		Filter: Filter{Mode: "remove", Names: []string{"sethostname", "@systemd/mount"}, Errno: "EDOM"},
		Calls:  [][]uint64{{unix.SYS_SETHOSTNAME, 0, 1 << 20}, {unix.SYS_UMOUNT2, 0, 0}, {unix.SYS_GETPID}},
		Exec:   []string{"/bin/echo", "end"},
	}
	out, err := c.start(t)
	if err != nil || out != "33\n33\n0\nend\n" {
		t.Fatalf("%q, %v %s", out, err, stderr(err))
	}
}

func TestInstallWithoutPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become nobody")
	}
	c := confined{NoNNP: true}
	if _, err := c.start(t); err == nil || stderr(err) != "cannot install seccomp filter: permission denied (needs no_new_privs or CAP_SYS_ADMIN)\n" {
		t.Errorf("%v: %q", err, stderr(err))
	}
}

// Calls by i386's convention from a 64-bit program.
func TestLiveI386(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64")
	}
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc")
	}
	bin := filepath.Join(t.TempDir(), "compat")
	if b, err := exec.Command(gcc, "-O1", "-Wall", "-o", bin, "testdata/compat.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if out, err := exec.Command(bin, "20").Output(); err != nil || strings.HasPrefix(string(out), "-") {
		t.Skipf("needs a kernel with 32-bit emulation: %v %q", err, out)
	}
	for _, tt := range []struct {
		c      confined
		args   []string
		want   string
		killed bool
	}{
		{confined{}, []string{"64"}, "", false}, // getppid
		{confined{}, []string{"288", "0", "0"}, "-1", false},
		{confined{}, []string{"54", "99", "0x5412"}, "-1", false},
		{confined{}, []string{"54", "99", "0x5401"}, "-9", false},
		{confined{}, []string{"359", "40", "1"}, "-1", false}, // socket(AF_VSOCK)
		{confined{}, []string{"120", "0x10000000"}, "-1", false},
		{confined{}, []string{"435", "0"}, "-38", false},
		{confined{Filter: Filter{Mode: "remove", Names: []string{"socket"}, Errno: "EDOM"}}, []string{"102", "1"}, "-33", false},
		{confined{Filter: Filter{Mode: "remove", Names: []string{"socket"}, Errno: "EDOM"}}, []string{"102", "2"}, "-14", false},
		{confined{Filter: Filter{Mode: "remove", Names: []string{"semget"}, Errno: "EDOM"}}, []string{"117", "0x10002"}, "-33", false},
		{confined{Only: []Arch{AMD64}}, []string{"64"}, "", true},
	} {
		tt.c.Exec = append([]string{bin}, tt.args...)
		out, err := tt.c.start(t)
		out = strings.TrimSpace(out)
		switch {
		case tt.killed:
			if killedBy(err) != unix.SIGSYS {
				t.Errorf("%q: %q, %v; want death by SIGSYS", tt.args, out, err)
			}
		case err != nil:
			t.Errorf("%q: %v %s", tt.args, err, stderr(err))
		case tt.want == "" && strings.HasPrefix(out, "-") || tt.want != "" && out != tt.want:
			t.Errorf("%q: %q, want %q", tt.args, out, tt.want)
		}
	}
}
