// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/test/rkt"
)

// hostDevice is a device of this host's that no app may use by default, and that
// opening does nothing to.
func hostDevice(t *testing.T) (path string, st unix.Stat_t, node string) {
	t.Helper()
	for _, path := range []string{"/dev/cpu_dma_latency", "/dev/fuse", "/dev/hpet"} {
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
			return path, st, fmt.Sprintf("c %d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
	}
	t.Skip("needs a device node such as /dev/cpu_dma_latency")
	return
}

// hostDisk is a node of a disk that this host itself can open.
func hostDisk(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/dev/loop0", "/dev/vda"} {
		var st unix.Stat_t
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_ = unix.Close(fd)
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return fmt.Sprintf("b %d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
	}
	t.Skip("needs a block device")
	return ""
}

// opens tries, with mount's and mknod's help, to open what an app was not given.
func opens(node string) string {
	return "mkdir -p /m && mount -t tmpfs none /m && mknod /m/x " + node + " && (exec 3</m/x) && echo opened " + node + "; "
}

const maker = "--caps-retain=CAP_SYS_ADMIN,CAP_MKNOD,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_CHOWN"

// TestDevicePolicy: what an app was not given it cannot open, whatever it makes
// and mounts; what it was given it can.
func TestDevicePolicy(t *testing.T) {
	h := host(t)
	path, _, node := hostDevice(t)
	disk := hostDisk(t)
	ok := func(name, want string, podFlags, flags []string, script string) {
		t.Helper()
		r := tiny(t, h, podFlags, flags, script+"echo end")
		if r.Stdout != want+"end\n" {
			t.Errorf("%s: status %d, %q, want %q\n%s", name, r.Status, r.Stdout, want, r.Stderr)
		}
		if want == "" && !strings.Contains(r.Stderr, "Operation not permitted") {
			t.Errorf("%s: it was not the kernel that denied it\n%s", name, r.Stderr)
		}
	}
	ok("a disk", "", nil, []string{maker}, opens(disk))
	ok("a character device", "", nil, []string{maker}, opens(node))
	ok("a usual one", "opened c 1 3\n", nil, []string{maker}, opens("c 1 3"))
	ok("everything, by rule", "opened "+disk+"\n", nil, []string{maker, "--device-cgroup-rule=a *:* rwm"}, opens(disk))
	major, _, _ := strings.Cut(node[2:], " ")
	rule := "--device-cgroup-rule=c " + major + ":* rm"
	ok("a rule", "opened "+node+"\n", nil, []string{maker, rule}, opens(node))
	ok("a rule, and what it does not allow", "", nil, []string{maker, rule}, opens(disk))
	// Without CAP_SYS_ADMIN, too.
	ok("a node in /dev, by rule", "opened\n", nil, []string{rule}, "mknod /dev/x "+node+" && (exec 3</dev/x) && echo opened; ")
	r := tiny(t, h, nil, nil, "mknod /dev/x "+node+" && (exec 3</dev/x) && echo opened; echo end")
	if r.Stdout != "end\n" || !strings.Contains(r.Stderr, "Permission denied") {
		t.Errorf("a node in /dev: %q\n%s", r.Stdout, r.Stderr)
	}
	ok("given", "opened\n", nil, []string{"--device=" + path}, "(exec 3<"+path+") && echo opened; ")
	ok("given, and another", "", nil, []string{maker, "--device=" + path}, opens(disk))
	ok("given elsewhere", "opened\n", nil, []string{"--device=" + path + ":/dev/some/where"}, "(exec 3</dev/some/where) && echo opened; test -e "+path+" && echo there; ")
	ok("given for reading", "opened\n", nil, []string{"--device=" + path + ":r"}, "(exec 3<"+path+") && echo opened; (exec 3>"+path+") && echo wrote; ")
	ok("given for reading, written", "", nil, []string{"--device=" + path + ":/dev/x:r"}, "(exec 3>/dev/x) && echo wrote; ")
	ok("a read-only volume", "opened\n", []string{"--volume=v,kind=host,source=" + path + ",readOnly=true"}, []string{"--mount=volume=v,target=/dev/x"},
		"(exec 3</dev/x) && echo opened; (exec 3>/dev/x) && echo wrote; ")
	ok("a volume", "wrote\n", []string{"--volume=v,kind=host,source=" + path}, []string{"--mount=volume=v,target=/dev/x"}, "(exec 3>/dev/x) && echo wrote; ")
	// The program of version 2, or the files of version 1, are out of the app's
	// reach.
	ok("undone", "", nil, []string{maker}, "mkdir /g && mount -t cgroup -o "+devcgroup.Controller+" none /g 2>/dev/null && echo a >/g/devices.allow; "+opens(disk))
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("after the pods ended: %q", left)
	}
}

