// SPDX-License-Identifier: Apache-2.0

package wall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/linux/landlock"
)

// attacker is the path of testdata/attack.
var attacker string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rkt-attack")
	if err != nil {
		log.Fatal(err)
	}
	attacker = filepath.Join(dir, "attack")
	build := exec.Command("go", "build", "-o", attacker, "./testdata/attack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("cannot build attacker: %v\n%s", err, out)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func needWalls(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give it up")
	}
	if landlock.ABI() < 6 {
		t.Skip("needs Landlock's ABI 6 (Linux 6.12)")
	}
}

// host is what there is to attack.
type host struct {
	dir, open        string // only root's, and everybody's
	victim           int    // root's process
	files            []*os.File
	tcp, unix, named string
}

func attacked(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "rkt-host")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{dir: dir}
	must(t, os.Chmod(dir, 0o755))
	h.open = filepath.Join(dir, "open")
	must(t, os.Mkdir(h.open, 0o777))
	must(t, os.Chmod(h.open, 0o777))
	for name, mode := range map[string]os.FileMode{
		"images/index.json": 0o640, "images/blobs/sha256/1": 0o640, "images/rkt/records/1.json": 0o640,
		"auth.d/secret.json": 0o600, "open/file": 0o666, "open/theirs": 0o666,
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		must(t, os.WriteFile(path, []byte("precious"), mode))
		must(t, os.Chmod(path, mode))
	}
	must(t, os.Chown(filepath.Join(h.open, "theirs"), wall.FixedID, wall.FixedID))

	sleep := exec.Command("sleep", "600")
	must(t, sleep.Start())
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	h.victim = sleep.Process.Pid

	h.named = fmt.Sprintf("rkt-attack-%d", os.Getpid())
	h.unix = filepath.Join(h.open, "socket")
	for _, l := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", h.unix}, {"unix", "@" + h.named}} {
		s, err := net.Listen(l.network, l.address)
		must(t, err)
		t.Cleanup(func() { s.Close() })
		if l.network == "tcp" {
			h.tcp = s.Addr().String()
		}
	}
	must(t, os.Chmod(h.unix, 0o777))
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// walled runs an attempt as a helper of a kind, and gives what it wrote.
func walled(t *testing.T, kind wall.Kind, files []*os.File, attempt ...string) string {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	list := append([]*os.File{nil, w}, files...)
	var said bytes.Buffer
	c := wall.Command{Kind: kind, Path: attacker, Args: append([]string{string(kind)}, attempt...), Files: list}
	if len(files) == 0 || files[0] == nil {
		c.Stderr = &said
	}
	p, err := c.Start(t.Context())
	_ = w.Close()
	must(t, err)
	out, err := io.ReadAll(r)
	must(t, err)
	if err := p.Wait(); err != nil {
		return strings.TrimSpace(string(out)) + err.Error()
	}
	return strings.TrimSpace(string(out)) + said.String()
}

