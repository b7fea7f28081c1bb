// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/test/rkt"
)

func TestMain(m *testing.M) {
	if IsChild() {
		os.Exit(Child())
	}
	os.Exit(rkt.Apart(func() int {
		if os.Geteuid() != 0 {
			return m.Run()
		}
		if os.Getenv(kept) != "" {
			launch.Prefix = os.Getenv("RKT_ENGINE_TEST_PREFIX")
			return keep()
		}
		return rkt.WithInstall("rkt-engine-test-", func(install rkt.Install) int {
			launch.Prefix = filepath.Join(install.Dir, "libexec", "rkt")
			return m.Run()
		})
	}))
}

// base is a tree with busybox and nothing else: no /tmp, /dev, /proc, /sys.
func base(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("needs busybox-static: %v", err)
	}
	for _, d := range []string{"bin", "etc", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n", "etc/group": "web:x:34:\nmore:x:35:web\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields("sh cat ls mkdir rm rmdir touch echo id hostname sleep grep stat mv ln chmod chown env pwd kill test wc mount readlink sed head ip nslookup true false") {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1_000_000_000, 0)
	for _, d := range []string{"bin", "etc", "root", "."} {
		if err := os.Chtimes(filepath.Join(dir, d), when, when); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// step is a shell script on base.
func step(t *testing.T, script string) (s Step, out *bytes.Buffer) {
	t.Helper()
	out = new(bytes.Buffer)
	work := t.TempDir()
	return Step{Lower: []string{base(t)}, Upper: filepath.Join(work, "upper"), Work: filepath.Join(work),
		Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Stdout: out, Stderr: out}, out
}

func run(t *testing.T, s Step) int {
	t.Helper()
	status, err := Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.Work)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "upper" {
			t.Errorf("left in the work directory: %s", e.Name())
		}
	}
	return status
}

// tree lists what is in the upper tree.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	list := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		kind := ""
		if d.Type()&fs.ModeCharDevice != 0 {
			kind = " whiteout"
		}
		list = append(list, strings.TrimPrefix(path, dir+"/")+kind)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func engines(t *testing.T, f func(t *testing.T, with func(Step) Step)) {
	for _, e := range []string{Native, Chroot} {
		t.Run(e, func(t *testing.T) {
			f(t, func(s Step) Step {
				if s.Engine = e; e == Chroot {
					s.Network = NetworkHost
				}
				return s
			})
		})
	}
}

func TestWhatAStepWritesIsAllThatIsLeft(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		s, out := step(t, `echo one >/root/file && rm /bin/env && mkdir -p /srv/a && cat /etc/hosts /etc/resolv.conf >/dev/null && ls /tmp /dev/null /proc/self/status >/dev/null && echo "$0 done"`)
		if status := run(t, with(s)); status != 0 || !strings.Contains(out.String(), "done") {
			t.Fatalf("status %d: %s", status, out)
		}
		want := []string{"bin", "bin/env whiteout", "root", "root/file", "srv", "srv/a"}
		if got := tree(t, s.Upper); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNoTraceOfMounts(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		host := t.TempDir()
		if err := os.WriteFile(filepath.Join(host, "file"), []byte("of the host"), 0o644); err != nil {
			t.Fatal(err)
		}
		s, out := step(t, `set -e
cat /mnt/deep/in/file /run/secrets/key /srv/single
echo cached >/var/cache/x/kept
echo >/scratch/big
test ! -w /mnt/deep/in || ! touch /mnt/deep/in/no 2>/dev/null`)
		// A dangling link on the way, and a tree in which /etc was replaced.
		second := t.TempDir()
		if err := os.Symlink("../real/place", filepath.Join(second, "mnt")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(second, "etc"), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(filepath.Join(second, "etc"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			t.Fatal(err)
		}
		s.Lower = append(s.Lower, second)
		s.Mounts = []Mount{
			{Source: host, Target: "/mnt/deep/in", ReadOnly: true},
			{Source: host, Target: "/var/cache/x"},
			{Source: filepath.Join(host, "file"), Target: "/srv/single", ReadOnly: true},
			{Target: "/scratch", Tmpfs: &Tmpfs{Size: 1 << 20}},
			{Target: "/run/secrets/key", Secret: &Secret{Content: []byte("hush"), Mode: 0o400}},
		}
		if status := run(t, with(s)); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		if got := out.String(); got != "of the hosthushof the host" {
			t.Errorf("it saw %q", got)
		}
		if got := tree(t, s.Upper); len(got) != 0 {
			t.Errorf("left in the image: %q", got)
		}
		if b, err := os.ReadFile(filepath.Join(host, "kept")); err != nil || string(b) != "cached\n" {
			t.Errorf("the cache has %q, %v", b, err)
		}
		if left := tree(t, host); !slices.Equal(left, []string{"file", "kept"}) {
			t.Errorf("in the host's directory: %q", left)
		}
	})
}

func TestStatus(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "sleep 0.1; exit 3": 3, "exit 254": 254} {
			s, out := step(t, script)
			if got := run(t, with(s)); got != want {
				t.Errorf("%s: status %d, want %d: %s", script, got, want, out)
			}
		}
		s, _ := step(t, "")
		s.Argv = []string{"nosuch"}
		if _, err := Run(context.Background(), with(s)); err == nil || !strings.Contains(err.Error(), `"nosuch"`) {
			t.Errorf("missing program: %v", err)
		}
	})
}