// TestDeviceNode: a device's node is the host's, and stays as it is.
func TestDeviceNode(t *testing.T) {
	h := host(t)
	path, before, _ := hostDevice(t)
	r := tiny(t, h, nil, []string{"--device=" + path + ":/dev/x"}, "stat -c '%a %u %g %t %T' /dev/x; chmod 777 /dev/x; chown 5 /dev/x; rm /dev/x; touch /dev/x; stat -c '%a %u %g %t %T' /dev/x")
	want := fmt.Sprintf("%o %d %d %x %x\n", before.Mode&0o7777, before.Uid, before.Gid, unix.Major(before.Rdev), unix.Minor(before.Rdev))
	if r.Stdout != want+want {
		t.Errorf("got %q, want %q twice\n%s", r.Stdout, want, r.Stderr)
	}
	var after unix.Stat_t
	if err := unix.Stat(path, &after); err != nil || after.Mode != before.Mode || after.Uid != before.Uid || after.Mtim != before.Mtim {
		t.Errorf("the app changed the host's %s: %v", path, err)
	}
	// Other users than its own cannot open it, though the app was given it.
	if before.Mode&0o006 == 0 {
		if r := tiny(t, h, nil, []string{"--device=" + path + ":/dev/x", "--user=1000"}, "(exec 3</dev/x) || echo denied"); r.Out() != "denied" {
			t.Errorf("as another user: %q\n%s", r.Stdout, r.Stderr)
		}
	}
}

