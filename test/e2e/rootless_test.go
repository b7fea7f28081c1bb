// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod/users"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// rootless is a data directory of an ordinary user's.
func rootless(t *testing.T, setup string) *rkt.Host {
	t.Helper()
	h := host(t)
	h.Flags = append(h.Flags, "--insecure-options=http")
	h.ByUser(setup)
	return h
}

// plain fetches, from a registry if it can fill one, what every user namespace can hold.
func plain(t *testing.T, h *rkt.Host) string {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil { // as in tools/vm's machine
		return h.Must("fetch", "--full", image(t, images.Plain)).Out()
	}
	return h.Must("fetch", "--full", serve(t, images.Plain).URL(images.Plain)).Out()
}

// TestRootless: an ordinary user with one id fetches, runs and removes.
func TestRootless(t *testing.T) {
	h := rootless(t, rkt.NoSubIDs)
	id := plain(t, h)
	run := func(args ...string) rkt.Result { return h.Rkt(append([]string{"run"}, args...)...) }
	for name, c := range map[string]struct {
		args   []string
		want   string
		status int
	}{
		"root, of one id":   {append([]string{"--net=host", id}, sh("echo $(id -u) $(tr -s ' ' ' ' </proc/self/uid_map)")...), "0 0 54321 1", 0},
		"exit status":       {append([]string{"--net=none", id}, sh("exit 42")...), "", 42},
		"killed":            {append([]string{"--net=none", id}, sh("kill -9 $$")...), "", 137},
		"opaque directory":  {append([]string{"--net=none", id}, sh("ls /data")...), "new", 0},
		"whiteout of a pod": {append([]string{"--net=none", id}, sh("rm /data/new && mkdir /data/dir && rm -r /data && mkdir /data && ls /data")...), "", 0},
		"no network":        {append([]string{"--net=none", id}, sh("ls /sys/class/net")...), "lo", 0},
		"environment":       {append([]string{"--net=none", "--set-env=A=b c", id}, sh("echo $A $HOME $(env | grep -c RKT)")...), "b c /root 0", 0},
		"several apps":      {append(append([]string{"--net=none", id, "--name=a"}, sh("exit 3")...), append([]string{"---", id, "--name=b"}, sh("exit 0")...)...), "", 3},
		"devices":           {append([]string{"--net=none", id}, sh("echo x >/dev/null && head -c 2 /dev/zero | wc -c && mknod /n c 1 3 2>/dev/null || echo no")...), "2\nno", 0},
		"host's cgroups":    {append([]string{"--net=host", id}, sh("ls /sys/fs/cgroup | grep -c memory; touch /sys/x 2>/dev/null || echo read-only")...), "0\nread-only", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if r := run(c.args...); r.Out() != c.want || r.Status != c.status {
				t.Errorf("got %q, status %d; want %q, %d\n%s", r.Out(), r.Status, c.want, c.status, r.Stderr)
			}
		})
	}
	// Reading needs no namespace.
	if r := h.Must("list", "--no-legend"); len(strings.Fields(r.Out())) == 0 {
		t.Error("rkt list shows nothing")
	}
	h.Must("image", "list")
	h.Must("image", "verify")
	h.Must("gc", "--grace-period=0s")
	if left := h.Pods(); len(left) > 0 {
		t.Errorf("gc left %v", left)
	}
	h.Must("image", "rm", id)
	if trees, err := filepath.Glob(h.Dir + "/layers/sha256-*"); err != nil || len(trees) > 0 {
		t.Errorf("image rm left %v (%v)", trees, err)
	}
}