// free runs an attempt with all that root has.
func free(t *testing.T, files []*os.File, attempt ...string) string {
	t.Helper()
	cmd := exec.Command(attacker, append([]string{"free"}, attempt...)...)
	if len(files) > 1 {
		cmd.ExtraFiles = files[1:]
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run()
	return strings.TrimSpace(out.String())
}

// TestAttack: whatever somebody who has taken over a helper tries fails, one by
// one; the same works without the walls, so that it is they that hold.
func TestAttack(t *testing.T) {
	needWalls(t)
	for _, kind := range []wall.Kind{wall.Get, wall.Push, wall.Read, wall.Unpack, wall.Look, wall.Verify, wall.Sign, wall.Agent, wall.Plain, wall.Gzip, wall.PodManifest, wall.YAML} {
		t.Run(string(kind), func(t *testing.T) {
			h := attacked(t)
			p := func(name string) string { return filepath.Join(h.dir, name) }
			victim := strconv.Itoa(h.victim)
			fellow := strconv.Itoa(another(t, kind))
			port := "47113"
			attempts := [][]string{
				{"create", p("open/new")}, {"write", p("open/file")}, {"write", p("open/theirs")}, {"read", p("open/file")}, {"list", p("open")},
				{"write", p("images/index.json")}, {"read", p("images/index.json")}, {"create", p("images/index.json.new")},
				{"read", p("images/blobs/sha256/1")}, {"write", p("images/blobs/sha256/1")}, {"create", p("images/blobs/sha256/2")},
				{"read", p("images/rkt/records/1.json")}, {"write", p("images/rkt/records/1.json")}, {"list", p("images")},
				{"read", "/etc/shadow"}, {"read", "/etc/passwd"}, {"read", p("auth.d/secret.json")},
				{"setuid-file", p("open/suid")}, {"chmod", p("open/theirs")}, {"chmod", p("open/file")}, {"chown", p("open/theirs")},
				{"xattr", p("open/theirs")}, {"truncate", p("open/theirs")},
				{"link", p("open/theirs"), p("open/link")}, {"symlink", p("open/symlink")},
				{"rename", p("open/theirs"), p("open/renamed")}, {"remove", p("open/renamed")},
				{"ptrace", victim}, {"memory", victim}, {"read-memory", victim, address(t, h.victim)}, {"steal-descriptor", victim}, {"kill", victim},
				{"ptrace", fellow}, {"memory", fellow}, {"steal-descriptor", fellow}, {"kill", fellow}, {"kill-all"},
				{"memory", "self"},
				{"abstract", h.named}, {"unix", h.unix}, {"listen"}, {"bind", port},
				{"socket", strconv.Itoa(unix.AF_NETLINK), strconv.Itoa(unix.SOCK_RAW)}, {"socket", strconv.Itoa(unix.AF_PACKET), strconv.Itoa(unix.SOCK_RAW)},
				{"socket", strconv.Itoa(unix.AF_INET), strconv.Itoa(unix.SOCK_RAW) + ""},
				{"mount", p("open")}, {"chroot", p("open")}, {"user-namespace", "/bin/true"}, {"mount-namespace"}, {"setns"}, {"setuid"},
				{"execute", "/bin/true"}, {"fork", "/bin/true"},
				{"io_uring"}, {"userfaultfd"}, {"bpf"}, {"keyctl"}, {"handle", "/etc/shadow"},
				{"memory-limit"},
			}
			if kind != wall.Get && kind != wall.Push {
				attempts = append(attempts, []string{"tcp", h.tcp}, []string{"socket", strconv.Itoa(unix.AF_INET), strconv.Itoa(unix.SOCK_DGRAM)})
			}
			works := map[string]bool{} // by attempt, without walls
			for _, a := range attempts {
				got := walled(t, kind, dirFor(t, kind), a...)
				if strings.Contains(got, "done") || strings.Contains(got, "cannot confine") || got == "" {
					t.Errorf("%v: %q", a, got)
				}
				if strings.Contains(got, "no such attempt") {
					t.Errorf("%v: %s", a, got)
				}
			}
			for _, name := range []string{"images/index.json", "images/blobs/sha256/1", "images/rkt/records/1.json", "open/file", "open/theirs"} {
				if b, err := os.ReadFile(p(name)); err != nil || string(b) != "precious" {
					t.Errorf("%s: now %q, %v", name, b, err)
				}
			}
			if e, err := os.ReadDir(h.open); err != nil || len(e) != 3 {
				t.Errorf("%v, %v", e, err)
			}
			for _, a := range attempts {
				switch a[0] {
				case "execute", "kill-all": // replace the attacker; hit everybody
					continue
				}
				works[a[0]] = works[a[0]] || free(t, nil, a...) == "done"
			}
			for a, ok := range works {
				if !ok {
					t.Errorf("%s: does not even work without walls", a)
				}
			}
		})
	}
}

// address is where a process has memory.
func address(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	first, _, _ := strings.Cut(string(b), "-")
	n, err := strconv.ParseUint(first, 16, 63)
	must(t, err)
	return strconv.FormatUint(n, 10)
}

// dirFor is what a helper of a kind is handed beside 0 and 1.
func dirFor(t *testing.T, kind wall.Kind) []*os.File {
	if kind != wall.Unpack {
		return nil
	}
	d, err := os.Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return []*os.File{nil, d}
}

// another starts a helper of a kind that waits, and gives its pid.
func another(t *testing.T, kind wall.Kind) int {
	t.Helper()
	in, give, err := os.Pipe()
	must(t, err)
	take, out, err := os.Pipe()
	must(t, err)
	c := wall.Command{Kind: kind, Path: attacker, Args: []string{string(kind), "wait"}, Files: append([]*os.File{in, out}, dirFor(t, kind)...)}
	p, err := c.Start(context.Background())
	must(t, err)
	_, _ = in.Close(), out.Close()
	line := make([]byte, 8)
	if _, err := io.ReadFull(take, line); err != nil || string(line) != "waiting\n" {
		t.Fatalf("%q, %v", line, err)
	}
	t.Cleanup(func() {
		_ = give.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("the other helper was hit: %v", err)
		}
		_ = take.Close()
	})
	return p.PID()
}

