// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"archive/tar"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
)

// usersOf is the range that a pod has, as status tells.
func usersOf(t *testing.T, h *rkt.Host, uuid string) (first, count int) {
	t.Helper()
	var status struct {
		Users *struct{ First, Count int } `json:"private_users"`
	}
	text := h.Must("status", "--json", uuid).Stdout
	if err := json.Unmarshal([]byte(text), &status); err != nil || status.Users == nil {
		t.Fatalf("%v: %s", err, text)
	}
	if want := fmt.Sprintf("%d:%d", status.Users.First, status.Users.Count); field(h.Must("status", uuid).Stdout, "private-users") != want {
		t.Errorf("status does not say %s", want)
	}
	return status.Users.First, status.Users.Count
}

// idsOf are a process's real, effective, saved and file system's users or groups,
// as the host knows them.
func idsOf(t *testing.T, pid int, key string) (ids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			for _, w := range strings.Fields(rest) {
				n, err := strconv.Atoi(w)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, n)
			}
		}
	}
	return ids
}

// processesOf are the pids of all processes in the pod's pid namespace.
func processesOf(t *testing.T, init int) (pids []int) {
	t.Helper()
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if l, err := os.Readlink(d + "/ns/pid"); err == nil && l == space {
			pid, _ := strconv.Atoi(filepath.Base(d))
			pids = append(pids, pid)
		}
	}
	return pids
}

func pidOf(t *testing.T, h *rkt.Host, uuid string) int {
	t.Helper()
	pid, err := strconv.Atoi(field(h.Must("status", uuid).Stdout, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// TestPrivateUsers: whoever an app is inside, on the host it is one of the pod's
// range, and so is the pod's first process and what enters; on the disk all
// owners are those inside.
func TestPrivateUsers(t *testing.T) {
	h := host(t)
	dir := shared(t)
	if err := os.Chown(filepath.Join(dir, "file"), 1000, 1001); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "uuid")
	write := "touch %[1]s/of-root; mkdir %[1]s/d; touch %[1]s/of-alice; chown alice:alice %[1]s/of-alice; "
	script := "stat -c '%u:%g' /data/file /etc/hosts /srv/owned /dev/shm /empty; " + fmt.Sprintf(write, "/data") + fmt.Sprintf(write, "/srv") + fmt.Sprintf(write, "/empty") +
		"echo r > /ro/x || echo read-only; cat /proc/self/uid_map /proc/self/gid_map; sleep 1000 & echo ready; wait"
	p := h.Start("run", "--private-users", "--net=none", "--uuid-file-save="+file, "--volume=data,kind=host,source="+dir,
		"--volume=ro,kind=host,source="+dir+",readOnly=true", "--volume=empty,kind=empty,uid=7,gid=8", tinyID(t, h),
		"--stdout=log", "--name=a", "--mount=volume=data,target=/data", "--mount=volume=ro,target=/ro", "--mount=volume=empty,target=/empty",
		"--exec=/bin/sh", "--", "-c", script)
	p.Expect("ready")
	uuid := readUUID(t, file)
	first, count := usersOf(t, h, uuid)
	if first%65536 != 0 || first < 1<<30 || first > 0x6fff0000 || count != 65536 {
		t.Errorf("range %d:%d", first, count)
	}
	out := strings.Fields(p.Output())
	want := strings.Fields(fmt.Sprintf("1000:1001 0:0 4242:4343 0:0 7:8 0 %[1]d 65536 0 %[1]d 65536 ready", first))
	for _, w := range want {
		found := false
		for _, o := range out {
			found = found || o == w
		}
		if !found {
			t.Errorf("inside, %q is missing: %q", w, out)
		}
	}
	if !strings.Contains(p.Output(), "read-only") {
		t.Errorf("a read-only volume: %q", out)
	}
	init := pidOf(t, h, uuid)
	pids := processesOf(t, init)
	if len(pids) < 3 {
		t.Errorf("processes %v", pids)
	}
	for _, pid := range pids {
		for _, key := range []string{"Uid", "Gid"} {
			for _, id := range idsOf(t, pid, key) {
				if id != first {
					t.Errorf("process %d has %s %d on the host, not %d", pid, key, id, first)
				}
			}
		}
		for _, id := range idsOf(t, pid, "Groups") {
			if id < first || id >= first+count {
				t.Errorf("process %d has group %d of the host", pid, id)
			}
		}
	}
	upper := filepath.Join(h.Dir, "pods/run", uuid)
	for path, want := range map[string]string{
		dir + "/file": "1000:1001", dir + "/of-root": "0:0", dir + "/d": "0:0", dir + "/of-alice": "1000:1001",
		upper + "/private/upper-a/srv/of-root": "0:0", upper + "/private/upper-a/srv/of-alice": "1000:1001", upper + "/private/upper-a": "0:0",
		upper + "/private/volumes/empty": "7:8", upper + "/private/volumes/empty/of-root": "0:0", upper + "/private/log/a": "0:0", upper + "/contract.json": "0:0",
	} {
		if got := owner(t, path); got != want {
			t.Errorf("on the disk %s is %s's, want %s", path, got, want)
		}
	}
	r := h.Rkt("enter", uuid, "/bin/sh", "-c", "id -u; readlink /proc/self/ns/user; exec sleep 0.5")
	if l, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", init)); r.Out() != "0\n"+l || err != nil {
		t.Errorf("entered: %q, %s", r.Stdout, r.Stderr)
	}
	h.Must("stop", uuid)
	if status := p.Wait(); status != 143 {
		t.Errorf("status %d", status)
	}
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("after the pod ended: %q", left)
	}
	h.Must("rm", uuid)
	if _, err := os.Stat(upper); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after rm: %v", err)
	}
}