// TestRootlessRefusals: what cannot be had is refused by name.
func TestRootlessRefusals(t *testing.T) {
	h := rootless(t, rkt.NoSubIDs)
	id := plain(t, h)
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"a user without an id": {append([]string{"run", "--net=none", id, "--user=1000", "--group=0"}, sh("id")...),
			[]string{"cannot set the user (1000:0)", "/etc/subuid"}},
		"groups":         {append([]string{"run", "--net=none", id, "--supplementary-gids=50"}, sh("id")...), []string{"cannot have supplementary groups", "/etc/subgid"}},
		"a limit":        {append([]string{"run", "--net=none", "--memory=64M", id}, sh("true")...), []string{`controller "memory"`, "is not yours", "Delegate=yes"}},
		"root's network": {append([]string{"run", "--net=default-restricted", id}, sh("true")...), []string{`network "default-restricted" needs root`}},
		"an OOM score":   {append([]string{"run", "--net=none", id, "--oom-score-adj=-500"}, sh("true")...), []string{"only root lowers it"}},
		"a volume":       {append([]string{"run", "--net=none", "--volume=v,kind=host,source=/root", id, "--mount=volume=v,target=/v"}, sh("ls /v")...), nil},
		"files of others": {[]string{"fetch", serve(t, images.Tiny).URL(images.Tiny)},
			[]string{"cannot give it to 4242:4343", "your user namespace has no such owner", "newuidmap"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.Rkt(c.args...)
			if c.words != nil && r.Status != 254 || r.Status == 0 {
				t.Errorf("exit status %d", r.Status)
			}
			for _, w := range c.words {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("%q is not said in\n%s", w, r.Stderr)
				}
			}
		})
	}
	// A directory of root's.
	root, err := os.MkdirTemp("", "rkt-e2e-root-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	r := exec.Command("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", install.Bin("rkt"), "--dir="+root, "run", id)
	if out, err := r.CombinedOutput(); err == nil || !strings.Contains(string(out), "it needs root") {
		t.Errorf("run in a directory of root's: %v\n%s", err, out)
	}
}

