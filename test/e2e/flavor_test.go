// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestFlyPlaces: the host's own places are no place for a volume: it would show on
// the host. What else fly refuses, test/stage1test asks for.
func TestFlyPlaces(t *testing.T) {
	h := host(t)
	img := tinyID(t, h)
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
