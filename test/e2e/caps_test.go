// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// capsScript prints the sets of a program that was executed, and whether no new
// privileges are allowed.
const capsScript = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status"

// TestAmbientCapabilities: an app that is not root's has what was retained for
// it by name, in all sets, and what was not asked for by name in none. crun, told
// the same sets, is the oracle.
func TestAmbientCapabilities(t *testing.T) {
	h := host(t)
	usual := []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}
	two := []string{"CAP_NET_BIND_SERVICE", "CAP_CHOWN"}
	for name, c := range map[string]struct {
		flags             []string
		uid               int
		bounding, ambient []string
		nnp               bool
	}{
		"root by default":        {nil, 0, usual, nil, false},
		"root":                   {[]string{"--caps-retain=CAP_NET_BIND_SERVICE,CAP_CHOWN"}, 0, two, nil, false},
		"user by default":        {[]string{"--user=1000"}, 1000, usual, nil, false},
		"user":                   {[]string{"--user=1000", "--caps-retain=CAP_NET_BIND_SERVICE,CAP_CHOWN"}, 1000, two, two, false},
		"user, no new privs":     {[]string{"--user=1000", "--caps-retain=CAP_NET_BIND_SERVICE,CAP_CHOWN", "--no-new-privs"}, 1000, two, two, true},
		"user, some removed":     {[]string{"--user=1000", "--caps-remove=CAP_MKNOD"}, 1000, without(usual, "CAP_MKNOD"), nil, false},
		"user, none":             {[]string{"--user=1000", "--caps-retain="}, 1000, nil, nil, false},
		"user with SYS_ADMIN":    {[]string{"--user=1000", "--caps-retain=CAP_SYS_ADMIN"}, 1000, []string{"CAP_SYS_ADMIN"}, []string{"CAP_SYS_ADMIN"}, false},
		"user without a filter":  {[]string{"--user=1000", "--caps-retain=CAP_CHOWN", "--seccomp=mode=retain,@appc.io/all"}, 1000, []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}, false},
		"user by name (alice)":   {[]string{"--user=alice", "--caps-retain=CAP_CHOWN"}, 1000, []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}, false},
		"root by name":           {[]string{"--user=root", "--caps-retain=CAP_CHOWN"}, 0, []string{"CAP_CHOWN"}, nil, false},
		"user, started by init":  {[]string{"--user=1000", "--caps-retain=CAP_CHOWN", "--oom-score-adj=1000"}, 1000, []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}, false},
		"user who traces others": {[]string{"--user=1000", "--caps-retain=CAP_SYS_PTRACE"}, 1000, []string{"CAP_SYS_PTRACE"}, []string{"CAP_SYS_PTRACE"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			held := c.ambient
			if c.uid == 0 {
				held = c.bounding
			}
			want := crunCaps(t, c.uid, c.bounding, held, c.ambient, c.nnp)
			if r := tiny(t, h, nil, c.flags, capsScript); r.Stdout != want {
				t.Errorf("the app has\n%s%scrun gives\n%s", r.Stdout, r.Stderr, want)
			}
			p, uuid := startTiny(t, h, nil, c.flags, "echo ready; exec sleep 1000")
			if r := h.Rkt("enter", uuid, "/bin/sh", "-c", capsScript); r.Stdout != want {
				t.Errorf("what enters has\n%s%scrun gives\n%s", r.Stdout, r.Stderr, want)
			}
			h.Must("stop", "--force", uuid)
			p.Wait()
		})
	}
	// It is good for something: a user's program binds a port that is root's.
	dir := shared(t)
	write(t, dir+"/f", "")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	volume := []string{"--volume=v,kind=host,source=" + dir}
	mount := "--mount=volume=v,target=/v"
	if r := tiny(t, h, volume, []string{mount, "--user=1000", "--caps-retain=CAP_CHOWN"}, "chown 7:7 /v/f && stat -c %u /v/f"); r.Out() != "7" {
		t.Errorf("with CAP_CHOWN: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := tiny(t, h, volume, []string{mount, "--user=1000"}, "chown 8:8 /v/f"); r.Status == 0 {
		t.Error("a user changes owners without CAP_CHOWN")
	}
}

func without(list []string, name string) (rest []string) {
	for _, s := range list {
		if s != name {
			rest = append(rest, s)
		}
	}
	return rest
}

// crunCaps is what capsScript prints under crun.
func crunCaps(t *testing.T, uid int, bounding, held, ambient []string, nnp bool) string {
	t.Helper()
	crun, err := exec.LookPath("crun")
	if err != nil {
		t.Skip("needs crun")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	dir := t.TempDir()
	for _, d := range []string{"rootfs/bin", "rootfs/proc", "rootfs/dev", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", busybox, dir+"/rootfs/bin/busybox").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": "rootfs"},
		"process": map[string]any{
			"user": map[string]any{"uid": uid, "gid": uid}, "cwd": "/", "noNewPrivileges": nnp,
			"args":         []string{"/bin/busybox", "sh", "-c", strings.Replace(capsScript, "grep", "exec /bin/busybox grep", 1)},
			"env":          []string{"PATH=/bin"},
			"capabilities": map[string]any{"bounding": bounding, "permitted": held, "effective": held, "inheritable": ambient, "ambient": ambient},
		},
		"mounts": []any{map[string]any{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":  map[string]any{"namespaces": []any{map[string]any{"type": "pid"}, map[string]any{"type": "mount"}}},
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/config.json", string(text))
	out, err := exec.Command(crun, "--root="+dir+"/state", "--cgroup-manager=disabled", "run", "--bundle="+dir, "rkt-caps-"+filepath.Base(t.TempDir())).CombinedOutput()
	if err != nil {
		t.Fatalf("crun: %v\n%s", err, out)
	}
	return string(out)
}
