// SPDX-License-Identifier: Apache-2.0

package stage1test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// Cases are all tests.
func Cases() []Case {
	needs := func(f ...contract.Feature) []contract.Feature { return f }
	return []Case{
		{"exit status", nil, true, exitStatus},
		{"an app that cannot start", nil, false, cannotStart},
		{"user and groups", nil, true, user},
		{"environment and directory", nil, true, environment},
		{"standard streams", nil, true, streams},
		{"own root", nil, true, ownRoot},
		{"devices and kernel files", nil, false, kernelFiles},
		{"nothing handed over", nil, false, nothingHandedOver},
		{"prepare, run-prepared", nil, false, prepared},
		{"volumes", needs(contract.Volumes), true, volumes},
		{"volumes of one file", needs(contract.Volumes), false, fileVolumes},
		{"read-only root", needs(contract.ReadOnlyRoot), false, readOnlyRoot},
		{"read-only root, volumes", needs(contract.ReadOnlyRoot, contract.Volumes), false, readOnlyVolumes},
		{"several apps", needs(contract.MultipleApps), true, severalApps},
		{"signals", nil, false, signals},
		{"stop", nil, true, stop},
		{"stop, too slow", nil, false, stopSlow},
		{"stop --force", nil, false, stopForce},
		{"kill -9, gc", nil, true, killed},
		{"enter", nil, true, enter},
		{"enter at a terminal", nil, false, enterTerminal},
		{"enter, half a terminal", nil, false, enterHalf},
		{"terminal", needs(contract.Interactive), false, terminal},
		{"pause, resume", needs(Pause), false, pause},
		{"host name", needs(contract.Hostname), false, hostname},
		{"resolv.conf, hosts", needs(contract.DNS), false, dns},
		{"network host", needs(contract.NetHost), false, netHost},
		{"network none", needs(contract.NetNone), false, netNone},
		{"network contained", needs(contract.NetContained), true, netContained},
		{"ports", needs(contract.NetContained, contract.Ports), false, ports},
		{"sockets of the caller", needs(contract.Sockets), false, sockets},
		{"readiness", needs(contract.Notify), false, readiness},
		{"IPC of the host", needs(contract.HostIPC), false, hostIPC},
		{"users of its own", needs(contract.PrivateUsers), false, privateUsers},
		{"capabilities", needs(contract.Capabilities), false, capabilities},
		{"ambient capabilities", needs(contract.Capabilities, contract.Ambient), false, ambient},
		{"system calls", needs(contract.Seccomp), false, seccomp},
		{"no new privileges", needs(contract.NoNewPrivs), false, noNewPrivs},
		{"devices of the host", needs(contract.Devices), false, devices},
		{"protected paths", needs(contract.ProtectedPaths), false, protected},
		{"event handlers", needs(contract.EventHandlers), false, handlers},
		{"logs", needs(contract.Logs), false, logs},
		{"limit of processors", needs(contract.LimitCPU), false, limitCPU},
		{"limit of memory", needs(contract.LimitMemory), false, limitMemory},
		{"limit of processes", needs(contract.LimitPIDs), false, limitPIDs},
		{"limit of block I/O", needs(contract.LimitBlockIO), false, limitBlockIO},
		{"rlimits", needs(contract.Rlimits), false, rlimits},
		{"OOM score", needs(contract.OOMScoreAdj), false, oomScore},
		{"kernel parameters", needs(contract.Sysctls), false, sysctls},
	}
}

func exitStatus(t *T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "sleep 1000 & exit 3": 3} {
		if r := t.Run(nil, nil, script); r.Status != want {
			t.Errorf("%q: status %d, want %d\n%s", script, r.Status, want, r.Stderr)
		}
	}
	uuid := ""
	for _, uuid = range t.Host.Pods() {
		if s := t.Host.Must("status", uuid); !strings.HasPrefix(s.Stdout, "state=exited\n") {
			t.Errorf("status of a pod that ended: %q", s.Stdout)
		}
	}
}

// cannotStart: 254, one line that says what is wrong, and an end in the pod's
// record or none.
func cannotStart(t *T) {
	for why, flags := range map[string][]string{"no program": {"--exec=/no/such/program"}, "no user": {"--user=nobody-we-know", "--exec=/bin/true"}, "no program in PATH": {"--exec=no-such-program"}} {
		args := append([]string{"run", t.Flavor.Choose, t.Flavor.Net(), t.Image}, flags...)
		if r := t.Host.Rkt(args...); r.Status != 254 || !strings.Contains(r.Stderr, "cannot ") {
			t.Errorf("%s: status %d, want 254\n%s", why, r.Status, r.Stderr)
		}
	}
}

