// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/linux/lsm"
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

// TestAppArmor: an app, and what enters it, is confined by the profile that was
// asked for.
func TestAppArmor(t *testing.T) {
	h := host(t)
	if !lsm.HasAppArmor() {
		t.Skip("needs a kernel with AppArmor (make vm)")
	}
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("needs apparmor_parser")
	}
	file := t.TempDir() + "/profile"
	write(t, file, profile)
	if out, err := exec.Command(parser, "-K", "-r", file).CombinedOutput(); err != nil {
		t.Fatalf("cannot load the profile: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(parser, "-R", file).Run() })
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
