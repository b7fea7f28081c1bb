// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"archive/tar"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/landlock"
	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
)

// TestEscapeAcrossApps: apps of one pod share its processes' namespace, but not
// each other's rights: another app's process is closed, to root and who may trace as
// well; without Landlock, to those of other users.
func TestEscapeAcrossApps(t *testing.T) {
	w := newWorld(t)
	two := func(flag, attempt string) verdict {
		t.Helper()
		uuid := filepath.Join(t.TempDir(), "uuid")
		p := w.host.Start("run", "--net=none", "--uuid-file-save="+uuid,
			w.image, "--name=victim", "--user=1000", "--exec=/attack", "--", "sleep", "---",
			w.image, "--name=attacker", flag, "--exec=/attack", "--", "others", attempt, "---")
		defer p.Wait()
		var v verdict
		for end := time.Now().Add(rkt.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			out := strings.TrimSpace(strings.ReplaceAll(p.Output(), "ready\n", ""))
			if v = judge(out); v.said != "" {
				break
			}
		}
		w.host.Must("stop", "--force", read(t, uuid))
		return v
	}
	attackers := []string{"--user=0", "--user=2000"}
	if landlock.ABI() >= 2 {
		attackers = append(attackers, "--user=1000", "--caps-retain=CAP_SYS_PTRACE")
	}
	file := filepath.Join(t.TempDir(), "uuid")
	p := w.host.Start("run", "--net=none", "--uuid-file-save="+file, w.image, "--user=1000", "--exec=/attack", "--", "sleep")
	p.Expect("ready")
	for _, attempt := range []string{"ptrace", "memory", "process-root", "process-cwd", "process-fds", "process-exe", "process-namespace", "steal-descriptor", "read-memory"} {
		for _, flag := range attackers {
			if v := two(flag, attempt); v.done || v.said == "" || strings.Contains(v.said, "nobody") {
				t.Errorf("%s by %s: %q", attempt, flag, v.said)
			}
		}
		if attempt == "steal-descriptor" {
			continue // closed by the filter without CAP_SYS_PTRACE, whoever asks
		}
		// What enters an app may look at it, as one user's processes may.
		if r := w.host.Rkt("enter", read(t, file), "/attack", "others", attempt); !judge(r.Stdout).done {
			t.Errorf("%s does not even work for the same user: %q", attempt, r.Stdout)
		}
	}
	w.host.Must("stop", "--force", read(t, file))
	p.Wait()
}

// TestEscapeInitKilled: who may trace can end its pod's first process; the pod
// ends with it, and nothing is left. With Landlock it takes an app without a filter.
func TestEscapeInitKilled(t *testing.T) {
	w := newWorld(t)
	if landlock.ABI() >= 2 {
		if v := inPod(t, w.host, w.image, mayTrace.and(flags{pod: []string{"--net=none"}}), "ptrace-kill", "1"); v.done || v.said == "" {
			t.Errorf("by who may trace: %q", v.said)
		}
	}
	r := w.host.Rkt("--insecure-options=image,seccomp", "run", "--net=none", w.image, "--caps-retain=CAP_SYS_PTRACE", "--exec=/attack", "--", "ptrace-kill", "1")
	if r.Status == 0 || judge(r.Stdout).said != "" {
		t.Errorf("exit status %d\n%s", r.Status, r.Stdout)
	}
	w.host.Gone()
	if left := rkt.Leftovers(w.host.Dir, w.host.Pods()); left != nil {
		t.Errorf("left: %q", left)
	}
}