func user(t *T) {
	t.Want("12\n34\n", nil, []string{"--user=12", "--group=34"}, "id -u; id -g")
	// By the image's own files, with the groups that it puts alice in.
	t.Want("1000 1001 50 60 1001\n", nil, []string{"--user=alice", "--supplementary-gids=60"},
		"echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n)")
	t.Want("4242 4343\n", nil, []string{"--user=/srv/owned", "--group=/srv/owned"}, "echo $(id -u) $(id -g)")
}

func environment(t *T) {
	t.Want("b d app /srv tiny\n", []string{"--set-env=A=b"}, []string{"--environment=C=d", "--name=app", "--working-dir=/srv"},
		"echo $A $C $AC_APP_NAME $PWD $IMAGE")
	// A directory that the image does not have.
	t.Want("/new/place\n", nil, []string{"--working-dir=/new/place"}, "pwd")
}

// streams: each is the caller's, whole and apart from the others.
func streams(t *T) {
	if r := t.Run(nil, nil, "echo out; echo err >&2; cat"); r.Stdout != "out\n" || r.Stderr != "err\n" || r.Status != 0 {
		t.Errorf("stdout %q, stderr %q, status %d", r.Stdout, r.Stderr, r.Status)
	}
	if r := t.Host.Feed("fed\n", t.Args(nil, []string{"--stdin=inherit"}, "cat")...); r.Stdout != "fed\n" || r.Status != 0 {
		t.Errorf("stdin: %q, status %d\n%s", r.Stdout, r.Status, r.Stderr)
	}
	if r := t.Run(nil, nil, "seq 1 20000"); r.Status != 0 || strings.Count(r.Stdout, "\n") != 20000 || !strings.HasSuffix(r.Stdout, "\n20000\n") {
		t.Errorf("%d bytes of output, status %d", len(r.Stdout), r.Status)
	}
}

// ownRoot: an app writes to its root, and nobody else sees it.
func ownRoot(t *T) {
	for range 2 {
		t.Want("from the image\nx\n", nil, nil, "cat /srv/content; test -e /srv/x || echo x >/srv/x; cat /srv/x; rm /srv/content; echo x >/etc/passwd")
	}
}

func kernelFiles(t *T) {
	t.Want("there\n", nil, nil, "echo x >/dev/null && test -z \"$(cat </dev/null)\" && test $(head -c 3 /dev/zero | wc -c) = 3 && test $(head -c 4 /dev/urandom | wc -c) = 4 && "+
		"test -r /proc/self/status && test -d /sys/kernel && test -d /dev/pts && test -d /dev/shm && echo there")
	t.Want("1777\nx\n", nil, nil, "stat -c %a /tmp; echo x >/tmp/x; cat /tmp/x")
}

// nothingHandedOver: neither descriptors nor variables of rkt's come to the app.
func nothingHandedOver(t *T) {
	t.Want("0 1 2 3\n", nil, nil, "echo $(ls /proc/self/fd)")
	t.Want("none\n", nil, nil, "env | grep RKT_ || echo none")
}

func prepared(t *T) {
	args := append([]string{"prepare", t.Flavor.Choose}, t.Args(nil, nil, "echo prepared; exit 6")[3:]...)
	uuid := t.Host.Must(args...).Out()
	if r := t.Host.Rkt("run-prepared", t.Flavor.Net(), uuid); r.Status != 6 || r.Stdout != "prepared\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := t.Host.Rkt("run-prepared", t.Flavor.Net(), uuid); r.Status != 254 {
		t.Errorf("a second time: status %d", r.Status)
	}
	if r := t.Host.Must("status", uuid); !strings.Contains(r.Stdout, "=6\n") {
		t.Errorf("status: %q", r.Stdout)
	}
	t.Host.Must("rm", uuid)
}

