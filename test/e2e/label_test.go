// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/linux/lsm"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/test/rkt"
)

// profile lets everything but one file be written.
const profile = `profile rkt-test flags=(attach_disconnected,mediate_deleted) {
	file,
	capability,
	network,
	mount,
	umount,
	signal,
	ptrace,
	unix,
	deny /forbidden w,
}
`

// loadProfile gives the kernel an AppArmor profile, until the test's end or unload.
func loadProfile(t *testing.T, file string) (unload func()) {
	t.Helper()
	if !lsm.HasAppArmor() {
		t.Skip("needs a kernel with AppArmor (make vm)")
	}
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("needs apparmor_parser")
	}
	if out, err := exec.Command(parser, "-K", "-r", file).CombinedOutput(); err != nil {
		t.Fatalf("cannot load the profile: %v\n%s", err, out)
	}
	unload = func() { _ = exec.Command(parser, "-R", file).Run() }
	t.Cleanup(unload)
	return unload
}

// TestAppArmor: an app, and what enters it, is confined by the profile that was
// asked for.
func TestAppArmor(t *testing.T) {
	h := host(t)
	file := t.TempDir() + "/profile"
	write(t, file, profile)
	loadProfile(t, file)
	script := "cat /proc/self/attr/current; echo x >/allowed && echo wrote; echo x >/forbidden && echo wrote what is forbidden; "
	want := "rkt-test (enforce)\nwrote\n"
	for name, flags := range map[string][]string{
		"usual":           nil,
		"a user":          {"--user=1000"},
		"no new privs":    {"--no-new-privs"},
		"no filter":       {"--seccomp=mode=retain,@appc.io/all"},
		"started by init": {"--oom-score-adj=1000"},
	} {
		flags = append(flags, "--apparmor-profile=rkt-test")
		asked := want
		if name == "a user" {
			asked = "rkt-test (enforce)\n"
		}
		if r := tiny(t, h, nil, flags, script); r.Stdout != asked {
			t.Errorf("%s: status %d, %q, want %q\n%s", name, r.Status, r.Stdout, asked, r.Stderr)
		}
	}
	if r := tiny(t, h, nil, nil, script); !strings.HasPrefix(r.Stdout, "unconfined\nwrote\nwrote what is forbidden\n") {
		t.Errorf("without: %q\n%s", r.Stdout, r.Stderr)
	}
	if r := tiny(t, h, nil, []string{"--apparmor-profile=rkt-no-such"}, "true"); r.Status != 254 || !strings.Contains(r.Stderr, `AppArmor profile "rkt-no-such"`) {
		t.Errorf("a profile that is not loaded: status %d\n%s", r.Status, r.Stderr)
	}
	// What enters has it as well, even if the app puts another /proc in place.
	p, uuid := startTiny(t, h, nil, []string{"--apparmor-profile=rkt-test", "--caps-retain=CAP_SYS_ADMIN"},
		"mount -t tmpfs none /proc && mkdir -p /proc/thread-self/attr/apparmor && : >/proc/thread-self/attr/apparmor/exec && ln -s thread-self /proc/self && echo ready; exec sleep 1000")
	r := h.Rkt("enter", uuid, "/bin/sh", "-c", "umount /proc; "+script)
	if r.Stdout != want {
		t.Errorf("what enters: status %d, %q, want %q\n%s", r.Status, r.Stdout, want, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

// defaultProfile is where dist's AppArmor profile is in the source, or in tools/vm's
// machine.
func defaultProfile(t *testing.T) string {
	t.Helper()
	for _, path := range []string{os.Getenv("RKT_TEST_PROFILE"), "../../dist/apparmor/rkt-default"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("dist/apparmor/rkt-default is not here")
	return ""
}

// TestDefaultProfileIsValid: to AppArmor's own parser, whatever the kernel has.
func TestDefaultProfileIsValid(t *testing.T) {
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("needs apparmor_parser")
	}
	if out, err := exec.Command(parser, "--skip-kernel-load", "--skip-cache", "--ofile=/dev/null", defaultProfile(t)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDefaultProfile: where rkt's AppArmor profile is loaded, whatever runs in a pod
// and names no other is confined by it, and still does what apps do.
func TestDefaultProfile(t *testing.T) {
	h := host(t)
	if is, err := lsm.Loaded(pod.DefaultProfile); is || err != nil {
		t.Skip("needs a machine that has not loaded rkt's profile itself")
	}
	file := defaultProfile(t)
	unload := loadProfile(t, file)
	// Whether it is loaded is asked by threads that others crowd, too.
	done := make(chan struct{})
	for range 4 {
		go func() {
			for {
				select {
				case <-done:
					return
				default:
				}
			}
		}()
	}
	for range 2000 {
		if is, err := lsm.Loaded(pod.DefaultProfile); !is || err != nil {
			t.Errorf("it is not loaded: %v", err)
			break
		}
	}
	close(done)
	const confined = "rkt-default (enforce)\n"
	label := "cat /proc/self/attr/current; "
	for name, flags := range map[string][2][]string{
		"usual":            {nil, nil},
		"a user":           {nil, {"--user=1000"}},
		"no new privs":     {nil, {"--no-new-privs"}},
		"no filter":        {nil, {"--seccomp=mode=retain,@appc.io/all"}},
		"started by init":  {nil, {"--oom-score-adj=1000"}},
		"users of its own": {{"--private-users"}, nil},
		"by name":          {nil, {"--apparmor-profile=rkt-default"}},
		"a read-only root": {nil, {"--readonly-rootfs=true"}},
	} {
		if r := tiny(t, h, flags[0], flags[1], label); r.Stdout != confined {
			t.Errorf("%s: status %d, %q\n%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
	// Apps do what they do: files, pipes, sockets, children, signals, tracing.
	usual := `echo x >/f && mkdir /d && mv /f /d/f && ln /d/f /d/g && ln -s g /d/h && chmod 600 /d/h && chown 5 /d/f && rm -r /d && cp /bin/busybox /tmp/busybox && /tmp/busybox true &&
mknod /tmp/p p && (echo y >/tmp/p & cat /tmp/p) && (nc -l -p 7777 -e /bin/echo z & until nc 127.0.0.1 7777 2>/dev/null; do :; done); (sleep 100 & kill $! && echo killed); cat /proc/1/comm /proc/$$/environ >/dev/null && echo 0 >/proc/self/oom_score_adj; echo did`
	if r := tiny(t, h, nil, nil, usual); r.Stdout != "y\nz\nkilled\ndid\n" || r.Stderr != "" {
		t.Errorf("what apps do: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for _, flags := range [][]string{nil, {"--private-users"}} {
		p, uuid := startTiny(t, h, flags, nil, "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
		if r := h.Rkt("enter", uuid, "/bin/sh", "-c", label); r.Stdout != confined {
			t.Errorf("%q, what enters: status %d, %q\n%s", flags, r.Status, r.Stdout, r.Stderr)
		}
		h.Must("stop", uuid)
		if status := p.Wait(); status != 5 {
			t.Errorf("%q, stopped: status %d", flags, status)
		}
	}
	user := rootless(t, rkt.NoSubIDs)
	id := plain(t, user)
	if r := user.Rkt(append([]string{"run", "--net=none", id}, sh(label)...)...); r.Stdout != confined {
		t.Errorf("an ordinary user's: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	saved := filepath.Join(user.Home(), "uuid")
	p := user.Start(append([]string{"run", "--net=none", "--uuid-file-save=" + saved, id}, sh("echo ready; sleep 1000")...)...)
	p.Expect("ready")
	if r := user.Rkt("enter", readUUID(t, saved), "/bin/sh", "-c", label); r.Stdout != confined {
		t.Errorf("what enters an ordinary user's: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	user.Must("stop", "--force", readUUID(t, saved))
	p.Wait()
	// Behind walls that were opened it holds alone.
	open := []string{"--caps-retain=CAP_SYS_ADMIN,CAP_DAC_OVERRIDE,CAP_SYS_CHROOT", "--seccomp=mode=retain,@appc.io/all"}
	attempts := map[string]string{
		"mount":         "mount -t tmpfs none /tmp",
		"another proc":  "mkdir /p && mount -t proc none /p",
		"remount":       "mount -o remount,rw /proc/sys",
		"umount":        "umount /proc/sys",
		"bind":          "mount -o bind /tmp /proc/sys",
		"core_pattern":  "mount -o remount,bind,rw /proc/sys; echo '|/x' >/proc/sys/kernel/core_pattern",
		"sysrq-trigger": "umount /proc/sysrq-trigger; echo h >/proc/sysrq-trigger",
	}
	for name, script := range attempts {
		if r := tiny(t, h, nil, open, "("+script+") 2>&1 && echo done"); strings.Contains(r.Stdout, "done") {
			t.Errorf("%s: it works\n%s", name, r.Stdout)
		}
	}
	// And each is a real attempt.
	for name, script := range attempts {
		if name == "core_pattern" || name == "sysrq-trigger" {
			script, _, _ = strings.Cut(script, ";")
		}
		r := tiny(t, h, nil, append([]string{"--apparmor-profile=unconfined"}, open...), label+"("+script+") 2>&1 && echo done")
		if !strings.HasPrefix(r.Stdout, "unconfined\n") || !strings.Contains(r.Stdout, "done") {
			t.Errorf("%s, unconfined: %s", name, r.Stdout)
		}
	}
	if r := h.Rkt(append([]string{"--insecure-options=image,paths", "run", "--net=none", tinyID(t, h)}, sh(label)...)...); r.Stdout != "unconfined\n" {
		t.Errorf("without protected paths: %q\n%s", r.Stdout, r.Stderr)
	}
	// It was decided when the pod was prepared, and is again when it runs.
	uuid := h.Must(append([]string{"prepare", tinyID(t, h)}, sh(label)...)...).Out()
	unload()
	if r := h.Rkt("run-prepared", "--net=none", uuid); r.Stdout != "unconfined\n" {
		t.Errorf("once it is not loaded: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestLabelsRefused: where the kernel has no such module, what asks for one does
// not start.
func TestLabelsRefused(t *testing.T) {
	h := host(t)
	for _, c := range []struct {
		flag, want string
		has        bool
	}{
		{"--apparmor-profile=x", `isolator "os/linux/apparmor-profile": this kernel runs without AppArmor`, lsm.HasAppArmor()},
		{"--selinux-context=u:r:t", `isolator "os/linux/selinux-context": this kernel runs without SELinux`, lsm.HasSELinux()},
	} {
		if c.has {
			continue
		}
		if r := tiny(t, h, nil, []string{c.flag}, "true"); r.Status != 254 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: status %d\n%s", c.flag, r.Status, r.Stderr)
		}
	}
	if r := tiny(t, h, nil, []string{"--apparmor-profile=unconfined"}, "echo runs"); r.Out() != "runs" {
		t.Errorf("unconfined: status %d\n%s", r.Status, r.Stderr)
	}
}
