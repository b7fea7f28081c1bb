// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is the doctor, built for the tests.
var program string

func TestMain(m *testing.M) {
	if text := os.Getenv("DOCTOR_BLIND"); text != "" {
		log.Fatal(blind(strings.Fields(text)))
	}
	if path := os.Getenv("DOCTOR_LIMIT"); path != "" {
		err := os.WriteFile(path, []byte("0"), 0)
		if err == nil {
			err = syscall.Exec(os.Args[1], os.Args[1:], nil)
		}
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rkt-doctor-")
	if err != nil {
		log.Fatal(err)
	}
	_ = os.Chmod(dir, 0o755)
	program = filepath.Join(dir, "doctor")
	cmd := exec.Command("go", "build", "-o", program, "github.com/rkt/rkt/cmd/doctor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		log.Fatalf("cannot build the doctor: %v\n%s", err, out)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// blind executes the rest of the command line on a kernel that lacks calls.
func blind(numbers []string) error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for _, text := range numbers {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(n)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const allThreads = 1
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, allThreads, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// examined runs the doctor as cmd says and returns its findings.
func examined(t *testing.T, cmd *exec.Cmd) map[string]Finding {
	t.Helper()
	out, err := cmd.Output()
	var list []Finding
	if json.Unmarshal(out, &list) != nil || len(list) < 20 {
		t.Fatalf("%q, %v", out, err)
	}
	return byID(t, list)
}

func byID(t *testing.T, list []Finding) map[string]Finding {
	t.Helper()
	m := map[string]Finding{}
	for _, f := range list {
		if _, twice := m[f.ID]; twice && f.ID != "directory.config" {
			t.Errorf("%s twice", f.ID)
		}
		if f.Detail == "" || f.State != OK && f.State != Missing && f.State != Unknown {
			t.Errorf("%+v", f)
		}
		m[f.ID] = f
	}
	return m
}

func wants(t *testing.T, got map[string]Finding, state State, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if got[id].State != state {
			t.Errorf("%s: %+v, want %s", id, got[id], state)
		}
	}
}

// Without a call each check that needs it fails, and no other does.
func TestBlind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	sees := examined(t, exec.Command(program, "examine", "json", dir))
	wants(t, sees, OK, "kernel.calls", "namespaces", "seccomp", "overlay", "veth", "nftables")
	for _, c := range []struct {
		calls []int
		lost  []string
	}{
		{[]int{unix.SYS_OPENAT2}, []string{"kernel.calls"}},
		{[]int{unix.SYS_CLOSE_RANGE}, []string{"kernel.calls"}},
		{[]int{unix.SYS_MOUNT_SETATTR}, []string{"kernel.calls", "idmap"}},
		{[]int{unix.SYS_FSOPEN}, []string{"kernel.calls", "overlay", "overlay.user"}},
		{[]int{unix.SYS_OPEN_TREE}, []string{"kernel.calls", "idmap"}},
		{[]int{unix.SYS_SECCOMP}, []string{"seccomp"}},
		{[]int{unix.SYS_LANDLOCK_CREATE_RULESET}, []string{"landlock"}},
		{[]int{unix.SYS_SENDTO}, []string{"veth", "nftables"}},
	} {
		words := []string{}
		for _, n := range c.calls {
			words = append(words, strconv.Itoa(n))
		}
		cmd := exec.Command(os.Args[0], program, "examine", "json", dir)
		cmd.Env = append(os.Environ(), "DOCTOR_BLIND="+strings.Join(words, " "))
		got := examined(t, cmd)
		for id, f := range got {
			want := sees[id].State
			if slices.Contains(c.lost, id) {
				want = Missing
			}
			if f.State != want && id != "networks" { // that is another program's, which needs them, too
				t.Errorf("without %v: %+v, want %s", c.calls, f, want)
			}
		}
	}
}

// Namespaces that the machine does not give are missed.
func TestWithoutNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for limit, lost := range map[string][]string{
		"user": {"namespaces.user", "overlay.user", "idmap"}, "mnt": {"namespaces", "overlay", "overlay.user"}, "net": {"namespaces", "veth", "nftables", "bridge"}, "pid": {"namespaces"},
	} {
		cmd := exec.Command(os.Args[0], program, "examine", "json", dir)
		cmd.Env = []string{"DOCTOR_LIMIT=/proc/sys/user/max_" + limit + "_namespaces"}
		ids := []syscall.SysProcIDMap{{Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		wants(t, examined(t, cmd), Missing, lost...)
	}
}

// An attempt that is not allowed fails; so is one that nobody knows.
func TestTryFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give it up")
	}
	for _, args := range [][]string{{"veth"}, {"nftables"}, {"bridge"}, {"overlay", "/proc"}, {"idmap", "/proc"}, {"kvm", "/dev/null"}, {"kvm", "/nothing"}, {"nobody knows"}} {
		cmd := exec.Command(program, append([]string{"try"}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// TestPatience: a guest that hangs, or any other attempt, is given up.
func TestPatience(t *testing.T) {
	hangs := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(hangs, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := &Machine{Exe: hangs, Patience: 100 * time.Millisecond}
	if _, err := m.try("kvm", 0); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v", err)
	}
}

// What is read of files, found or not.
func TestFiles(t *testing.T) {
	root, data := t.TempDir(), t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	m := &Machine{Root: root, DataDir: data, Exe: root + "/libexec/doctor", Dev: root, UID: os.Geteuid(), Path: root + "/bin"}
	files := func() map[string]Finding {
		return byID(t, slices.Concat(m.places(), m.people(), m.helpers(), m.programs(), m.virtual(), m.cgroups()))
	}
	got := files()
	wants(t, got, Missing, "group.rkt", "group.rkt-admin", "user.rkt-fetch", "subuid", "subgid", "libexec.fetch", "libexec.network", "libexec.stage1-native",
		"networks", "program.igzip", "program.pasta", "program.cni", "kvm", "cgroup")
	wants(t, got, OK, "directory.data")
	if l := Lacking([]Finding{got["libexec.stage1-native"], got["group.rkt"]}); len(l) != 1 || l[0] != "libexec.stage1-native" {
		t.Errorf("lacking %v", l)
	}

	write("etc/group", "root:x:0:\nrkt:x:7:\nrkt-admin:x:8:me\n", 0o644)
	write("etc/passwd", fmt.Sprintf("rkt-fetch:x:60578:60578::/:/bin/false\nme:x:%d:1::/:\n", os.Geteuid()), 0o644)
	write("etc/subuid", "me:100000:65536\n", 0o644)
	write("etc/subgid", fmt.Sprintf("%d:100000:65536\n", os.Geteuid()), 0o644)
	write("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", 0o644)
	for _, p := range []string{"libexec/fetch", "libexec/stage1-native", "libexec/stage1-native.json", "bin/igzip", "bin/pasta", "opt/cni/bin/bridge"} {
		write(p, "", 0o755)
	}
	write("libexec/network", "#!/bin/sh\necho '{\"networks\":[{\"name\":\"default\"}]}'\n", 0o755)
	got = files()
	wants(t, got, OK, "group.rkt", "group.rkt-admin", "user.rkt-fetch", "subuid", "subgid", "libexec.fetch", "libexec.network", "libexec.stage1-native",
		"networks", "program.igzip", "program.pasta", "program.cni", "cgroup")
	if got["networks"].Detail != "default" || got["group.rkt"].Detail != "number 7" || got["subuid"].Detail != "65536 from 100000" {
		t.Errorf("%+v", got)
	}

	write("libexec/network", "#!/bin/sh\necho broken >&2; exit 1\n", 0o755)
	if err := os.Chmod(root+"/libexec/fetch", 0o644); err != nil {
		t.Fatal(err)
	}
	write("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n31 1 0:27 / /sys/fs/cgroup/cpu rw - cgroup none rw,cpu\n", 0o644)
	m.Config = []string{t.TempDir()}
	if err := os.Chmod(m.Config[0], 0o777); err != nil {
		t.Fatal(err)
	}
	m.DataDir = write("file", "", 0o644)
	got = files()
	wants(t, got, Missing, "networks", "libexec.fetch", "directory.config", "directory.data")
	if !strings.HasPrefix(got["cgroup"].Detail, "hybrid") || got["networks"].Detail != "broken" {
		t.Errorf("%+v", got)
	}
	if err := os.Chmod(data, 0o777); err != nil {
		t.Fatal(err)
	}
	m.DataDir = data
	wants(t, files(), Missing, "directory.data")
	m.UID, m.DataDir = 12345, "/proc/1" // nobody has that many free bytes there
	wants(t, byID(t, m.places()), Missing, "directory.space")
	wants(t, byID(t, m.overlay()), Missing, "overlay")
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := Print(&b, []Finding{{"a", OK, true, "there", ""}, {"b", Missing, true, "not\x1b[1m there", "get it"}, {"c", Missing, false, "no", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "CHECK\tSTATE\tFOUND\na\tok\tthere\nb\tMISSING\tnot\\x1b[1m there\nc\tmissing\tno\n\nWhat to do:\nb: get it\n\nPods cannot run: see what is in capitals.\n"
	if b.String() != want {
		t.Errorf("%q\nwant %q", b.String(), want)
	}
}
