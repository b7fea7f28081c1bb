// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// TestProtectedPaths: what /proc and /sys tell or let change about the host is
// masked or read-only.
func TestProtectedPaths(t *testing.T) {
	h := host(t)
	script := `
for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/latency_stats; do
	if test -e $f; then echo "$f $(head -c 64 $f 2>/dev/null | wc -c)"; fi
done
for d in /proc/acpi /proc/scsi /sys/firmware; do
	if test -e $d; then echo "$d $(ls -A $d 2>/dev/null | wc -l)"; fi
done
for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/sys/kernel/core_pattern /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run; do
	if test -e $f && echo x 2>/dev/null > $f; then echo "wrote $f"; fi
done
echo end`
	r := tiny(t, h, nil, nil, script)
	if !strings.HasSuffix(r.Stdout, "end\n") {
		t.Fatalf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for line := range strings.Lines(strings.TrimSuffix(r.Stdout, "end\n")) {
		if f := strings.Fields(line); len(f) != 2 || f[1] != "0" {
			t.Errorf("not protected: %s", strings.TrimSpace(line))
		}
	}
}

// TestDev: what images expect in /dev is there and works; nothing else is.
func TestDev(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, nil, `
head -c 4 /dev/zero | od -An -tx1; head -c 1 /dev/urandom | wc -c; echo x > /dev/null && echo null; echo x 2>/dev/null > /dev/full || echo full
test -c /dev/tty && test -c /dev/random && test -e /dev/ptmx && test -d /dev/pts && test -d /dev/shm && echo nodes
readlink /dev/fd; readlink /dev/stdin; stat -c %a /dev/shm; touch /dev/shm/x && echo shm
find /dev -type b | wc -l; ls /dev/kmsg /dev/mem /dev/vda 2>/dev/null | wc -l`)
	want := " 00 00 00 00\n1\nnull\nfull\nnodes\n/proc/self/fd\n/proc/self/fd/0\n1777\nshm\n0\n0\n"
	if r.Stdout != want {
		t.Errorf("got %q\nwant %q\n%s", r.Stdout, want, r.Stderr)
	}
	// The nodes are the host's: their mode and owner are not the app's to change.
	before, err := os.Stat("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	tiny(t, h, nil, nil, "chmod 600 /dev/full; chown 12 /dev/full; touch -t 200001010000 /dev/full")
	after, err := os.Stat("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	if b, a := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t); b.Mode != a.Mode || b.Uid != a.Uid || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the app changed the host's /dev/full: %v, uid %d, %v", after.Mode(), a.Uid, after.ModTime())
		_ = os.Chmod("/dev/full", before.Mode().Perm())
		_ = os.Chown("/dev/full", int(b.Uid), int(b.Gid))
	}
	// Devices the app makes by itself do not open.
	r = tiny(t, h, nil, nil, "mknod /x b 254 0 2>/dev/null; mknod /k c 1 11 2>/dev/null; head -c 1 /x >/dev/null 2>&1 && echo opened a disk; head -c 1 /k >/dev/null 2>&1 && echo opened kmsg; echo end")
	if r.Stdout != "end\n" {
		t.Errorf("devices: %q", r.Stdout)
	}
}

// TestNoLeakedDescriptors: an app has its three streams and nothing of rkt's,
// and no process in the pod shows the host.
func TestNoLeakedDescriptors(t *testing.T) {
	h := host(t)
	r := h.Rkt("run", "--net=host", image(t, images.Tiny), "--exec=/bin/ls", "--", "/proc/self/fd")
	// ls has the directory it reads open itself.
	if got := strings.Join(strings.Fields(r.Stdout), " "); got != "0 1 2 3" {
		t.Errorf("descriptors %q, want 0 1 2 and ls's own 3", got)
	}
	// The pod's first process must not be a door to the host either.
	r = tiny(t, h, nil, nil, "ls /proc/1/root/ 2>/dev/null | grep -c proc; cat /proc/1/environ 2>/dev/null | wc -c; ls -l /proc/1/fd 2>/dev/null | grep -c -e "+h.Dir+"; readlink /proc/1/cwd")
	if strings.Contains(r.Stdout, h.Dir) {
		t.Errorf("through /proc/1 the app sees %q", r.Stdout)
	}
	marker := h.Dir + "-marker"
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := tiny(t, h, nil, nil, "test -e /proc/1/root"+marker+" && echo sees the host; for f in /proc/1/fd/*; do test -e $f"+marker+" && echo sees the host by $f; done; echo end"); r.Stdout != "end\n" {
		t.Errorf("through /proc/1: %q", r.Stdout)
	}
}

