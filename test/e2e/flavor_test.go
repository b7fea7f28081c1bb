// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// flavors are run through the same set; what only some can do shows in their
// manifests.
var flavors = []string{"native", "fly"}

// TestFlavors: what every flavor promises.
func TestFlavors(t *testing.T) {
	for _, flavor := range flavors {
		t.Run(flavor, func(t *testing.T) {
			h := host(t)
			in := "--stage1-name=" + flavor
			for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "sleep 1000 & exit 3": 3} {
				if r := tiny(t, h, []string{in}, nil, script); r.Status != want {
					t.Errorf("%q: status %d, want %d\n%s", script, r.Status, want, r.Stderr)
				}
			}
			dir := shared(t)
			for _, c := range []struct {
				name     string
				pod, app []string
				script   string
				want     string
			}{
				{"user", nil, []string{"--user=12", "--group=34"}, "id -u; id -g", "12\n34\n"},
				{"environment", []string{"--set-env=A=b"}, []string{"--environment=C=d"}, "echo $A $C", "b d\n"},
				{"working directory", nil, []string{"--working-dir=/srv"}, "pwd", "/srv\n"},
				{"volume", []string{"--volume=v,kind=host,source=" + dir}, []string{"--mount=volume=v,target=/data"}, "cat /data/file; echo new >/data/" + flavor, "from the host\n"},
				{"read-only volume", []string{"--volume=v,kind=host,source=" + dir + ",readOnly=true"}, []string{"--mount=volume=v,target=/data"}, "echo x 2>/dev/null >/data/x || echo refused", "refused\n"},
				{"empty volume", []string{"--volume=v,kind=empty,uid=12"}, []string{"--mount=volume=v,target=/data"}, "stat -c %u /data", "12\n"},
				{"read-only root", nil, []string{"--readonly-rootfs"}, "echo x 2>/dev/null >/srv/x || echo refused", "refused\n"},
				{"own root", nil, nil, "cat /srv/content; echo x >/srv/x; cat /srv/x", "from the image\nx\n"},
				{"dns", []string{"--dns=192.0.2.7"}, nil, "grep -c 192.0.2.7 /etc/resolv.conf", "1\n"},
				{"devices", nil, nil, "echo x >/dev/null; test -r /proc/self/status && test -d /sys/kernel && echo there", "there\n"},
			} {
				t.Run(c.name, func(t *testing.T) {
					if r := tiny(t, h, append([]string{in}, c.pod...), c.app, c.script); r.Stdout != c.want || r.Status != 0 {
						t.Errorf("stdout %q, want %q (status %d)\n%s", r.Stdout, c.want, r.Status, r.Stderr)
					}
				})
			}
			if b, err := os.ReadFile(filepath.Join(dir, flavor)); err != nil || string(b) != "new\n" {
				t.Errorf("what the app wrote is not on the host: %q, %v", b, err)
			}
			flavorLife(t, in)
		})
	}
}

// flavorLife: enter, signals, stop, kill -9 and gc.
func flavorLife(t *testing.T, in string) {
	h := host(t)
	const loop = "echo ready; while :; do sleep 0.1; done"
	p, uuid := startTiny(t, h, []string{in}, []string{"--user=12"}, "echo mine >/tmp/mark; trap 'exit 9' TERM; "+loop)
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "cat /tmp/mark; id -u; exit 5"); r.Status != 5 || r.Stdout != "mine\n12\n" {
		t.Errorf("enter: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := h.Must("status", uuid); !strings.HasPrefix(r.Stdout, "state=running\n") {
		t.Errorf("status: %q", r.Stdout)
	}
	h.Must("stop", uuid)
	if got := p.Wait(); got != 9 {
		t.Errorf("stopped: status %d, want 9", got)
	}
	if r := h.Must("status", uuid); !strings.Contains(r.Stdout, "=9\n") {
		t.Errorf("status of a stopped pod: %q", r.Stdout)
	}
	p, uuid = startTiny(t, h, []string{in}, nil, "trap '' TERM; "+loop)
	h.Must("stop", "--force", uuid)
	if got := p.Wait(); got != 137 {
		t.Errorf("stopped by force: status %d, want 137", got)
	}
	p, uuid = startTiny(t, h, []string{in}, nil, "sleep 4321 & "+loop)
	p.Signal(syscall.SIGKILL)
	_ = p.Wait()
	h.Must("gc", "--grace-period=0")
	h.Must("gc", "--grace-period=0")
	if r := h.Rkt("status", uuid); r.Status != 254 {
		t.Errorf("a pod is there after gc: %q", r.Stdout)
	}
	if out, _ := exec.Command("pgrep", "-f", "^sleep 4321$").Output(); len(out) > 0 {
		t.Errorf("a process is left of a killed pod: %s", out)
	}
}