// TestEscapePropagation: what an app mounts stays in its pod.
func TestEscapePropagation(t *testing.T) {
	w := newWorld(t)
	// On a shared mount of the test's own, in which rkt runs.
	script := `mount -t tmpfs t "$1" && mount --make-shared "$1" && shift && "$@" && grep -c rkt-world /proc/self/mountinfo`
	cmd := append([]string{"-m", "--propagation=private", "sh", "-c", script, "sh", w.volume}, install.Bin("rkt"), "--dir="+w.host.Dir)
	cmd = append(append(cmd, w.host.Flags...), "run", "--net=none", "--volume=v,kind=host,source="+w.volume,
		w.image, "--mount=volume=v,target=/v", "--caps-retain=CAP_SYS_ADMIN,CAP_DAC_OVERRIDE", "--exec=/attack", "--", "mount-stays", "tmpfs", "/v/m")
	out, err := exec.Command("unshare", cmd...).CombinedOutput()
	if err != nil || string(out) != "done\n1\n" {
		t.Errorf("%q, %v", out, err)
	}
	// The same without rkt's namespace comes to the host.
	cmd = []string{"-m", "--propagation=private", "sh", "-c", script, "sh", w.volume, "unshare", "-m", "--propagation=unchanged", attacker, "mount-stays", "tmpfs", w.volume + "/m"}
	if out, err := exec.Command("unshare", cmd...).CombinedOutput(); err != nil || string(out) != "done\n2\n" {
		t.Errorf("without rkt: %q, %v", out, err)
	}
}

// TestEscapeLaterMounts: a volume that is read-only stays so, whatever the host
// mounts below it later.
func TestEscapeLaterMounts(t *testing.T) {
	w := newWorld(t)
	script := `v=$1; shift; mount -t tmpfs t "$v" && mount --make-shared "$v" && mkdir -p "$v/late" && chmod 777 "$v/late"
"$@" & mount -t tmpfs -o mode=777 early "$v/late" || exit 9
while ! grep -q started "$v/../ground/pods"/run/*/events 2>/dev/null; do sleep 0.02; done
umount "$v/late"; mount -t tmpfs -o mode=777 late "$v/late" && touch "$v/go"; wait`
	attempt := func(options string) string {
		t.Helper()
		must(t, os.RemoveAll(w.dir+"/pods"))
		must(t, os.Symlink(w.host.Dir+"/pods", w.dir+"/pods"))
		args := append([]string{"-m", "--propagation=private", "sh", "-c", script, "sh", w.volume, install.Bin("rkt"), "--dir=" + w.host.Dir}, w.host.Flags...)
		args = append(args, "run", "--net=none", "--volume=v,kind=host,source="+w.volume+options,
			w.image, "--mount=volume=v,target=/v", "--exec=/attack", "--", "after", "/v/go", "write", "/v/late/x")
		out, err := exec.Command("unshare", args...).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		w.host.Must("gc", "--grace-period=0s")
		return strings.TrimSpace(string(out))
	}
	if got := attempt(",readOnly=true"); got == "" || strings.Contains(got, "done") {
		t.Errorf("read-only: %q", got)
	}
	if got := attempt(",recursive=true"); got != "done" {
		t.Errorf("writable: %q", got)
	}
}

// TestEscapeLitter: rkt removes what an app left, whatever it is, and nothing
// else; also what somebody put into the pod's directory.
func TestEscapeLitter(t *testing.T) {
	w := newWorld(t)
	outside := t.TempDir()
	must(t, os.WriteFile(outside+"/precious", []byte("precious"), 0o600))
	for _, verb := range [][]string{{"rm"}, {"gc", "--grace-period=0s"}} {
		if v := inPod(t, w.host, w.image, flags{pod: []string{"--net=none"}}, "litter", outside); !v.done {
			t.Fatalf("litter: %s", v.said)
		}
		uuid := w.host.Pods()[0]
		pods, err := filepath.Glob(w.host.Dir + "/pods/*/" + uuid)
		if err != nil || len(pods) != 1 {
			t.Fatal(pods, err)
		}
		upper, err := filepath.Glob(pods[0] + "/private/upper-*")
		if err != nil || len(upper) != 1 {
			t.Fatal(upper, err)
		}
		f, err := os.Create(upper[0] + "/immutable")
		must(t, err)
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_IMMUTABLE); err != nil {
			t.Logf("without immutable files: %v", err)
		}
		f.Close()
		must(t, os.MkdirAll(pods[0]+"/volumes", 0o755))
		must(t, os.Symlink(outside, pods[0]+"/volumes/link"))
		_ = os.RemoveAll(pods[0] + "/log")
		must(t, os.Symlink(outside, pods[0]+"/log"))
		if r := w.host.Rkt("logs", uuid); strings.Contains(r.Stdout, "precious") {
			t.Errorf("logs: %q", r.Stdout)
		}
		if verb[0] == "rm" {
			verb = append(verb, uuid)
		} else if r := w.host.Rkt(verb...); r.Status != 0 { // the first only marks it
			t.Errorf("gc: %s", r.Stderr)
		}
		if r := w.host.Rkt(verb...); r.Status != 0 {
			t.Errorf("%v: %s", verb, r.Stderr)
		}
		if left := w.host.Pods(); left != nil {
			t.Errorf("%v: left %v", verb, left)
		}
		if b, err := os.ReadFile(outside + "/precious"); err != nil || string(b) != "precious" {
			t.Fatalf("%v: %q, %v", verb, b, err)
		}
	}
}

