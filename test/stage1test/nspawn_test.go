// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package stage1test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// host is a test of a flavor that is not asked of all.
func host(t *testing.T, name string) *T {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	f := installed(t, name)
	if f.Absent != "" {
		t.Skip(f.Absent)
	}
	dir, err := images.Layout()
	if err != nil {
		t.Skipf("%v", err)
	}
	h := rkt.New(t, install)
	return &T{T: t, Host: h, Flavor: &f, Image: h.Must("fetch", "--full", "oci:"+dir+":"+images.Tiny).Out()}
}

// firstOf are the pids of systemd-nspawn and of the pod's systemd.
func firstOf(t *T, run int, uuid string) (nspawn, init int) {
	t.Helper()
	for line := range strings.Lines(t.Host.Must("status", uuid).Stdout) {
		if word, ok := strings.CutPrefix(strings.TrimSpace(line), "pid="); ok {
			init, _ = strconv.Atoi(word)
		}
	}
	if nspawn = pidfd.Parent(init); nspawn == 0 || pidfd.Parent(nspawn) != run {
		t.Fatalf("systemd is %d, its parent %d, which is no child of run (%d)", init, nspawn, run)
	}
	return nspawn, init
}

// TestNspawnStandsStill: whatever of systemd-nspawn and systemd stands still, the pod
// can be ended, and nothing of it is left.
func TestNspawnStandsStill(t *testing.T) {
	tt := host(t, "host")
	for _, c := range []struct {
		name  string
		who   func(nspawn, init int) []int
		stop  []string
		want  int
		pause bool
	}{
		{"nspawn stop", func(nspawn, _ int) []int { return []int{nspawn} }, []string{"stop"}, 9, false},
		{"nspawn stop --force", func(nspawn, _ int) []int { return []int{nspawn} }, []string{"stop", "--force"}, 137, false},
		{"both stop", func(nspawn, init int) []int { return []int{nspawn, init} }, []string{"stop"}, 9, false},
		{"both stop --force", func(nspawn, init int) []int { return []int{nspawn, init} }, []string{"stop", "--force"}, 137, false},
		{"paused stop --force", func(int, int) []int { return nil }, []string{"stop", "--force"}, 137, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tt := tt.of(t)
			p, uuid := tt.Start(nil, nil, "trap 'exit 9' TERM; "+wait)
			nspawn, init := firstOf(tt, p.PID(), uuid)
			for _, pid := range c.who(nspawn, init) {
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			if c.pause {
				tt.Host.Must("pause", uuid)
			}
			tt.Host.Must(append(c.stop, uuid)...)
			if got := p.Wait(); got != c.want {
				t.Errorf("status %d, want %d\n%s", got, c.want, p.Output())
			}
			tt.Host.Gone()
			if left := rkt.Leftovers(tt.Host.Dir, []string{uuid}); left != nil {
				t.Errorf("left on the host: %q", left)
			}
		})
	}
}

// broken is coreos with a systemd that is a script, and which finds systemd as
// systemd.true beside itself.
func broken(t *T, script string) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	dir := filepath.Join(t.TempDir(), "tree")
	if out, err := exec.Command("cp", "-a", filepath.Join(install.Dir, "libexec/rkt/stage1-coreos"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lib := filepath.Join(dir, "usr/lib/systemd")
	if err := os.Rename(lib+"/systemd", lib+"/systemd.true"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", busybox, lib+"/busybox").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(lib+"/systemd", []byte("#!/usr/lib/systemd/busybox sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNspawnBroken: a pod whose systemd cannot start an app ends with what is wrong.
func TestNspawnBroken(t *testing.T) {
	tt := host(t, "coreos")
	for _, c := range []struct{ name, script, want string }{
		{"a service that cannot be executed", "cd /etc/systemd/system; b=/usr/lib/systemd/busybox; for f in *.service; do $b sed -i 's, app , none ,; s,=/rkt/stage1 none ,=/none/,' $f; done; exec /usr/lib/systemd/systemd.true \"$@\"",
			`cannot run app "web": systemd in the pod cannot start its service`},
		{"systemd that ends", "echo it is broken >&2; exit 3", "systemd-nspawn ended before app web was started: it is broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tt := &T{T: t, Host: tt.Host.For(t), Flavor: &Flavor{Choose: "--stage1-path=" + broken(tt, c.script), Manifest: tt.Flavor.Manifest}, Image: tt.Image}
			r := tt.Host.Rkt(slices.Insert(tt.Args(nil, []string{"--name=web"}, "exit 0"), 0, "--insecure-options=image")...)
			if r.Status != 254 || !strings.Contains(r.Stderr, c.want) {
				t.Errorf("status %d, want 254 and %q:\n%s", r.Status, c.want, r.Stderr)
			}
			tt.Host.Gone()
			if left := rkt.Leftovers(tt.Host.Dir, nil); left != nil {
				t.Errorf("left on the host: %q", left)
			}
		})
	}
}