// TestFlyRefuses: what fly cannot do is refused before anything starts.
func TestFlyRefuses(t *testing.T) {
	h := host(t)
	img := tinyID(t, h)
	for feature, args := range map[string][]string{
		"net-contained":     {"run", "--stage1-name=fly", img},
		"net-none":          {"run", "--stage1-name=fly", "--net=none", img},
		"multiple-apps":     {"run", "--stage1-name=fly", "--net=host", img, "--name=a", img, "--name=b"},
		"hostname":          {"run", "--stage1-name=fly", "--net=host", "--hostname=x", img},
		"limit-memory":      {"run", "--stage1-name=fly", "--net=host", img, "--memory=64M"},
		"capabilities":      {"run", "--stage1-name=fly", "--net=host", img, "--caps-retain=CAP_CHOWN"},
		"seccomp":           {"run", "--stage1-name=fly", "--net=host", img, "--seccomp=mode=remove,@rkt/default-blacklist"},
		"no-new-privileges": {"run", "--stage1-name=fly", "--net=host", img, "--no-new-privs"},
	} {
		if r := h.Rkt(args...); r.Status != 254 || !strings.Contains(r.Stderr, `flavor "fly" lacks the feature "`+feature+`"`) {
			t.Errorf("%s: status %d, %q", feature, r.Status, r.Stderr)
		}
	}
	// The host's own places are no place for a volume: it would show on the host.
	dir := shared(t)
	for _, target := range []string{"/dev/shm", "/proc/fs", "/sys/fs"} {
		r := h.Rkt("run", "--stage1-name=fly", "--net=host", "--volume=v,kind=host,source="+dir, img, "--mount=volume=v,target="+target, "--exec=/bin/true")
		if r.Status != 254 || !strings.Contains(r.Stderr, "the host's own") {
			t.Errorf("a volume at %s: status %d, %q", target, r.Status, r.Stderr)
		}
	}
}

// TestFlyMounts: what an app mounts in a volume shows on the host, if that shares
// its mounts, and what is the pod's own does not.
func TestFlyMounts(t *testing.T) {
	host(t)
	script := `set -e
mount -t tmpfs tmpfs "$1"; mount --make-shared "$1"; mkdir "$1/v"
"$2" --dir="$3" --insecure-options=image run --stage1-name=fly --net=host --volume=v,kind=host,source="$1/v" "$4" --mount=volume=v,target=/data --exec=/bin/sh -- -c 'mkdir /data/m && mount -t tmpfs inside /data/m && echo here >/data/m/file'
cat "$1/v/m/file"; grep -c 'overlay' /proc/self/mountinfo || true`
	h := host(t)
	out, err := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", t.TempDir(), install.Bin("rkt"), h.Dir, tinyID(t, h)).CombinedOutput()
	before, _ := os.ReadFile("/proc/self/mountinfo")
	want := "here\n0\n"
	if n := strings.Count(string(before), "overlay"); n > 0 {
		t.Skipf("this machine has %d overlay mounts of its own", n)
	}
	if err != nil || string(out) != want {
		t.Errorf("got %q, want %q (%v)", out, want, err)
	}
}