func TestUserDirectoryAndStdin(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		s, out := step(t, "id; pwd; echo $X; cat; echo >file")
		s.User, s.Dir = "web", "/new/dir"
		s.Env = append(s.Env, "X=a b")
		s.Stdin = strings.NewReader("from stdin\n")
		if err := MakeUpper(s.Upper, s.Lower); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(s.Upper, "new/dir"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(s.Upper, "new/dir"), 33, 34); err != nil {
			t.Fatal(err)
		}
		if status := run(t, with(s)); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		if want := "uid=33(web) gid=34(web) groups=35(more)\n/new/dir\na b\nfrom stdin\n"; strings.Replace(out.String(), "groups=34(web),35", "groups=35", 1) != want {
			t.Errorf("%q", out)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(s.Upper, "new/dir/file"), &st); err != nil || st.Uid != 33 || st.Gid != 34 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

// TestIsolation: a build step is confined as an app is.
func TestIsolation(t *testing.T) {
	s, out := step(t, `hostname; cat /proc/1/comm; grep -c : /proc/net/dev; grep CapBnd /proc/self/status; grep Seccomp: /proc/self/status; cat /proc/self/cgroup | head -n 1; ls /proc/kcore /proc/keys >/dev/null; wc -c </proc/keys; mount -t tmpfs x /root 2>&1`)
	status := run(t, s)
	text := out.String()
	for _, want := range []string{"acbuild\n", "\n1\n", "CapBnd:\t00000000a80425fb\n", "Seccomp:\t2\n", ":/\n", "permission denied"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in (status %d)\n%s", want, status, text)
		}
	}
}

// TestChrootProc: a step does not change the host's settings by way of /proc.
func TestChrootProc(t *testing.T) {
	s, out := step(t, `for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do if (: >> $f) 2>/dev/null; then echo "$f opened"; fi; done; cat /proc/sys/kernel/ostype`)
	s.Engine, s.Network = Chroot, NetworkHost
	if status := run(t, s); status != 0 || out.String() != "Linux\n" {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestHostNetwork(t *testing.T) {
	s, out := step(t, "cat /etc/resolv.conf")
	s.Network = NetworkHost
	want, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip("the host has no /etc/resolv.conf")
	}
	if status := run(t, s); status != 0 || out.String() != string(want) {
		t.Errorf("status %d: %q", status, out)
	}
	if got := tree(t, s.Upper); len(got) != 0 {
		t.Errorf("left in the image: %q", got)
	}
}

func TestDefaultNetwork(t *testing.T) {
	s, out := step(t, "ip addr show dev eth0; hostname")
	s.Network, s.DataDir = NetworkDefault, t.TempDir()
	if status := run(t, s); status != 0 || !strings.Contains(out.String(), "inet 172.16.28.") {
		t.Errorf("status %d: %s", status, out)
	}
	pods, err := filepath.Glob(filepath.Join(s.DataDir, "pods", "*", "*"))
	if err != nil || len(pods) != 0 {
		t.Errorf("pods are left: %q, %v", pods, err)
	}
	leases, err := filepath.Glob(filepath.Join(s.DataDir, "networks", "*", "leases", "[0-9]*"))
	if err != nil || len(leases) != 0 {
		t.Errorf("leases are left: %q, %v", leases, err)
	}
}

func TestCancel(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		s, out := step(t, "echo up; sleep 1000")
		seen := make(chan struct{})
		s.Stdout = writer(func(b []byte) { close(seen) })
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-seen; cancel() }()
		if _, err := Run(ctx, with(s)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %s", err, out)
		}
	})
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// kept, in the environment of this test program, has it run a step that never
// ends: its value is the upper tree, below the work directory.
const kept = "RKT_ENGINE_TEST_KEEP"