// TestEscapeVolumeRace: while a neighbour swaps a directory of a shared volume
// for a link to the host, pods start that mount another volume there
// (CVE-2021-30465, CVE-2018-15664).
func TestEscapeVolumeRace(t *testing.T) {
	w := newWorld(t)
	outside := filepath.Join(filepath.Dir(w.secret), "outside")
	must(t, os.Mkdir(outside, 0o777))
	defer os.RemoveAll(outside)
	place := filepath.Join(w.volume, "x")
	must(t, os.Mkdir(place, 0o777))
	swap := exec.Command(attacker, "swap", place, "/../../../.."+outside)
	must(t, swap.Start())
	defer func() { _ = swap.Process.Kill(); _ = swap.Wait() }()
	second := t.TempDir()
	for i := range 60 {
		target := "/v/x/deep" + itoa(i)
		r := w.host.Rkt("run", "--net=none", "--volume=v,kind=host,source="+w.volume, "--volume=w,kind=host,source="+second,
			w.image, "--mount=volume=v,target=/v", "--mount=volume=w,target="+target, "--exec=/attack", "--", "exists", w.secret)
		if judge(r.Stdout).done || r.Status != 0 && r.Status != 254 {
			t.Errorf("round %d: status %d, %q", i, r.Status, r.Stdout)
		}
	}
	if e, err := os.ReadDir(outside); err != nil || len(e) != 0 {
		t.Errorf("made on the host: %v, %v", e, err)
	}
	// It is a real race: who looks first and makes then loses it.
	for i := 0; ; i++ {
		path := filepath.Join(place, "naive"+itoa(i))
		if st, err := os.Lstat(place); err == nil && st.IsDir() {
			_ = os.MkdirAll(path, 0o755)
		}
		if e, _ := os.ReadDir(outside); len(e) > 0 {
			break
		}
		if i > 200000 {
			t.Fatal("nobody ever lost this race")
		}
	}
}