// shared is a directory of the host's that everybody may write to, with a file.
func shared(t *T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func volumes(t *T) {
	dir := shared(t)
	host := "--volume=v,kind=host,source=" + dir
	mount := []string{"--mount=volume=v,target=/data/v"} // which the image does not have
	t.Want("from the host\n", []string{host}, mount, "cat /data/v/file; echo new >/data/v/new")
	if b, err := os.ReadFile(filepath.Join(dir, "new")); string(b) != "new\n" {
		t.Errorf("what the app wrote is not on the host: %q, %v", b, err)
	}
	t.Want("from the host\nrefused\n", []string{host + ",readOnly=true"}, mount, "cat /data/v/file; echo x 2>/dev/null >/data/v/x || echo refused")
	t.Want("12 750\n", []string{"--volume=v,kind=empty,uid=12,mode=0750"}, mount, "stat -c '%u %a' /data/v; echo x >/data/v/x")
}

// fileVolumes: a file of the host's over one of the image's; and where the image has
// a link that leads out, it leads to what is inside.
func fileVolumes(t *T) {
	dir := shared(t)
	file := []string{"--volume=v,kind=host,source=" + filepath.Join(dir, "file")}
	t.Want("from the host\n", file, []string{"--mount=volume=v,target=/srv/content"}, "cat /srv/content")
	t.Want("from the host\n", file, []string{"--mount=volume=v,target=/escape/content"}, "cat /srv/content")
	if _, err := os.Lstat("/srv/content"); err == nil {
		t.Error("it is on the host")
	}
}

func readOnlyRoot(t *T) {
	t.Want("refused\n", nil, []string{"--readonly-rootfs"}, "echo x 2>/dev/null >/srv/x || echo refused")
}

func readOnlyVolumes(t *T) {
	t.Want("refused\nx\n", []string{"--volume=v,kind=empty"}, []string{"--readonly-rootfs", "--mount=volume=v,target=/new/v"},
		"echo x 2>/dev/null >/srv/x || echo refused; echo x >/new/v/x; cat /new/v/x")
}

// severalApps: each has its own root and user, they see each other's processes,
// and the pod ends with the status of the one that failed, as if it were stopped.
func severalApps(t *T) {
	args := t.Args(nil, []string{"--name=one", "--user=12"}, "id -u; echo x >/tmp/mine; while test ! -e /shared/go; do sleep 0.05; done; exit 5")
	args = append(args, "---", t.Image, "--name=two", "--exec=/bin/sh", "--", "-c", "test -e /tmp/mine || echo apart; echo x >/shared/go; exec sleep 1000")
	args = append(args[:1:1], append([]string{"--volume=v,kind=empty,mode=0777", "--mount=volume=v,target=/shared"}, args[1:]...)...)
	r := t.Host.Rkt(args...)
	if !strings.Contains(r.Stdout, "12\n") || !strings.Contains(r.Stdout, "apart\n") || r.Status != 5 {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	pods := t.Host.Pods()
	found := false
	for _, uuid := range pods {
		s := t.Host.Must("status", uuid).Stdout
		found = found || strings.Contains(s, "app-one=5\n") && strings.Contains(s, "app-two=143\n")
	}
	if !found {
		t.Error("no pod has the statuses of both")
	}
}

func hostname(t *T) {
	t.Want("other\n", []string{"--hostname=other"}, nil, "hostname")
}

func dns(t *T) {
	t.Want("nameserver 192.0.2.7\n192.0.2.8\n", []string{"--dns=192.0.2.7", "--hosts-entry=192.0.2.8=there"}, nil,
		"grep nameserver /etc/resolv.conf; grep there /etc/hosts | cut -f1")
	// An image without /etc/hosts gets one.
	t.Want("localhost\n", nil, nil, "grep -q localhost /etc/hosts && echo localhost")
}

func link(t *T, name string) string {
	t.Helper()
	text, err := os.Readlink("/proc/self/ns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text + "\n"
}

func netHost(t *T) {
	t.Want(link(t, "net"), []string{"--net=host"}, nil, "readlink /proc/self/ns/net")
}

func netNone(t *T) {
	t.Want("lo\nup\n", []string{"--net=none"}, nil, "ls /sys/class/net | grep -v -e tunl -e sit -e gre -e ip6 -e erspan -e teql -e ip_vti; ip addr show lo | grep -q 127.0.0.1/8 && echo up")
}

func netContained(t *T) {
	t.Want("eth0\n172\n", []string{"--net=default"}, nil, "ls /sys/class/net | grep eth; ip -4 addr show eth0 | sed -n 's/ *inet \\([0-9]*\\).*/\\1/p'")
}

func ports(t *T) {
	p, _ := t.Start([]string{"--net=default", "--port=web:tcp:80:18080"}, nil, "echo ready; while :; do echo answer | nc -l -p 80; done")
	if got := dial(t, "127.0.0.1:18080"); got != "answer\n" {
		t.Errorf("the port says %q", got)
	}
	p.Signal(unix.SIGTERM)
	_ = p.Wait()
}

func hostIPC(t *T) {
	t.Want(link(t, "ipc"), []string{"--ipc=parent"}, nil, "readlink /proc/self/ns/ipc")
}

func privateUsers(t *T) {
	r := t.Run([]string{"--private-users"}, nil, "id -u; cut -c11- /proc/self/uid_map | sed 's/^ *//;s/ .*//'")
	lines := strings.Split(r.Stdout, "\n")
	if r.Status != 0 || len(lines) != 3 || lines[0] != "0" || lines[1] == "0" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// field is a line of /proc/self/status in a script.
func field(name string) string { return "sed -n 's/^" + name + ":[ \\t]*//p' /proc/self/status; " }

func capabilities(t *T) {
	t.Want("0000000000000020\n0000000000000020\n", nil, []string{"--caps-retain=CAP_KILL"}, field("CapBnd")+field("CapEff"))
}

func ambient(t *T) {
	t.Want("12\n0000000000000020\n", nil, []string{"--caps-retain=CAP_KILL", "--user=12"}, "id -u; "+field("CapEff"))
}

func seccomp(t *T) {
	t.Want("2\nrefused\n", nil, []string{"--seccomp=mode=remove,errno=EPERM,mkdir,mkdirat"}, field("Seccomp")+"mkdir /srv/x 2>/dev/null || echo refused")
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Want("2\nNo space left on device\n", nil, []string{"--seccomp=profile=" + file}, field("Seccomp")+"mkdir /srv/x 2>&1 | grep -o No.*")
}

func noNewPrivs(t *T) {
	t.Want("1\n", nil, []string{"--no-new-privs"}, field("NoNewPrivs"))
}

func devices(t *T) {
	t.Want("full\n", nil, []string{"--device=/dev/zero:/dev/mine/empty", "--device=/dev/full:/dev/mine/full"},
		"head -c 3 /dev/mine/empty | wc -c | grep -q 3 && (echo x >/dev/mine/full) 2>/dev/null || echo full")
}

func protected(t *T) {
	t.Want("refused\nrefused\n", nil, nil, "(echo 1 >/proc/sys/kernel/panic) 2>/dev/null || echo refused; (echo x >/proc/sysrq-trigger) 2>/dev/null || echo refused")
}

func handlers(t *T) {
	file := podManifest(t, `{"name":"a","image":{"id":"`+t.Image+`"},"app":{"exec":["/bin/sh","-c","cat /srv/before; exit 4"],"user":"12","group":"34","eventHandlers":[{"name":"pre-start","exec":["/bin/sh","-c","id -u >/srv/before"]},{"name":"post-stop","exec":["/bin/echo","after"]}]}}`)
	if r := t.Host.Rkt("run", t.Flavor.Choose, t.Flavor.Net(), "--pod-manifest="+file); r.Status != 4 || r.Stdout != "0\nafter\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

func logs(t *T) {
	before := map[string]bool{}
	for _, uuid := range t.Host.Pods() {
		before[uuid] = true
	}
	t.Want("out\n", nil, []string{"--stdout=log"}, "echo out")
	for _, uuid := range t.Host.Pods() {
		if before[uuid] {
			continue
		}
		if r := t.Host.Must("logs", uuid); !strings.Contains(r.Stdout, "out") {
			t.Errorf("the log has %q", r.Stdout)
		}
	}
}

func limitCPU(t *T) {
	t.Want("0\n", nil, []string{"--cpu-set=0"}, field("Cpus_allowed_list"))
	if r := t.Run(nil, []string{"--cpu=500m", "--cpu-shares=512"}, "exit 3"); r.Status != 3 {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
}

// limitMemory: what takes more is killed, what takes less is not.
func limitMemory(t *T) {
	take := func(size string) string { return "head -c " + size + " /dev/zero | tail -c " + size + " | wc -c" }
	if r := t.Run(nil, []string{"--memory=64M"}, take("8000000")); r.Status != 0 || r.Out() != "8000000" {
		t.Errorf("8 MB of 64: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := t.Run(nil, []string{"--memory=64M"}, take("300000000")); r.Out() == "300000000" {
		t.Error("300 MB of 64 could be had")
	}
}

func limitPIDs(t *T) {
	script := "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do sleep 1000 & done; echo all"
	if r := t.Run(nil, []string{"--pids-limit=12"}, script); r.Stdout == "all\n" && r.Status == 0 {
		t.Error("25 processes of 12 could be had")
	}
	if r := t.Run(nil, []string{"--pids-limit=60"}, script); r.Stdout != "all\n" {
		t.Errorf("25 of 60: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

// limitBlockIO: it is taken. What it does takes a disk, and a clock
// (test/e2e/limits_test.go).
func limitBlockIO(t *T) {
	t.Want("ok\n", nil, []string{"--block-iops=100000"}, "echo x >/srv/x && echo ok")
}

func rlimits(t *T) {
	t.Want("64 0\n", nil, []string{"--rlimit=nofile=64:64", "--rlimit=core=0"}, "echo $(ulimit -n) $(ulimit -c)")
}

func oomScore(t *T) {
	t.Want("321\n", nil, []string{"--oom-score-adj=321"}, "cat /proc/self/oom_score_adj")
}

func sysctls(t *T) {
	t.Want(strconv.Itoa(99)+"\n", []string{"--sysctl=kernel.shmmni=99"}, nil, "cat /proc/sys/kernel/shmmni")
}