// TestRootlessSubIDs: with ids of their own a user's pods have users.
func TestRootlessSubIDs(t *testing.T) {
	h := rootless(t, rkt.SubIDs)
	id := h.Must("fetch", "--full", serve(t, images.Tiny).URL(images.Tiny)).Out()
	share := filepath.Join(filepath.Dir(h.Dir), "share")
	if err := os.Mkdir(share, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(share, 0o777); err != nil {
		t.Fatal(err)
	}
	r := h.Rkt(append([]string{"run", "--net=none", "--volume=v,kind=host,source=" + share, id, "--user=alice", "--mount=volume=v,target=/v"},
		sh("echo $(id -u) $(id -g) $(id -G) $(stat -c %u:%g /srv/owned); touch /v/mine; mkdir -m 700 /tmp/d && touch /tmp/d/f")...)...)
	if r.Status != 0 || r.Out() != "1000 1001 1001 50 4242:4343" {
		t.Fatalf("got %q, status %d\n%s", r.Out(), r.Status, r.Stderr)
	}
	var st unix.Stat_t
	if err := unix.Stat(share+"/mine", &st); err != nil || st.Uid != 600999 {
		t.Errorf("the file in the volume is %d's (%v), want 600999's", st.Uid, err)
	}
	// Ranges of users that root's pods had are not the user's to collect, nor in the
	// way.
	lock, err := users.OfMachine().Take(contract.Users{Count: contract.UsersCount})
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	// Files of sub-ids go with the pod and the image.
	h.Must("gc", "--grace-period=0s")
	h.Must("image", "rm", id)
	if left := h.Pods(); len(left) > 0 {
		t.Errorf("gc left %v", left)
	}
}

// TestRootlessLife: the pid is the caller's child's, from start to end, and enter,
// stop and signals reach the pod.
func TestRootlessLife(t *testing.T) {
	for name, setup := range map[string]string{"one id": rkt.NoSubIDs, "sub-ids": rkt.SubIDs} {
		t.Run(name, func(t *testing.T) {
			h := rootless(t, setup)
			id := plain(t, h)
			begin := func(network string) (*rkt.Process, string) {
				file := filepath.Join(h.Home(), "uuid")
				p := h.Start(append([]string{"run", "--net=" + network, "--uuid-file-save=" + file, id}, sh("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")...)...)
				p.Expect("ready")
				return p, readUUID(t, file)
			}
			for _, network := range []string{"none", "host"} {
				p, uuid := begin(network)
				if got := ownerOf(t, p.PID()); got != rkt.User {
					t.Errorf("process %d is of user %d", p.PID(), got)
				}
				if r := h.Rkt("enter", uuid, "sh", "-c", "echo $(id -u) $(tr -s ' ' ' ' </proc/self/uid_map); exit 5"); r.Status != 5 || !strings.HasPrefix(r.Out(), "0 0 54321 1") {
					t.Errorf("enter: %q, status %d\n%s", r.Out(), r.Status, r.Stderr)
				}
				h.Must("stop", uuid)
				if status := p.Wait(); status != 9 {
					t.Errorf("stopped: exit status %d, want 9", status)
				}
				h.Must("rm", uuid)
			}
			p, _ := begin("none")
			p.Signal(syscall.SIGTERM)
			if status := p.Wait(); status != 9 {
				t.Errorf("SIGTERM: exit status %d, want 9", status)
			}
			p, uuid := begin("none")
			pid, err := strconv.Atoi(field(h.Must("status", uuid).Stdout, "pid"))
			if err != nil {
				t.Fatal(err)
			}
			p.Signal(syscall.SIGKILL)
			p.Wait()
			// The kernel ends it right after rkt, not before.
			for until := time.Now().Add(10 * time.Second); unix.Kill(pid, 0) == nil && state(pid) != "Z" && time.Now().Before(until); {
				time.Sleep(10 * time.Millisecond)
			}
			if unix.Kill(pid, 0) == nil && state(pid) != "Z" {
				t.Errorf("kill -9 of rkt leaves the pod's process %d, state %s", pid, state(pid))
			}
			prepared := h.Must(append([]string{"prepare", "--quiet", id}, sh("exit 6")...)...).Out()
			if r := h.Rkt("run-prepared", "--net=none", prepared); r.Status != 6 {
				t.Errorf("run-prepared: exit status %d\n%s", r.Status, r.Stderr)
			}
		})
	}
}

func ownerOf(t *testing.T, pid int) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(pid), &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// state is the letter of a process's state, "" if it is gone.
func state(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if _, rest, ok := strings.Cut(string(b), ") "); err == nil && ok {
		return rest[:1]
	}
	return ""
}

// TestRootlessIsTheUser: the root of a user's pod can do to the host what the user
// can, and no more, whatever protection is switched off.
func TestRootlessIsTheUser(t *testing.T) {
	h := rootless(t, rkt.SubIDs)
	id := plain(t, h)
	secret := filepath.Join(filepath.Dir(h.Dir), "secret")
	if err := os.WriteFile(secret, []byte("root's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, script string }{
		{"read root's file", "cat /v"},
		{"write root's file", "echo x >/v"},
		{"own root's file", "chown 0 /v"},
		{"change root's mode", "chmod 666 /v"},
		{"the host's kernel", "echo x >/proc/sys/kernel/core_pattern"},
		{"the host's clock", "! date -s @0 2>&1 | grep -q permitted"},
		{"a device", "mknod /d b 8 0 && cat /d"},
		{"the host's name", "test \"$(hostname)\" = " + mustHostname(t)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.Rkt(append([]string{"--insecure-options=all-run", "run", "--net=host", "--volume=v,kind=host,source=" + secret, id, "--mount=volume=v,target=/v"}, sh(c.script)...)...)
			if r.Status == 0 || r.Status == 254 {
				t.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
			}
		})
	}
	var st unix.Stat_t
	if b, err := os.ReadFile(secret); err != nil || string(b) != "root's\n" || unix.Stat(secret, &st) != nil || st.Uid != 0 || st.Mode&0o777 != 0o600 {
		t.Errorf("root's file is %q, of %d, mode %o (%v)", b, st.Uid, st.Mode, err)
	}
	// What a pod leaves with its set-user-id bit is nobody else's to run.
	h.Must(append([]string{"run", "--net=none", id}, sh("cp /bin/busybox /su && chmod 4755 /su")...)...)
	found, err := filepath.Glob(h.Dir + "/pods/*/*/private/upper-*/su")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if err := exec.Command("setpriv", "--reuid=54322", "--regid=54321", "--clear-groups", "test", "-e", found[0]).Run(); err == nil {
		t.Errorf("%s is in another user's reach", found[0])
	}
	// Nor does another join the namespace: join has no power of its own.
	p := h.Start(append([]string{"run", "--net=none", id}, sh("echo ready; sleep 1000")...)...)
	p.Expect("ready")
	join := filepath.Join(install.Dir, "libexec", "rkt", "join")
	other := exec.Command("sh", "-c", fmt.Sprintf("exec 9</proc/%d/ns/user; exec setpriv --reuid=54322 --regid=54322 --clear-groups %s 9 /bin/true true", p.PID(), join))
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot join") {
		t.Errorf("another user joins: %v, %s", err, out)
	}
	p.Signal(syscall.SIGKILL)
	p.Wait()
}

func mustHostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestRootlessNetwork: pasta, or slirp4netns in its place, carries a pod's
// network and ports, and ends with the pod however that ends.
func TestRootlessNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, c := range [][]string{{"link", "add", "rootless0", "type", "veth", "peer", "name", "rootless1"}, {"link", "set", "rootless1", "up"},
		{"addr", "add", "192.0.2.10/24", "dev", "rootless0"}, {"link", "set", "rootless0", "up"}, {"route", "add", "default", "via", "192.0.2.1"}} {
		if out, err := exec.Command("ip", c...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(c, " "), err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "rootless0").Run() })
	for _, c := range []struct{ program, address string }{{"pasta", "192.0.2.10"}, {"slirp4netns", "10.0.2.100"}} {
		t.Run(c.program, func(t *testing.T) {
			path, err := exec.LookPath(c.program)
			if err != nil {
				t.Skip("needs " + c.program)
			}
			h := rootless(t, rkt.SubIDs+rkt.Tun)
			id := plain(t, h)
			bin := filepath.Join(filepath.Dir(h.Dir), "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, program := range []string{path, "/usr/bin/newuidmap", "/usr/bin/newgidmap"} {
				if err := os.Symlink(program, filepath.Join(bin, filepath.Base(program))); err != nil {
					t.Fatal(err)
				}
			}
			h.Under = append(h.Under, "/usr/bin/env", "PATH="+bin)
			secret, closeSecret := listen(t)
			defer closeSecret()
			file := filepath.Join(h.Home(), "uuid")
			p := h.Start(append([]string{"run", "--port=web:tcp:80:18080", "--uuid-file-save=" + file, id},
				sh("echo $(ip -4 addr show eth0 | grep -o 'inet [0-9.]*'); nc -w 1 127.0.0.1 "+secret+" </dev/null; nc -w 1 192.0.2.1 "+secret+" </dev/null;"+
					"nc -w 1 10.0.2.2 "+secret+" </dev/null; echo listening; echo hello | nc -l -p 80; exit 8")...)...)
			p.Expect("listening")
			if !strings.Contains(p.Output(), "inet "+c.address) {
				t.Errorf("the pod's address is not %s: %s", c.address, p.Output())
			}
			if strings.Contains(p.Output(), "secret") {
				t.Error("the pod reaches the host's loopback")
			}
			if list := h.Must("list", "--no-legend").Out(); !strings.Contains(list, "default:ip4="+c.address) {
				t.Errorf("rkt list: %s", list)
			}
			if got := dial(t, "127.0.0.1:18080"); got != "hello\n" {
				t.Errorf("through the port: %q", got)
			}
			if status := p.Wait(); status != 8 {
				t.Errorf("exit status %d, want 8", status)
			}
			p = h.Start(append([]string{"run", id}, sh("echo ready; sleep 1000")...)...)
			p.Expect("ready")
			carrier := running(t, c.program)
			p.Signal(syscall.SIGKILL)
			p.Wait()
			p = nil
			for _, pid := range carrier {
				gone(t, pid)
			}
			r := h.Rkt(append([]string{"run", "--port=web:tcp:80:80", id}, sh("true")...)...)
			if r.Status != 254 || !strings.Contains(r.Stderr, "ip_unprivileged_port_start") {
				t.Errorf("a port below 1024: status %d\n%s", r.Status, r.Stderr)
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		h := rootless(t, rkt.NoSubIDs)
		id := plain(t, h)
		h.Under = append(h.Under, "/usr/bin/env", "PATH=/nonexistent")
		r := h.Rkt(append([]string{"run", id}, sh("ls /sys/class/net")...)...)
		if r.Status != 0 || r.Out() != "lo" || !strings.Contains(r.Stderr, "no network but loopback: neither pasta nor slirp4netns is installed") {
			t.Errorf("status %d, %q\n%s", r.Status, r.Out(), r.Stderr)
		}
		r = h.Rkt(append([]string{"run", "--net=default", id}, sh("true")...)...)
		if r.Status != 254 || !strings.Contains(r.Stderr, "install pasta") {
			t.Errorf("--net=default: status %d\n%s", r.Status, r.Stderr)
		}
	})
}