// TestPrivateUsersOfSeveralApps: several apps, users by name, a terminal, event
// handlers' way of starting (an OOM score), limits, sysctls and rlimits.
func TestPrivateUsersOfSeveralApps(t *testing.T) {
	needController(t, "memory", "pids")
	h := host(t)
	id := tinyID(t, h)
	file := filepath.Join(t.TempDir(), "uuid")
	args := []string{"run", "--private-users", "--net=none", "--uuid-file-save=" + file, "--sysctl=net.ipv4.ip_default_ttl=77", "--sysctl=kernel.shmmni=78", "--pids-limit=50",
		id, "--name=a", "--user=alice", "--oom-score-adj=500", "--memory=64M", "--rlimit=nofile=50:60"}
	args = append(args, sh("id -u; cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmni; ulimit -n; ls /a /b 2>/dev/null; echo shared > /dev/shm/x; sleep 1000")...)
	args = append(args, "---", id, "--name=b")
	args = append(args, sh("while ! test -e /dev/shm/x; do sleep 0.01; done; id -u; grep -c . /proc/self/mountinfo >/dev/null; ls /sys/fs/cgroup/cgroup.procs; echo ready; sleep 1000")...)
	p := h.Start(args...)
	p.Expect("ready")
	uuid := readUUID(t, file)
	first, _ := usersOf(t, h, uuid)
	out := p.Output()
	for _, want := range []string{"1000\n", "500\n77\n78\n50\n", "0\n/sys/fs/cgroup/cgroup.procs\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	ids := map[int]bool{}
	for _, pid := range processesOf(t, pidOf(t, h, uuid)) {
		for _, id := range idsOf(t, pid, "Uid") {
			ids[id] = true
		}
		if groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err == nil && idsOf(t, pid, "NSpid")[1] != 1 && !strings.Contains(string(groups), "/rkt-"+uuid+"/") {
			t.Errorf("process %d is in no cgroup of the pod: %s", pid, groups)
		}
	}
	if len(ids) != 2 || !ids[first] || !ids[first+1000] {
		t.Errorf("on the host: %v", ids)
	}
	if r := h.Rkt("enter", "--app=a", uuid, "/bin/sh", "-c", "id -u; ulimit -n; grep -c alice /etc/passwd"); r.Out() != "1000\n50\n1" {
		t.Errorf("entered a: %q\n%s", r.Stdout, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("after the pod ended: %q", left)
	}
}

// TestPrivateUsersGainNothing: what the pod's root tries on what is the host's.
func TestPrivateUsersGainNothing(t *testing.T) {
	h := host(t)
	dir := shared(t)
	flags := []string{"--private-users", "--volume=ro,kind=host,source=" + dir + ",readOnly=true", "--mount=volume=ro,target=/ro"}
	all := []string{"--caps-retain=CAP_SYS_ADMIN,CAP_MKNOD,CAP_CHOWN,CAP_FOWNER,CAP_DAC_OVERRIDE,CAP_DAC_READ_SEARCH,CAP_SETUID,CAP_SETGID,CAP_SYS_CHROOT,CAP_NET_ADMIN,CAP_KILL,CAP_SYS_RESOURCE", "--seccomp=mode=retain,@appc.io/all"}
	before, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	try := func(what, command string) string { return "{ " + command + "; } 2>/dev/null && echo '" + what + "'\n" }
	script := try("made a device", "mknod /x b 254 0") +
		try("changed a node", "chmod 600 /dev/full || chown 0 /dev/full") +
		try("wrote a sysctl", "echo x > /proc/sys/kernel/core_pattern || echo 1 > /proc/sys/kernel/panic || echo 1 > /proc/sys/vm/drop_caches") +
		try("wrote a sysctl past the mask", "umount /proc/sys && echo x > /proc/sys/kernel/core_pattern") +
		try("unmounted a mask", "umount /proc/sys || umount /proc/keys || umount /sys || umount /dev/full") +
		try("made the volume writable", "mount -o remount,rw,bind /ro && touch /ro/x") +
		try("made devices work", "mount -o remount,dev,bind /") +
		try("made devices work below", "mount -o remount,dev,bind /dev/shm") +
		try("read the memory of init", "head -c 1 /proc/1/mem || head -c 1 /proc/1/environ >/dev/null || ls /proc/1/fd/* >/dev/null") +
		try("opened the root of init", "ls /proc/1/root/") +
		try("asked for a cgroup", "echo 1 > /sys/fs/cgroup/cgroup.procs || mkdir /sys/fs/cgroup/x") +
		try("lowered its score", "echo -500 > /proc/self/oom_score_adj") +
		try("gave a file to the host", "chown 70000 /tmp") +
		try("mounted a disk", "mount -t ext4 /dev/vda /mnt || mount -t ext4 /x /mnt") +
		"mkdir -p /m; mount -t tmpfs none /m && touch /m/x && echo mounts of its own\n" +
		"mount --bind /srv /m && cat /m/content\n" + "echo end"
	r := tiny(t, h, flags, all, script)
	if r.Stdout != "mounts of its own\nfrom the image\nend\n" {
		t.Errorf("with capabilities: %q\n%s", r.Stdout, r.Stderr)
	}
	if r := tiny(t, h, flags, nil, script); r.Stdout != "end\n" {
		t.Errorf("with the usual ones: %q\n%s", r.Stdout, r.Stderr)
	}
	// Who may trace finds nothing of the host's in the pod's first process.
	r = tiny(t, h, flags, []string{"--caps-retain=CAP_SYS_PTRACE,CAP_SYS_ADMIN"}, "sleep 0.1; ls -l /proc/1/fd | grep -E '/run/rkt|/sys/fs/cgroup|/var|/srv'; for p in 1 self; do readlink /proc/$p/ns/user; done | uniq | wc -l; echo x > /proc/1/root/proc/sys/kernel/panic || echo end")
	if r.Stdout != "1\nend\n" {
		t.Errorf("init has %q\n%s", r.Stdout, r.Stderr)
	}
	after, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || string(after) != string(before) {
		t.Errorf("the host's core_pattern is %q, %v", after, err)
		_ = os.WriteFile("/proc/sys/kernel/core_pattern", before, 0)
	}
}

// TestPrivateUsersSetuid: a set-user-ID program makes its caller the pod's root,
// and capabilities of a file are the pod's; on the host it stays in the range.
func TestPrivateUsersSetuid(t *testing.T) {
	h := host(t)
	dir := filepath.Join(t.TempDir(), "layout")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// VFS_CAP_REVISION_2 with CAP_DAC_OVERRIDE, effective (capabilities(7)).
	fileCaps := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	fileCaps = binary.LittleEndian.AppendUint32(fileCaps, 1<<1)
	fileCaps = append(fileCaps, make([]byte, 12)...)
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := l.AddLayer(layout.Gzip, func(tw *tar.Writer) error {
		program, err := os.ReadFile("/bin/busybox")
		if err != nil {
			return err
		}
		put := func(name string, mode int64, records map[string]string) error {
			err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(program)), ModTime: layout.Epoch, PAXRecords: records})
			if err == nil {
				_, err = tw.Write(program)
			}
			return err
		}
		return errors.Join(layout.Dir(tw, "bin", 0o755), put("bin/busybox", 0o755, nil), layout.Symlink(tw, "bin/sh", "busybox"), layout.Symlink(tw, "bin/id", "busybox"),
			layout.Symlink(tw, "bin/sleep", "busybox"), layout.Symlink(tw, "bin/grep", "busybox"),
			layout.Dir(tw, "suid", 0o755), put("suid/su", 0o4755, nil), layout.Dir(tw, "caps", 0o755),
			put("caps/cat", 0o755, map[string]string{"SCHILY.xattr.security.capability": string(fileCaps)}),
			layout.File(tw, "secret", 0o400, "told\n"),
			layout.Dir(tw, "etc", 0o755), layout.File(tw, "etc/passwd", 0o644, "root::0:0::/:/bin/sh\nu:x:1000:1000::/:/bin/sh\n"), layout.File(tw, "etc/group", 0o644, "root:x:0:\nu:x:1000:\n"))
	})
	if err == nil {
		_, err = l.AddImage("x", layout.Config{Cmd: []string{"/bin/sh"}}, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "uuid")
		args := []string{"run", "--net=none", "--uuid-file-save=" + file}
		if own {
			args = append(args, "--private-users")
		}
		// su asks nothing of root's empty password.
		p := h.Start(append(args, "oci:"+dir+":x", "--user=u", "--exec=/bin/sh", "--", "-c",
			"id -u; /caps/cat /secret; grep -c . /secret; exec /suid/su root -c 'id -u; echo ready; sleep 1000'")...)
		p.Expect("ready")
		if !strings.HasSuffix(p.Output(), "1000\ntold\n0\nready\n") && !strings.Contains(p.Output(), "told\n") {
			t.Errorf("own users %v: %q", own, p.Output())
		}
		uuid := readUUID(t, file)
		if own {
			first, count := usersOf(t, h, uuid)
			for _, pid := range processesOf(t, pidOf(t, h, uuid)) {
				for _, id := range idsOf(t, pid, "Uid") {
					if id < first || id >= first+count {
						t.Errorf("process %d is %d on the host", pid, id)
					}
				}
			}
		}
		h.Must("stop", "--force", uuid)
		p.Wait()
	}
}

