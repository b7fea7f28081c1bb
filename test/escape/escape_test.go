// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variants are the kinds of pods that the attempts are made in. Another is a
// line here.
var variants = []struct {
	name string
	flags
	free bool // whether attempts are shown to be real, too: once is enough
}{
	{"none", flags{pod: []string{"--net=none"}}, true},
	{"host network", flags{pod: []string{"--net=host"}}, false},
	{"another user", flags{pod: []string{"--net=none"}, app: []string{"--user=1000", "--group=1000"}}, false},
	{"read-only root", flags{pod: []string{"--net=none"}, app: []string{"--readonly-rootfs=true"}}, false},
	{"no new privileges", flags{pod: []string{"--net=none"}, app: []string{"--no-new-privs=true"}}, false},
	{"by init", flags{pod: []string{"--net=none"}, app: []string{"--oom-score-adj=100"}}, false}, // another way of starting (decisions/0001)
	{"users of its own", flags{pod: []string{"--net=none", "--private-users"}}, false},
}

// TestEscape makes all attempts, in every flavor and variant.
func TestEscape(t *testing.T) {
	world := newWorld(t)
	for _, flavor := range flavors(t) {
		for i, v := range variants {
			// Other flavors than the default one take long to start; what is real is
			// shown once.
			if flavor != "native" {
				v.free = false
				if i > 2 {
					continue
				}
			}
			f := v.and(flags{pod: []string{"--stage1-name=" + flavor}})
			t.Run(flavor+"/"+v.name, func(t *testing.T) {
				world.able(t, f)
				for _, r := range attempts {
					if r.hostNet && slices.Contains(f.pod, "--net=host") {
						continue
					}
					t.Run(r.name, func(t *testing.T) {
						got := inPod(t, world.host, world.image, world.fill(f.and(r.with)), world.words(r.try)...)
						switch {
						case got.done || got.said == "" || strings.HasPrefix(got.said, "no such attempt"):
							t.Errorf("%s: %q", r.try, got.said)
						default:
							t.Logf("refused: %s", got.said)
						}
						if v.free {
							world.real(t, r, f)
						}
					})
				}
			})
		}
	}
	world.unharmed(t)
}

// able skips a flavor that cannot make such pods, or not here.
func (w *world) able(t *testing.T, f flags) {
	t.Helper()
	args := append(append([]string{"run"}, f.pod...), w.image)
	r := w.host.Rkt(append(append(args, f.app...), "--exec=/attack", "--", "no-op")...)
	if r.Status == 254 && (strings.Contains(r.Stderr, "lacks the feature") || strings.Contains(r.Stderr, "is not installed") || strings.Contains(r.Stderr, "needs ")) {
		t.Skipf("needs what this flavor does not have here: %s", strings.TrimSpace(r.Stderr))
	}
	if r.Status != 0 {
		t.Fatalf("no pod starts: status %d\n%s", r.Status, r.Stderr)
	}
}

// real shows that an attempt works where nothing holds it.
func (w *world) real(t *testing.T, r row, f flags) {
	t.Helper()
	try := r.try
	if r.freeTry != nil {
		try = r.freeTry
	}
	var got verdict
	if !r.host {
		free := f.and(r.free)
		if slices.Contains(r.free.pod, "--net=host") {
			free.pod = slices.DeleteFunc(slices.Clone(free.pod), func(s string) bool { return s == "--net=none" })
		}
		got = inPod(t, w.host, w.image, w.fill(free), w.words(try)...)
	} else {
		cmd := exec.Command(attacker, w.words(try)...)
		if try[0] == "chroot-out" {
			cmd.Path = "/attack"
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: w.jail}
		}
		got = onHost(t, cmd, r.spaces)
	}
	for _, errno := range []unix.Errno{unix.ENOENT, unix.ENOSYS, unix.ENODEV} {
		if strings.Contains(got.said, errno.Error()) {
			t.Skipf("this kernel has no %s", r.name)
		}
	}
	if !got.done {
		t.Errorf("does not even work without the wall: %s: %q", try, got.said)
	}
}