func keep() int {
	upper := os.Getenv(kept)
	_, err := Run(context.Background(), Step{Engine: os.Getenv("RKT_ENGINE_TEST_ENGINE"), Network: NetworkHost, Lower: []string{os.Getenv("RKT_ENGINE_TEST_BASE")},
		Upper: upper, Work: filepath.Dir(upper), Argv: []string{"/bin/sh", "-c", "echo up; sleep 1000"}, Env: []string{"PATH=/bin"}, Stdout: os.Stdout, Stderr: os.Stderr})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestKill: nothing runs on when the builder is killed.
func TestKill(t *testing.T) {
	engines(t, func(t *testing.T, with func(Step) Step) {
		s, _ := step(t, "")
		s = with(s)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), kept+"="+s.Upper, "RKT_ENGINE_TEST_BASE="+s.Lower[0], "RKT_ENGINE_TEST_ENGINE="+s.Engine, "RKT_ENGINE_TEST_PREFIX="+launch.Prefix)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		if n, err := out.Read(b); err != nil || string(b[:n]) != "up\n" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// All that had its end of the pipe is gone.
		if n, err := out.Read(b); n != 0 {
			t.Errorf("%q, %v", b[:n], err)
		}
		_ = cmd.Wait()
		if s.Engine == Native {
			pods, err := filepath.Glob(filepath.Join(s.Work, "step-*", "pods", "run", "*", "pod"))
			if err != nil || len(pods) != 1 {
				t.Fatalf("%q, %v", pods, err)
			}
			f, err := os.Open(pods[0])
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := flock.Lock(f, flock.Exclusive); err != nil { // waits for its last process
				t.Error(err)
			}
		}
		if err := os.RemoveAll(s.Work); err != nil {
			t.Errorf("what is left cannot be removed: %v", err)
		}
	})
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*Step){
		"there is no command":      func(s *Step) { s.Argv = nil },
		"network \"bridge\"":       func(s *Step) { s.Network = "bridge" },
		"engine \"docker\"":        func(s *Step) { s.Engine = "docker" },
		"engine chroot has":        func(s *Step) { s.Engine = Chroot },
		"is not absolute":          func(s *Step) { s.Upper = "here" },
		"would hide":               func(s *Step) { s.Mounts = []Mount{{Target: "/proc/sys", Tmpfs: &Tmpfs{}}} },
		"is not one of a source":   func(s *Step) { s.Mounts = []Mount{{Target: "/x"}} },
		"has a NUL byte":           func(s *Step) { s.Argv = []string{"a\x00b"} },
		"data directory \"\" is":   func(s *Step) { s.Network = NetworkDefault },
		"is larger than 1048576 b": func(s *Step) { s.Mounts = []Mount{{Target: "/x", Secret: &Secret{Content: make([]byte, maxSecret+1)}}} },
	} {
		s := Step{Upper: "/nowhere/upper", Work: "/nowhere", Argv: []string{"true"}}
		change(&s)
		if _, err := Run(context.Background(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