// TestPrivateUsersSideBySide: fifty pods have fifty ranges, also of different data
// directories, and give them back.
func TestPrivateUsersSideBySide(t *testing.T) {
	hosts := []*rkt.Host{host(t), host(t)}
	seen := map[int]string{}
	var running []*rkt.Process
	var files []string
	for i := range 50 {
		h := hosts[i%2]
		file := filepath.Join(t.TempDir(), "uuid"+strconv.Itoa(i))
		files = append(files, file)
		running = append(running, h.Start("run", "--private-users", "--net=none", "--uuid-file-save="+file, tinyID(t, h), "--exec=/bin/sh", "--", "-c", "echo ready; exec sleep 1000"))
	}
	for i, p := range running {
		p.Expect("ready")
		uuid := readUUID(t, files[i])
		first, count := usersOf(t, hosts[i%2], uuid)
		if other, ok := seen[first]; ok || first%count != 0 {
			t.Errorf("pods %s and %s have both %d", other, uuid, first)
		}
		seen[first] = uuid
	}
	// What one has another cannot get; what one had another can.
	var first int
	for first = range seen {
		break
	}
	fixed := []string{"--private-users=" + strconv.Itoa(first)}
	if r := tiny(t, hosts[0], fixed, nil, "true"); r.Status != 254 || !strings.Contains(r.Stderr, "another pod has them") {
		t.Errorf("a range that is held: status %d\n%s", r.Status, r.Stderr)
	}
	for i, p := range running {
		if i%2 == 0 {
			p.Signal(syscall.SIGKILL) // no process of rkt's sees the end
		} else {
			p.Signal(syscall.SIGTERM)
		}
	}
	for i, p := range running {
		p.Wait()
		hosts[i%2].Gone()
	}
	if r := tiny(t, hosts[0], fixed, nil, "cat /proc/self/uid_map"); !strings.Contains(r.Stdout, strconv.Itoa(first)) {
		t.Errorf("a range that was given back: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for _, h := range hosts {
		h.Must("gc", "--grace-period=0s")
	}
	for first := range seen {
		if _, err := os.Stat(fmt.Sprintf("/run/rkt/users/%d", first)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after gc the lock of %d is there: %v", first, err)
		}
	}
}

// TestPrivateUsersRefused: what cannot be had is refused by its name, and nothing
// is left.
func TestPrivateUsersRefused(t *testing.T) {
	h := host(t)
	for _, c := range []struct {
		pod, app []string
		want     string
	}{
		{[]string{"--ipc=parent"}, nil, "host's IPC namespace"},
		{[]string{"--volume=v,kind=host,source=/proc"}, []string{"--mount=volume=v,target=/v"}, `volume "v": its filesystem, proc, cannot be mounted with mapped owners`},
		{[]string{"--volume=v,kind=host,source=/dev/null"}, []string{"--mount=volume=v,target=/v"}, `volume "v": its filesystem, devtmpfs`},
		{[]string{"--volume=v,kind=empty,uid=70000"}, []string{"--mount=volume=v,target=/v"}, "70000 is none of the pod's own users"},
		{nil, []string{"--user=70000"}, "70000 is none of the pod's own users"},
		{nil, []string{"--supplementary-gids=65536"}, "65536 is none of the pod's own users"},
		{nil, []string{"--oom-score-adj=-1"}, "OOM score of -1"},
	} {
		r := tiny(t, h, append([]string{"--private-users"}, c.pod...), c.app, "echo started")
		if r.Status != 254 || r.Stdout != "" || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%q %q: status %d, %q\n%s", c.pod, c.app, r.Status, r.Stdout, r.Stderr)
		}
	}
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("left: %q", left)
	}
}