// TestEscapeLinks: links in an image that lead to the host, or into what is the
// pod's own, as targets of mounts and as files that rkt reads.
func TestEscapeLinks(t *testing.T) {
	w := newWorld(t)
	outside := filepath.Join(filepath.Dir(w.secret), "outside")
	must(t, os.Mkdir(outside, 0o777))
	defer os.RemoveAll(outside)
	up := "/../../../../.." + outside
	for name, fill := range map[string]func(*layout.Tar) error{
		"target": func(tw *layout.Tar) error { return layout.Symlink(tw, "m", up) },
		"file":   func(tw *layout.Tar) error { return layout.Symlink(tw, "m", up+"/file") },
		"etc":    func(tw *layout.Tar) error { return layout.Symlink(tw, "etc", up) },
		"proc":   func(tw *layout.Tar) error { return layout.Symlink(tw, "proc", up) },
		"sys":    func(tw *layout.Tar) error { return layout.Symlink(tw, "sys", up) },
		"dev":    func(tw *layout.Tar) error { return layout.Symlink(tw, "dev", up) },
		"into":   func(tw *layout.Tar) error { return layout.Symlink(tw, "m", "/proc/sys") },
		"self":   func(tw *layout.Tar) error { return layout.Symlink(tw, "m", "/proc/self/root/../..") },
		"cgroup": func(tw *layout.Tar) error { return layout.Symlink(tw, "m", "/sys/fs/cgroup") },
		"hosts":  func(tw *layout.Tar) error { return layout.Symlink(tw, "etc/resolv.conf", "/../.."+w.secret) },
		"passwd": func(tw *layout.Tar) error { return layout.Symlink(tw, "etc/passwd", "/../.."+w.secret) },
		"root":   func(tw *layout.Tar) error { return layout.Symlink(tw, "m", "/") },
		// What masks and terminals are made of elsewhere (CVE-2025-31133, CVE-2025-52565).
		"null":    func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/null", "/proc/sys/kernel/core_pattern") },
		"console": func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/console", "/proc/sysrq-trigger") },
		"pts":     func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/pts", "/proc/sys/kernel") },
		"ptmx":    func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/ptmx", up) },
		"shm":     func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/shm", up) },
		"mqueue":  func(tw *layout.Tar) error { return layout.Symlink(tw, "dev/mqueue", up) },
		"masked":  func(tw *layout.Tar) error { return layout.Symlink(tw, "proc/kallsyms", up) },
	} {
		image := hostile(t, w.host, layout.Config{}, fill)
		for _, attempt := range [][]string{{"holds", w.secret, "precious"}, {"open-write", "/proc/sys/kernel/core_pattern"}, {"holds", "/m/../secret", "precious"}, {"write", "/proc/sysrq-trigger/x"}, {"read", "/proc/kallsyms"}, {"open-write", "/dev/null/../../proc/sysrq-trigger"}} {
			r := w.host.Rkt(append([]string{"run", "--net=none", "--dns=192.0.2.1", "--volume=v,kind=host,source=" + w.volume, image, "--mount=volume=v,target=/m/a", "--exec=/attack", "--"}, attempt...)...)
			if judge(r.Stdout).done || r.Status != 0 && r.Status != 254 {
				t.Errorf("%s, %v: status %d, %q\n%s", name, attempt, r.Status, r.Stdout, r.Stderr)
			}
		}
		if e, err := os.ReadDir(outside); err != nil || len(e) != 0 {
			t.Errorf("%s: made on the host: %v, %v", name, e, err)
		}
	}
	// What is the pod's own is no target, by name.
	for _, target := range []string{"/", "/proc", "/proc/sys", "/proc/self/fd", "/sys", "/dev", "/./proc/../proc"} {
		r := w.host.Rkt("run", "--net=none", "--volume=v,kind=host,source="+w.volume, w.image, "--mount=volume=v,target="+target, "--exec=/attack", "--", "exists", "/attack")
		if r.Status != 254 || !strings.Contains(r.Stderr, "cannot ") {
			t.Errorf("%s as a target: status %d\n%s", target, r.Status, r.Stderr)
		}
	}
	_ = os.Remove(outside)
	w.unharmed(t)
}