// TestDevicesOfApps: each app of a pod has its own, and what enters it has those.
func TestDevicesOfApps(t *testing.T) {
	h := host(t)
	path, _, node := hostDevice(t)
	id := tinyID(t, h)
	args := []string{"run", "--net=host", id, "--name=a", "--device=" + path, maker}
	args = append(append(args, sh("(exec 3<"+path+") && echo a has it; sleep 1000")...), "---", id, "--name=b", maker)
	file := t.TempDir() + "/uuid"
	args = append(args[:1:1], append([]string{"--uuid-file-save=" + file}, args[1:]...)...)
	p := h.Start(append(args, sh(opens(node)+"echo b is done; sleep 1000")...)...)
	p.Expect("a has it")
	p.Expect("b is done")
	uuid := readUUID(t, file)
	if strings.Contains(p.Output(), "opened") {
		t.Errorf("the other app opened it:\n%s", p.Output())
	}
	if r := h.Rkt("enter", "--app=a", uuid, "/bin/sh", "-c", "(exec 3<"+path+") && echo opened"); r.Out() != "opened" {
		t.Errorf("what enters: %q\n%s", r.Stdout, r.Stderr)
	}
	if r := h.Rkt("enter", "--app=b", uuid, "/bin/sh", "-c", "umount /m; rm -r /m; "+opens(node)); strings.Contains(r.Stdout, "opened") {
		t.Errorf("what enters the other app: %q\n%s", r.Stdout, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
	if left := rkt.Leftovers(h.Dir, h.Pods()); left != nil {
		t.Errorf("after the pod ended: %q", left)
	}
}

// TestDevicesRefused: what is not there or no device is refused by its name,
// before anything starts.
func TestDevicesRefused(t *testing.T) {
	h := host(t)
	id := tinyID(t, h)
	for flag, want := range map[string]string{
		"--device=/dev/nosuch":             `device "/dev/nosuch" does not exist on this host`,
		"--device=/etc/passwd":             `"/etc/passwd" is neither a device node nor a directory of them`,
		"--device=/etc":                    `directory "/etc" has no device nodes`,
		"--device=/dev/null:/proc/x":       `cannot put device at /proc/x: this place is the pod's own`,
		"--device=/dev/null:/dev":          `cannot put device at /dev: this place is the pod's own`,
		"--device=/dev/null:x":             `access "x" of a device is not made of r, w and m`,
		"--device=null":                    `device "null" is neither an absolute path nor of the form vendor.com/class=name`,
		"--device-cgroup-rule=c 1:3":       `device rule "c 1:3" is not of the form`,
		"--device-cgroup-rule=c 1:3 rwx":   `access "rwx" is not made of r, w and m`,
		"--device-cgroup-rule=c 5000:1 rw": "", // no device has it: harmless
	} {
		r := h.Rkt("run", "--net=host", id, flag, "--exec=/bin/true")
		if want == "" && r.Status != 0 || want != "" && (r.Status != 254 || !strings.Contains(r.Stderr, want)) {
			t.Errorf("%s: status %d\n%swant %s", flag, r.Status, r.Stderr, want)
		}
	}
	if _, err := os.Stat("/dev/snd"); err == nil {
		if r := tiny(t, h, nil, []string{"--device=/dev/snd"}, "ls /dev/snd"); r.Out() == "" {
			t.Errorf("a directory: %q\n%s", r.Stdout, r.Stderr)
		}
	}
	if r := tiny(t, h, nil, []string{"--device=/dev/net:/dev/n"}, "test -c /dev/n/tun && echo there"); r.Out() != "there" {
		if _, err := os.Stat("/dev/net/tun"); err == nil {
			t.Errorf("a directory: %q\n%s", r.Stdout, r.Stderr)
		}
	}
}

// TestCDI: what a specification says a device needs, an app that asks for it has.
func TestCDI(t *testing.T) {
	h := host(t)
	path, st, _ := hostDevice(t)
	dir := shared(t)
	write(t, dir+"/library", "of the vendor\n")
	if err := os.Chmod(dir+"/library", 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, h.LocalConfig()+"/paths.d/cdi.json", `{"rktKind": "paths", "rktVersion": "v1", "cdi-specs": ["`+dir+`/etc", "`+dir+`/run"]}`)
	write(t, dir+"/etc/vendor.json", `{"cdiVersion": "0.7.0", "kind": "vendor.com/thing",
		"containerEdits": {"env": ["VENDOR=1", "WHO=all"], "additionalGids": [4711],
			"mounts": [{"hostPath": "`+dir+`/library", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid", "nodev", "bind", "rprivate"]}]},
		"devices": [{"name": "a", "containerEdits": {"env": ["WHO=a"], "deviceNodes": [{"path": "/dev/thing", "hostPath": "`+path+`"}]}},
			{"name": "b", "containerEdits": {"deviceNodes": [{"path": "/dev/made", "hostPath": "`+path+`", "permissions": "r", "fileMode": 384, "uid": 1000, "gid": 12}]}},
			{"name": "zero", "containerEdits": {"deviceNodes": [{"path": "/dev/nulls", "type": "c", "major": 1, "minor": 5, "fileMode": 438}]}},
			{"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/usr/bin/hook"}]}}]}`)
	write(t, dir+"/run/other.yaml", "cdiVersion: 0.5.0\nkind: vendor.com/thing\ndevices:\n- name: y\n  containerEdits:\n    env: [FROM=yaml]\n")
	script := `echo $VENDOR $WHO $FROM; cat /usr/lib/vendor; grep ^Groups /proc/self/status; (exec 3</dev/thing) && echo opened; for n in /dev/thing /dev/made /dev/nulls; do test -e $n && stat -c '%n %a %u %g %t:%T' $n; done`
	number := fmt.Sprintf("%x:%x", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	r := tiny(t, h, nil, []string{"--device=vendor.com/thing=a", "--device=vendor.com/thing=b", "--device=vendor.com/thing=zero", "--device=vendor.com/thing=y"}, script)
	want := fmt.Sprintf("1 a yaml\nof the vendor\nGroups:\t4711 \nopened\n/dev/thing %o %d %d %s\n/dev/made 600 1000 12 %s\n/dev/nulls 666 0 0 1:5\n", st.Mode&0o777, st.Uid, st.Gid, number, number)
	if strings.ReplaceAll(r.Stdout, " 0 4711", " 4711") != want {
		t.Errorf("got %q\nwant %q\n%s", r.Stdout, want, r.Stderr)
	}
	// The node's owner may open it, and only read.
	r = tiny(t, h, nil, []string{"--device=vendor.com/thing=b", "--user=1000"}, "(exec 3</dev/made) && echo read; (exec 3>/dev/made) && echo wrote; head -c1 /usr/lib/vendor; (exec 3>/usr/lib/vendor) && echo wrote the library; echo")
	if r.Stdout != "read\no\n" || !strings.Contains(r.Stderr, "/dev/made: Operation not permitted") {
		t.Errorf("the node's owner: %q\n%s", r.Stdout, r.Stderr)
	}
	for name, want := range map[string]string{
		"vendor.com/thing=hooked": "it has a hook (createContainer: /usr/bin/hook)",
		"vendor.com/thing=nosuch": `CDI device "vendor.com/thing=nosuch" is in no specification`,
	} {
		if r := tiny(t, h, nil, []string{"--device=" + name}, "true"); r.Status != 254 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d\n%s", name, r.Status, r.Stderr)
		}
	}
	// What was prepared is what is run; the manifest says what was asked for.
	uuid := h.Must("prepare", tinyID(t, h), "--device=vendor.com/thing=zero", "--exec=/bin/sh", "--", "-c", "head -c1 /dev/nulls | od -An -tx1").Out()
	if r := h.Rkt("run-prepared", "--net=host", uuid); r.Out() != "00" {
		t.Errorf("prepared: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if m := h.Must("cat-manifest", uuid).Stdout; !strings.Contains(m, "vendor.com/thing=zero") {
		t.Errorf("manifest %s", m)
	}
}