// TestPrivateUsersNetworks: a network of the pod's own is the pod's, a port leads
// into it; the host's is not.
func TestPrivateUsersNetworks(t *testing.T) {
	h := host(t)
	id := tinyID(t, h)
	own := []string{"--caps-retain=CAP_NET_ADMIN,CAP_NET_RAW,CAP_NET_BIND_SERVICE"}
	script := "ip link add d0 type dummy 2>/dev/null && echo added; ip addr add 10.99.0.1/32 dev lo && echo set; grep -c eth0 /proc/net/dev"
	for net, want := range map[string]string{"none": "set", "default": "set", "host": ""} {
		args := append(append([]string{"run", "--private-users", "--net=" + net, id}, own...), sh(script)...)
		if r := h.Rkt(args...); strings.Contains(r.Stdout, "set") != (want != "") {
			t.Errorf("--net=%s: status %d, %q\n%s", net, r.Status, r.Stdout, r.Stderr)
		}
	}
	p := h.Start("run", "--private-users", "--port=web:tcp:80:18081", id, "--exec=/bin/sh", "--", "-c", "echo hello > /tmp/x; echo ready; exec busybox httpd -f -p 80 -h /tmp")
	p.Expect("ready")
	if r := h.Shell("for i in 1 2 3 4 5 6 7 8 9 10; do busybox wget -q -O - http://127.0.0.1:18081/x && exit; sleep 0.2; done"); r.Out() != "hello" {
		t.Errorf("through the port: %q\n%s", r.Stdout, r.Stderr)
	}
	p.Signal(syscall.SIGTERM)
	p.Wait()
}