// TestState: what the kernel says of a helper.
func TestState(t *testing.T) {
	needWalls(t)
	// An inherited descriptor that is none of a helper's.
	leak, err := os.OpenFile(filepath.Join(t.TempDir(), "leak"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer leak.Close()
	const at = 77
	must(t, unix.Dup3(int(leak.Fd()), at, 0))
	defer unix.Close(at)
	for kind, want := range map[wall.Kind][]string{
		wall.Get:    {"Uid:\t60578\t60578\t60578\t60578", "Gid:\t60578\t60578\t60578\t60578", "Groups:\t ", "CapBnd:\t0000000000000000", "NSpid:\tPID\t1"},
		wall.Unpack: {"Uid:\t0\t0\t0\t0", "CapBnd:\t000000008820001b", "CapEff:\t000000008820001b", "CapInh:\t0000000000000000"},
	} {
		pid := another(t, kind)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		must(t, err)
		for _, w := range append(want, "NoNewPrivs:\t1", "Seccomp:\t2", "CapAmb:\t0000000000000000") {
			if w = strings.Replace(w, "PID", strconv.Itoa(pid), 1); !strings.Contains(string(b), w+"\n") {
				t.Errorf("%s: no %q in\n%s", kind, w, b)
			}
		}
		if sid, err := unix.Getsid(pid); err != nil || sid != pid {
			t.Errorf("%s: session %d, %v", kind, sid, err)
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		must(t, err)
		for _, l := range []string{"Max core file size        0                    0", "Max data size             2147483648           2147483648"} {
			if !strings.Contains(string(limits), l) {
				t.Errorf("%s: no %q in\n%s", kind, l, limits)
			}
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		must(t, err)
		for _, fd := range fds {
			to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
			if strings.Contains(to, "leak") || strings.Contains(to, attacker) || strings.Contains(to, "landlock") {
				t.Errorf("%s: descriptor %s is %s", kind, fd.Name(), to)
			}
		}
	}
	if got := walled(t, wall.Get, nil, "write-descriptor", strconv.Itoa(at)); got == "done" {
		t.Error("wrote to a descriptor that is not its own")
	}
	if got := free(t, []*os.File{nil, leak}, "write-descriptor", "3"); got != "done" {
		t.Errorf("without walls: %q", got)
	}
}

// TestDescriptors: those that a helper has are good for what they are for.
func TestDescriptors(t *testing.T) {
	needWalls(t)
	path := filepath.Join(t.TempDir(), "archive")
	must(t, os.WriteFile(path, []byte("precious"), 0o666))
	must(t, os.Chown(path, wall.FixedID, wall.FixedID))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	files := []*os.File{nil, f}
	for _, a := range [][]string{{"write-descriptor", "3"}, {"reopen-descriptor", "3"}, {"truncate-descriptor", "3"}} {
		if got := walled(t, wall.Read, files, a...); strings.Contains(got, "done") {
			t.Errorf("%v: %s", a, got)
		}
	}
	if got := free(t, files, "reopen-descriptor", "3"); got != "done" {
		t.Errorf("without walls: %s", got)
	}
	if got := walled(t, wall.Read, files, "read-descriptor", "3"); got != "done" {
		t.Errorf("reading its own: %s", got)
	}
	// A file as standard error is out of its reach.
	said, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer said.Close()
	_, err = said.WriteString("before\n")
	must(t, err)
	c := wall.Command{Kind: wall.Get, Path: attacker, Args: []string{"get", "truncate-descriptor", "2"}, Stderr: said}
	p, err := c.Start(t.Context())
	must(t, err)
	_ = p.Wait()
	if b, err := os.ReadFile(said.Name()); err != nil || string(b) != "before\n" {
		t.Errorf("log: %q, %v", b, err)
	}
}

// TestExtractorStaysInside: root though it is, an extractor reaches nothing but
// its directory.
func TestExtractorStaysInside(t *testing.T) {
	needWalls(t)
	outer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outer, "file"), []byte("precious"), 0o644))
	must(t, os.Mkdir(filepath.Join(outer, "tree"), 0o755))
	d, err := os.Open(filepath.Join(outer, "tree"))
	must(t, err)
	defer d.Close()
	files := []*os.File{nil, d}
	if got := walled(t, wall.Unpack, files, "create-inside", "f"); got != "done" {
		t.Errorf("its own work: %s", got)
	}
	// Up from its directory it comes to its directory.
	if got := walled(t, wall.Unpack, files, "create-beside", "new"); got != "done" {
		t.Errorf("create-beside: %s", got)
	}
	if _, err := os.Lstat(filepath.Join(outer, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made a file beside its directory: %v", err)
	}
	if got := free(t, files, "create-beside", "new"); got != "done" {
		t.Errorf("create-beside without walls: %s", got)
	}
	if _, err := os.Lstat(filepath.Join(outer, "new")); err != nil {
		t.Errorf("without walls: %v", err)
	}
	for _, a := range [][]string{{"chmod-beside", "file"}, {"device"}, {"chmod", outer + "/file"}} {
		if got := walled(t, wall.Unpack, files, a...); strings.Contains(got, "done") {
			t.Errorf("%v: %s", a, got)
		}
		_ = os.Remove(filepath.Join(outer, "tree", "device"))
		if got := free(t, files, a...); got != "done" {
			t.Errorf("%v without walls: %s", a, got)
		}
		_ = os.Remove(filepath.Join(outer, "tree", "device"))
	}
}

// TestExtractorWithoutMounting: root of a container may not mount; the
// extractor stays inside all the same.
func TestExtractorWithoutMounting(t *testing.T) {
	needWalls(t)
	if os.Getenv("RKT_TEST_CONTAINER") == "" {
		self, err := os.Executable()
		must(t, err)
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("needs setpriv")
		}
		cmd := exec.Command("setpriv", "--bounding-set=-sys_admin", self, "-test.run=^TestExtractorWithoutMounting$", "-test.v")
		cmd.Env = append(os.Environ(), "RKT_TEST_CONTAINER=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	outer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outer, "file"), []byte("precious"), 0o644))
	must(t, os.Mkdir(filepath.Join(outer, "tree"), 0o755))
	d, err := os.Open(filepath.Join(outer, "tree"))
	must(t, err)
	defer d.Close()
	files := []*os.File{nil, d}
	if got := walled(t, wall.Unpack, files, "create-inside", "f"); got != "done" {
		t.Errorf("its own work: %s", got)
	}
	for _, a := range [][]string{{"chmod-beside", "file"}, {"device"}, {"chmod", outer + "/file"}, {"read", outer + "/file"}} {
		if got := walled(t, wall.Unpack, files, a...); strings.Contains(got, "done") {
			t.Errorf("%v: %s", a, got)
		}
	}
	if got := walled(t, wall.Unpack, files, "create-beside", "new"); got != "done" {
		t.Errorf("create-beside: %s", got)
	}
	if _, err := os.Lstat(filepath.Join(outer, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made a file beside its directory: %v", err)
	}
}

// TestAllowed: the walls let through what the work takes.
func TestAllowed(t *testing.T) {
	needWalls(t)
	h := attacked(t)
	if got := walled(t, wall.Get, nil, "tcp", h.tcp); got != "done" {
		t.Errorf("connecting: %s", got)
	}
	if got := walled(t, wall.Get, nil, "read", "/etc/resolv.conf"); got != "done" && !strings.Contains(got, "no such file") {
		t.Errorf("resolv.conf: %s", got)
	}
	if got := walled(t, wall.Get, nil, "unknown-call"); !strings.Contains(got, syscall.ENOSYS.Error()) {
		t.Errorf("unknown call: %s", got)
	}
}

// TestFilterIsReported: who is killed by the filter is reported so.
func TestFilterIsReported(t *testing.T) {
	needWalls(t)
	c := wall.Command{Kind: wall.PodManifest, Path: attacker, Args: []string{"pod-manifest", "io_uring"}}
	p, err := c.Start(t.Context())
	must(t, err)
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "system call that is closed to it") {
		t.Errorf("got %v", err)
	}
	c.Path = filepath.Join(t.TempDir(), "nothing")
	if _, err := c.Start(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot start ") {
		t.Errorf("got %v", err)
	}
}

// TestTerminal: a terminal as standard error is for writing. What is typed is
// not a helper's to read, nor to type.
func TestTerminal(t *testing.T) {
	needWalls(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer master.Close()
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer terminal.Close()
	attempt := func(what ...string) string {
		t.Helper()
		_, err := master.WriteString("password\n")
		must(t, err)
		r, w, err := os.Pipe()
		must(t, err)
		defer r.Close()
		c := wall.Command{Kind: wall.Get, Path: attacker, Args: append([]string{"get"}, what...), Files: []*os.File{nil, w}, Stderr: terminal}
		p, err := c.Start(t.Context())
		_ = w.Close()
		must(t, err)
		out, err := io.ReadAll(r)
		must(t, err)
		must(t, p.Wait())
		return strings.TrimSpace(string(out))
	}
	if got := attempt("read-descriptor", "2"); got != unix.EBADF.Error() {
		t.Errorf("reading the terminal: %s", got)
	}
	if got := attempt("type"); got != unix.EPERM.Error() {
		t.Errorf("typing into the terminal: %s", got)
	}
	if got := attempt("write-descriptor", "2"); got != "done" {
		t.Errorf("writing to the terminal: %s", got)
	}
	cmd := exec.Command(attacker, "free", "read-descriptor", "2")
	cmd.Stderr = terminal
	if out, err := cmd.Output(); err != nil || string(out) != "done\n" {
		t.Errorf("without walls: %s, %v", out, err)
	}
}