// TestHostMountsAreHidden: an app's mount table is its own.
func TestHostMountsAreHidden(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, nil, "cut -d' ' -f5 /proc/self/mountinfo | sort")
	for line := range strings.Lines(r.Stdout) {
		p := strings.TrimSpace(line)
		ok := p == "/" || p == "/etc/resolv.conf" || p == "/etc/hosts" || p == "/etc/hostname"
		for _, top := range []string{"/proc", "/sys", "/dev"} {
			ok = ok || p == top || strings.HasPrefix(p, top+"/")
		}
		if !ok {
			t.Errorf("the app has a mount at %s", p)
		}
	}
	if !strings.Contains(r.Stdout, "/proc\n") {
		t.Errorf("mount table %q\n%s", r.Stdout, r.Stderr)
	}
}

// TestNothingStaysOnHost: while a pod runs, the host's mount table does not
// know it; when it has ended, in whatever way but the death of rkt itself,
// its cgroups and mounts are gone before any gc.
func TestNothingStaysOnHost(t *testing.T) {
	for name, end := range map[string]func(h *rkt.Host, p *rkt.Process, uuid string){
		"by itself":     func(*rkt.Host, *rkt.Process, string) {},
		"stop":          func(h *rkt.Host, _ *rkt.Process, uuid string) { h.Must("stop", uuid) },
		"stop by force": func(h *rkt.Host, _ *rkt.Process, uuid string) { h.Must("stop", "--force", uuid) },
		"signal":        func(_ *rkt.Host, p *rkt.Process, _ string) { p.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			dir := shared(t)
			p, uuid := startTiny(t, h, []string{"--volume=v,kind=host,source=" + dir}, []string{"--mount=volume=v,target=/v"},
				"echo ready; while ! test -e /v/go; do sleep 0.05; done")
			for _, line := range rkt.Leftovers(h.Dir, nil) {
				if strings.HasPrefix(line, "mount ") {
					t.Errorf("on the host while the pod runs: %s", line)
				}
			}
			end(h, p, uuid)
			if name == "by itself" {
				write(t, dir+"/go", "")
			}
			p.Wait()
			h.Gone()
			if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
				t.Errorf("after the pod ended: %q", left)
			}
		})
	}
}

// TestInsecureOptions: the protections can be switched off, each by its name.
func TestInsecureOptions(t *testing.T) {
	h := host(t)
	h.Flags = append(h.Flags, "--insecure-options=image,capabilities,paths,seccomp")
	script := "grep -E '^(CapBnd|Seccomp:)' /proc/self/status | tr -s '\\t\\n' ' '; cat /proc/self/mountinfo | grep -c ' /proc/sys '"
	r := tiny(t, h, nil, nil, script)
	bnd, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	own := ""
	for line := range strings.Lines(string(bnd)) {
		if strings.HasPrefix(line, "CapBnd:") {
			own = strings.TrimSpace(strings.TrimPrefix(line, "CapBnd:"))
		}
	}
	if want := "CapBnd: " + own + " Seccomp: 0 0\n"; r.Stdout != want {
		t.Errorf("got %q, want %q\n%s", r.Stdout, want, r.Stderr)
	}
}

// TestFirstProcessTellsNothing: while the pod is young its first process has the
// memory of rkt. Neither that nor rkt's command line is the app's to read.
func TestFirstProcessTellsNothing(t *testing.T) {
	h := host(t)
	image := h.Must("fetch", "--full", image(t, images.Tiny)).Out()
	for range 20 { // before and after the moment in which they part
		r := h.Rkt("run", "--net=none", image, "--exec=/bin/cat", "--", "/proc/1/cmdline")
		if r.Status != 0 || strings.Contains(r.Stdout, h.Dir) || strings.Contains(r.Stdout, "rkt run") {
			t.Fatalf("/proc/1/cmdline: status %d, %q", r.Status, r.Stdout)
		}
	}
	for _, name := range []string{"environ", "mem", "maps", "exe", "root/etc/passwd", "cwd", "fd/0"} {
		r := h.Rkt("run", "--net=none", image, "--exec=/bin/head", "--", "-c1", "/proc/1/"+name)
		if r.Status == 0 || r.Status == 254 || r.Stdout != "" {
			t.Errorf("/proc/1/%s: status %d, %q", name, r.Status, r.Stdout)
		}
	}
}