// TestEscapeConfig: what a hostile image's configuration says is refused in
// words or does no harm.
func TestEscapeConfig(t *testing.T) {
	w := newWorld(t)
	type config = layout.Config
	asRoot := []string{"/attack", "is-user", "0"}
	giant := strings.Repeat("x:x:1:1::/:\n", 500000)
	for name, c := range map[string]struct {
		config
		fill func(*layout.Tar) error
		want string // in the error; "" must run and find nothing
	}{
		"NUL in a variable":                  {config{Env: []string{"A=b\x00LD_PRELOAD=/x"}}, nil, "NUL"},
		"newline in a variable":              {config{Env: []string{"A=b\nroot::0:0"}}, nil, ""},
		"a variable of none":                 {config{Env: []string{"=", "", "AC_APP_NAME=x", "RKT_INHERITED=1 2 3 4"}}, nil, ""},
		"a user of a line":                   {config{User: "root\nroot"}, nil, "cannot find user"},
		"a negative user":                    {config{User: "-1"}, nil, "cannot find user"},
		"a user beyond":                      {config{User: "4294967295"}, nil, "cannot find user"},
		"a user by a path out":               {config{User: "/../.." + w.secret}, nil, "cannot "},
		"a user that wraps (CVE-2024-40635)": {config{User: "4294967296"}, nil, "cannot find user"},
		"a user that wraps as int32":         {config{User: "2147483648", Entrypoint: asRoot}, nil, ""},
		"a group that wraps":                 {config{User: "1:4294967296"}, nil, "cannot find group"},
		"a passwd that wraps": {config{User: "me", Entrypoint: asRoot}, func(tw *layout.Tar) error {
			return layout.File(tw, "etc/passwd", 0o644, "me:x:4294967296:18446744073709551616::/:\n")
		}, "cannot find user"},
		"a passwd that waits (CVE-2024-9676)": {config{User: "me"}, func(tw *layout.Tar) error {
			return errors.Join(layout.Dir(tw, "etc", 0o755), tw.WriteHeader(&tar.Header{Typeflag: tar.TypeFifo, Name: "etc/passwd", Mode: 0o644}))
		}, "not a regular file"},
		"a giant passwd":       {config{User: "me"}, func(tw *layout.Tar) error { return layout.File(tw, "etc/passwd", 0o644, giant) }, "larger than"},
		"a passwd of zeros":    {config{User: "me"}, func(tw *layout.Tar) error { return layout.Symlink(tw, "etc/passwd", "/dev/zero") }, "not a regular file"},
		"a relative directory": {config{WorkingDir: "../../../../.."}, nil, ""},
		"pid 1's directory":    {config{WorkingDir: "/proc/1/cwd"}, nil, "cannot "},
		"pid 1's root":         {config{WorkingDir: "/proc/1/root"}, nil, "cannot "},
		"a volume over /proc":  {config{Volumes: map[string]struct{}{"/proc": {}}}, nil, ""},
		"a volume in /proc":    {config{Volumes: map[string]struct{}{"/proc/sys": {}}}, nil, ""},
		"a volume over /sys":   {config{Volumes: map[string]struct{}{"/sys": {}}}, nil, ""},
		"a volume over /":      {config{Volumes: map[string]struct{}{"/": {}}}, nil, "cannot "},
		"a volume by a link (CVE-2022-23648)": {config{Volumes: map[string]struct{}{"/m": {}}, Entrypoint: []string{"/attack", "holds", "/m/secret", "precious"}}, func(tw *layout.Tar) error {
			return layout.Symlink(tw, "m", "/../../../../.."+filepath.Dir(w.secret))
		}, ""},
		"a volume that climbs":  {config{Volumes: map[string]struct{}{"/../../.." + w.volume: {}}}, nil, ""},
		"a program that climbs": {config{Entrypoint: []string{"/../../../.." + attacker, "exists", w.secret}}, nil, "cannot "},
		"a NUL in an argument":  {config{Entrypoint: []string{"/attack", "exists\x00"}}, nil, "NUL"},
		"a signal of none":      {config{StopSignal: "SIGNONE\n"}, nil, "cannot "},
	} {
		t.Run(name, func(t *testing.T) {
			if c.Entrypoint == nil {
				c.Entrypoint = []string{"/attack", "exists", strings.TrimPrefix(w.secret, "/")}
			}
			r := w.host.Rkt("run", "--net=none", hostileRef(t, c.config, c.fill))
			out := r.Stdout
			switch {
			case judge(out).done:
				t.Errorf("%q", out)
			case c.want == "" && r.Status != 0, c.want != "" && (r.Status != 254 || !strings.Contains(r.Stderr, c.want)):
				t.Errorf("status %d, want %q\n%s%s", r.Status, c.want, out, r.Stderr)
			}
		})
	}
	w.unharmed(t)
}
