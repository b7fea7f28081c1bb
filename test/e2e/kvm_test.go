// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rkt/rkt/test/rkt"
)

// kvmReady adds the guest's kernel to the installation, once.
var kvmReady = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"} {
		if _, err := exec.LookPath(program); err != nil {
			return "needs " + program, nil
		}
	}
	out, err := exec.Command("go", "run", "github.com/rkt/rkt/tools/stage1-kvm", "-o", install.Dir).CombinedOutput()
	return string(out), err
})

// kvmHost is a host on which the kvm flavor works.
func kvmHost(t *testing.T) *rkt.Host {
	t.Helper()
	h := host(t)
	text, err := kvmReady()
	if err != nil {
		t.Fatalf("cannot make the kvm flavor: %v\n%s", err, text)
	}
	if strings.HasPrefix(text, "needs") {
		t.Skip(text)
	}
	return h
}

// kvm runs a script in a virtual machine.
func kvm(t *testing.T, h *rkt.Host, podFlags, appFlags []string, script string) rkt.Result {
	t.Helper()
	args := append(append([]string{"run", "--stage1-name=kvm", "--net=none"}, podFlags...), tinyID(t, h))
	return h.Rkt(append(append(args, appFlags...), sh(script)...)...)
}

// startKVM starts a pod in a virtual machine, whose script says "ready".
func startKVM(t *testing.T, h *rkt.Host, podFlags, appFlags []string, script string) (*rkt.Process, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "uuid")
	args := append(append([]string{"run", "--stage1-name=kvm", "--net=none", "--uuid-file-save=" + file}, podFlags...), tinyID(t, h))
	p := h.Start(append(append(args, appFlags...), sh(script)...)...)
	p.Expect("ready")
	return p, readUUID(t, file)
}

// kvmGone fails if anything of a pod's machine stays. The kernel takes a moment to
// end one that was killed.
func kvmGone(t *testing.T, uuid string) {
	t.Helper()
	var out []byte
	for range 200 {
		if out, _ = exec.Command("pgrep", "-fa", uuid).Output(); len(out) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("left of the machine: %s", out)
}

// TestKVM: what a pod in a virtual machine has, and its status; the host's kernel is
// not its own.
func TestKVM(t *testing.T) {
	h := kvmHost(t)
	dir := shared(t)
	r := kvm(t, h, []string{"--volume=v,kind=host,source=" + dir, "--volume=r,kind=host,source=" + dir + ",readOnly=true", "--volume=e,kind=empty,uid=12",
		"--dns=192.0.2.7", "--hostname=guest", "--set-env=A=b"},
		[]string{"--mount=volume=v,target=/data", "--mount=volume=r,target=/ro", "--mount=volume=e,target=/empty", "--environment=C=d", "--working-dir=/srv", "--caps-retain=CAP_CHOWN"},
		`uname -r; hostname; echo $A $C; pwd; cat /data/file; echo new >/data/kvm; echo x 2>/dev/null >/ro/x || echo refused; stat -c %u /empty
grep -c 192.0.2.7 /etc/resolv.conf; cat /srv/content; echo x >/srv/x; cat /srv/x; grep CapBnd /proc/self/status | cut -f2; grep Seccomp: /proc/self/status | cut -f2; exit 7`)
	want := "guest\nb d\n/srv\nfrom the host\nrefused\n12\n1\nfrom the image\nx\n0000000000000001\n2\n"
	kernel, rest, _ := strings.Cut(r.Stdout, "\n")
	if r.Status != 7 || rest != want || !strings.HasSuffix(kernel, "-cloud-amd64") {
		t.Errorf("status %d\n%s\nwant\n%s\n%s", r.Status, r.Stdout, want, r.Stderr)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "kvm")); err != nil || string(b) != "new\n" {
		t.Errorf("what the app wrote is not on the host: %q, %v", b, err)
	}
	h.Must("gc", "--grace-period=0")
	h.Gone()
}