// TestPrivateUsersPrepared: the range is found when the pod runs, not before; the
// manifest has what was asked for.
func TestPrivateUsersPrepared(t *testing.T) {
	h := host(t)
	uuid := h.Must("prepare", "--quiet", "--private-users", tinyID(t, h), "--exec=/bin/sh", "--", "-c", "cat /proc/self/uid_map").Out()
	if m := h.Must("cat-manifest", uuid).Stdout; !strings.Contains(m, `"coreos.com/rkt/private-users"`) || !strings.Contains(m, `"pick"`) {
		t.Errorf("manifest: %s", m)
	}
	if s := h.Must("status", uuid).Stdout; strings.Contains(s, "private-users") {
		t.Errorf("a prepared pod has a range: %s", s)
	}
	r := h.Must("run-prepared", "--net=none", uuid)
	first, count := usersOf(t, h, uuid)
	if f := strings.Fields(r.Stdout); len(f) != 3 || f[0] != "0" || f[1] != strconv.Itoa(first) || f[2] != strconv.Itoa(count) {
		t.Errorf("%q, status says %d:%d", r.Stdout, first, count)
	}
}

// TestPrivateUsersBesideNspawn: a range that systemd-nspawn has picked is not to be
// had, and the other way round; in a /run of their own.
func TestPrivateUsersBesideNspawn(t *testing.T) {
	h := host(t)
	for _, program := range []string{"systemd-nspawn", "unshare", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	rkt := install.Bin("rkt") + " --dir=" + h.Dir + " --insecure-options=image run --net=none --private-users"
	r := h.Shell(`
mkdir -p ` + root + `/bin ` + root + `/usr ` + root + `/etc && cp "$(command -v busybox)" ` + root + `/bin/busybox && ln -s busybox ` + root + `/bin/sleep && : > ` + root + `/etc/os-release
cat > ` + root + `.sh <<'END'
mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/systemd || exit 1
systemd-nspawn -q --register=no --keep-unit -D ` + root + ` --private-users=pick --private-users-ownership=map --as-pid2 /bin/sleep 1000 < /dev/null > /dev/null 2>&1 &
i=0
while test -z "$slot" && test $i -lt 600; do slot=$(ls /run/systemd/nspawn-uid 2>/dev/null | head -n 1); i=$((i+1)); sleep 0.05; done
test -n "$slot" || { echo "nspawn has no range"; exit 0; }
` + rkt + `=$slot ` + tinyID(t, h) + ` --exec=/bin/true 2>&1
` + rkt + ` ` + tinyID(t, h) + ` --exec=/bin/sh -- -c 'cat /proc/self/uid_map'
ls /run/systemd/nspawn-uid | wc -l
kill $!
END
unshare -m --propagation unchanged --kill-child -p -f --mount-proc sh ` + root + `.sh`)
	if strings.Contains(r.Stdout, "nspawn has no range") {
		t.Skip("needs a systemd-nspawn that runs here")
	}
	lines := strings.Split(r.Out(), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "a container of systemd-nspawn has them") || !strings.HasSuffix(lines[1], " 65536") || lines[2] != "2" {
		t.Errorf("status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}