// TestMaskedPaths: what Docker (moby, October 2026), containerd and podman mask by
// default shows nothing, and what they make read-only is.
func TestMaskedPaths(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, nil, `
for p in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi \
	/sys/firmware /sys/devices/virtual/powercap /sys/fs/selinux /sys/dev/block /sys/devices/system/cpu/cpu*/thermal_throttle; do
	if test -d $p; then test -z "$(ls -A $p)" || echo "shows $p"; elif test -e $p; then test -z "$(head -c1 $p)" || echo "shows $p"; fi
	if test -e $p; then umount $p 2>/dev/null && echo "unmasked $p"; fi
done
for p in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /sys; do
	if test -e $p; then grep -q " $p ro," /proc/self/mountinfo || echo "writable $p"; fi
	if test -e $p; then mount -o remount,rw,bind $p 2>/dev/null && echo "made writable $p"; fi
done
mount -t proc p /tmp 2>/dev/null && echo another proc
mount -t sysfs p /tmp 2>/dev/null && echo another sys
unshare -Ur true 2>/dev/null && echo a user namespace
test -d /proc/acpi -o -e /proc/kcore && echo end`)
	if r.Stdout != "end\n" {
		t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// TestFilesOfAnApp: what keeps apps apart (landlock.OwnDomain) keeps them from
// nothing with files: links and renames between directories, in the root, in a
// volume, in a chroot, of files without a name, and device nodes.
func TestFilesOfAnApp(t *testing.T) {
	h := host(t)
	id := h.Must("fetch", "--full", image(t, images.Python)).Out()
	const script = `
import os, socket
def files(top):
    a, b = top + "/a", top + "/b/c"
    os.makedirs(a); os.makedirs(b)
    open(a + "/f", "w").write("x")
    os.rename(a + "/f", b + "/f")
    os.link(b + "/f", a + "/g")
    os.replace(b, a + "/c")
    os.symlink("g", a + "/h")
    os.rename(a + "/h", top + "/b/h")
    os.mkfifo(a + "/p"); os.rename(a + "/p", top + "/p")
    s = socket.socket(socket.AF_UNIX); s.bind(a + "/s"); os.rename(a + "/s", top + "/b/s")
    fd = -1
    if os.path.exists("/proc/self"):
        try: fd = os.open(a, os.O_TMPFILE | os.O_RDWR)
        except OSError as e:
            if e.errno != 95 or top == "/v/x": raise # overlayfs before Linux 6.3
    if fd >= 0:
        os.link("/proc/self/fd/%d" % fd, top + "/b/named", src_dir_fd=fd, follow_symlinks=True)
    os.truncate(a + "/g", 0)
    d = os.open(a, os.O_RDONLY); os.rename(a, top + "/d")
    os.rename("g", top + "/b/from", src_dir_fd=d)
files("/srv/x"); files("/v/x"); files("/tmp/x")
if os.environ.get("NODES"):
    os.mknod("/srv/block", 0o60600, os.makedev(7, 0)); os.rename("/srv/block", "/tmp/block")
pid = os.fork()
if pid == 0:
    os.chroot("/v"); files("/y"); os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("did")
`
	for name, flags := range map[string][2][]string{
		"usual":            {{"--set-env=NODES=1"}, nil},
		"started by init":  {nil, {"--oom-score-adj=1000"}},
		"users of its own": {{"--private-users"}, nil},
	} {
		dir := shared(t)
		args := append(append([]string{"run", "--net=none", "--volume=v,kind=host,source=" + dir}, flags[0]...), id, "--mount=volume=v,target=/v")
		if r := h.Rkt(append(append(args, flags[1]...), "--exec=/usr/bin/python3", "--", "-c", script)...); r.Out() != "did" {
			t.Errorf("%s: status %d, %q\n%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
}