// TestKVMLife: enter, signals, stop and a read-only root as another user.
func TestKVMLife(t *testing.T) {
	h := kvmHost(t)
	p, uuid := startKVM(t, h, nil, []string{"--user=12", "--group=34", "--readonly-rootfs"},
		"echo x 2>/dev/null >/srv/x || echo refused; trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
	if !strings.Contains(p.Output(), "refused") {
		t.Errorf("a read-only root is written to: %q", p.Output())
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "id -u; id -g; cat /srv/content; exit 5"); r.Status != 5 || r.Stdout != "12\n34\nfrom the image\n" {
		t.Errorf("enter: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := h.Feed(strings.Repeat("0123456789abcde\n", 1<<15), "enter", uuid, "/bin/busybox", "md5sum"); r.Stdout != "8587634f5bdc3853bf69ef9a15cc01a7  -\n" || r.Status != 0 {
		t.Errorf("enter with half a megabyte: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := h.Shell(install.Bin("rkt") + " --dir=" + h.Dir + " enter " + uuid + " /bin/busybox yes | head -c 300000 | wc -c"); r.Out() != "300000" {
		t.Errorf("enter whose output nobody takes: %q\n%s", r.Stdout, r.Stderr)
	}
	if r := h.Rkt("enter", uuid, "/bin/nothing"); r.Status != 254 || !strings.Contains(r.Stderr, "/bin/nothing") {
		t.Errorf("enter without a program: status %d, %q", r.Status, r.Stderr)
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
	kvmGone(t, uuid)
}

// TestKVMEarly: what comes while the machine starts, enter and a signal, is for the
// pod; an app whose output nobody reads any more ends as it does elsewhere.
func TestKVMEarly(t *testing.T) {
	h := kvmHost(t)
	uuid := h.Must("prepare", "--stage1-name=kvm", tinyID(t, h), "--exec=/bin/sh", "--", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done").Out()
	p := h.Start("run-prepared", "--net=none", uuid)
	for until := time.Now().Add(rkt.Patience); !strings.HasPrefix(h.Rkt("status", uuid).Stdout, "state=running\n"); {
		if time.Now().After(until) {
			t.Fatal("the pod does not run")
		}
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "echo entered; exit 5"); r.Status != 5 || r.Stdout != "entered\n" {
		t.Errorf("enter: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	p.Expect("ready")
	p.Signal(syscall.SIGTERM)
	if got := p.Wait(); got != 9 {
		t.Errorf("stopped: status %d, want 9", got)
	}
	kvmGone(t, uuid)
	r := h.Shell(install.Bin("rkt") + " --dir=" + h.Dir + " run --stage1-name=kvm --net=none " + tinyID(t, h) + " --exec=/bin/busybox -- yes | head -c 300000 | wc -c")
	if r.Out() != "300000" {
		t.Errorf("output that nobody takes: %q\n%s", r.Stdout, r.Stderr)
	}
	h.Gone()
}

// TestKVMKilled: a machine ends with rkt, and by force, and leaves nothing.
func TestKVMKilled(t *testing.T) {
	h := kvmHost(t)
	p, uuid := startKVM(t, h, nil, nil, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	h.Must("stop", "--force", uuid)
	if got := p.Wait(); got != 137 {
		t.Errorf("stopped by force: status %d, want 137", got)
	}
	kvmGone(t, uuid)
	p, uuid = startKVM(t, h, nil, nil, "echo ready; exec sleep 1000")
	p.Signal(syscall.SIGKILL)
	_ = p.Wait()
	kvmGone(t, uuid)
	h.Must("gc", "--grace-period=0")
	h.Must("gc", "--grace-period=0")
	if r := h.Rkt("status", uuid); r.Status != 254 {
		t.Errorf("a pod is there after gc: %q", r.Stdout)
	}
	h.Gone()
}

// TestKVMNetwork: the machine is on the same networks as other pods, by IPv4 and IPv6,
// ports of the host lead into it, and all is given back.
func TestKVMNetwork(t *testing.T) {
	kvmHost(t)
	w := newWorld(t)
	p := w.pod([]string{"--stage1-name=kvm", "--port=web:tcp:80:8080", "--port=dns:udp:53:8053"}, "tcp::80", "udp::53")
	native := w.pod(nil, "tcp::80")
	gateway6 := p.ip6[0][:strings.LastIndex(p.ip6[0], ":")] + ":1"
	w.answers("the machine, by its address", "172.16.28.1")(w.fromHost("tcp", p.ip[0], 80))
	w.answers("the machine, by IPv6", gateway6)(w.fromHost("tcp", p.ip6[0], 80))
	w.answers("a port over loopback", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	w.answers("a UDP port from the world", second4)(w.fromSecond("udp", uplink4, 8053))
	w.answers("a port from the world, IPv6", second6)(w.fromSecond("tcp", uplink6, 8080))
	w.answers("the machine, from a native pod", native.ip[0])(native.ask("tcp", p.ip[0], 80))
	w.answers("a native pod, from the machine", p.ip[0])(p.ask("tcp", native.ip[0], 80))
	w.answers("a native pod, from the machine, IPv6", p.ip6[0])(p.ask("tcp", native.ip6[0], 80))
	native.end()
	p.end()
	w.nothingLeft()
}

// TestKVMInteractive: the terminal is the app's, with its size.
func TestKVMInteractive(t *testing.T) {
	h := kvmHost(t)
	id := tinyID(t, h)
	term := h.Type("run", "--stage1-name=kvm", "--net=none", "--interactive", id)
	term.Send("test -t 0 && test -t 1 && echo on a $((1))terminal\n")
	term.Expect("on a 1terminal")
	term.Send("stty size\n")
	term.Expect("24 80")
	useTerminal(t, term)
	h.Gone()
}

// TestKVMApps: several apps, each within its own limits; the OOM killer takes one and
// is told of; the output of one that logs is in its log.
func TestKVMApps(t *testing.T) {
	h := kvmHost(t)
	id := tinyID(t, h)
	file := filepath.Join(t.TempDir(), "uuid")
	r := h.Rkt("run", "--stage1-name=kvm", "--net=none", "--uuid-file-save="+file,
		id, "--name=one", "--exec=/bin/sh", "--", "-c", "echo one; hostname; sleep 1; exit 0", "---",
		id, "--name=two", "--memory=32M", "--exec=/bin/sh", "--", "-c", "cat /sys/fs/cgroup/memory.max; x=xxxxxxxx; while :; do x=$x$x; done")
	if r.Status != 137 || !strings.Contains(r.Stdout, "one\n") || !strings.Contains(r.Stdout, "31997952\n") {
		t.Errorf("status %d, want 137; %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	status := h.Must("status", readUUID(t, file)).Stdout
	if field(status, "app-two") != "137" || field(status, "oom-two") == "" {
		t.Errorf("status:\n%s", status)
	}
	h.Gone()
}

// TestKVMDisk: on a host without virtiofsd each app's root is a disk with all that is
// in it, what is written stays in the machine, and what cannot be shared is refused.
func TestKVMDisk(t *testing.T) {
	h := kvmHost(t)
	if _, err := exec.LookPath("mkfs.erofs"); err != nil {
		t.Skip("needs mkfs.erofs")
	}
	id := tinyID(t, h)
	without := func(args ...string) rkt.Result {
		t.Helper()
		script := "mount --bind /dev/null /usr/lib/qemu/virtiofsd && exec \"$@\""
		words := append([]string{"unshare", "--mount", "/bin/sh", "-c", script, "sh", install.Bin("rkt"), "--dir=" + h.Dir, "run", "--net=none"}, args...)
		return h.Shell("exec '" + strings.Join(words, "' '") + "'")
	}
	all := `find / -xdev -path /dev -prune -o -path /proc -prune -o -path /sys -prune -o -path /tmp -prune -o -path /etc/resolv.conf -prune -o -path /etc/hosts -prune -o -exec stat -c "%n %u %g %a %F %h %Y" {} + | sort | grep -v "^/[a-z]* 0 0 755 directory\|^/ "; find / -xdev -type f -path "/srv/*" -exec cat {} + ; exit 7`
	same := []string{id, "--exec=/bin/sh", "--", "-c", all}
	want := h.Rkt(append([]string{"run", "--net=none"}, same...)...)
	if got := without(append([]string{"--stage1-name=kvm"}, same...)...); got.Status != 7 || got.Stdout != want.Stdout || len(got.Stdout) < 1000 {
		t.Errorf("status %d, %d bytes and %d of native\n%s\nnative\n%s\n%s", got.Status, len(got.Stdout), len(want.Stdout), got.Stdout, want.Stdout, got.Stderr)
	}
	r := without("--stage1-name=kvm", id, "--name=one", "--user=12", "--readonly-rootfs", "--exec=/bin/sh", "--", "-c", "echo x >/tmp/x || echo refused; id -u; sleep 1", "---",
		id, "--name=two", "--exec=/bin/sh", "--", "-c", "cat /srv/content; echo x >/srv/content; echo now $(cat /srv/content)")
	for _, line := range []string{"refused\n", "12\n", "from the image\n", "now x\n"} {
		if !strings.Contains(r.Stdout, line) || r.Status != 0 {
			t.Errorf("two apps: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	for want, args := range map[string][]string{
		"cannot share volume": {"--volume=v,kind=empty", id, "--mount=volume=v,target=/v"},
		"cannot write":        {id, "--stdout=log"},
	} {
		if r := without(append([]string{"--stage1-name=kvm"}, args...)...); r.Status != 254 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%q: status %d, %q", want, r.Status, r.Stderr)
		}
	}
	h.Gone()
}

// TestKVMRefuses: what kvm cannot do is refused before anything starts, and so is
// all of it without the guest's kernel.
func TestKVMRefuses(t *testing.T) {
	h := host(t)
	img := tinyID(t, h)
	for feature, args := range map[string][]string{
		"net-host":      {"run", "--stage1-name=kvm", "--net=host", img},
		"host-ipc":      {"run", "--stage1-name=kvm", "--net=none", "--ipc=parent", img},
		"private-users": {"run", "--stage1-name=kvm", "--net=none", "--private-users", img},
		"devices":       {"run", "--stage1-name=kvm", "--net=none", img, "--device=/dev/null:/dev/x"},
	} {
		if r := h.Rkt(args...); r.Status != 254 || !strings.Contains(r.Stderr, `flavor "kvm" lacks the feature "`+feature+`"`) {
			t.Errorf("%s: status %d, %q", feature, r.Status, r.Stderr)
		}
	}
}
