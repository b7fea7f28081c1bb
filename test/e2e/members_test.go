// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rkt/rkt/test/rkt"
)

// A group, a member of it and a stranger: ids that nobody has.
const (
	rktGroup = 47110
	member   = 47001
	stranger = 47003
)

// shareWith sets a data directory up for a group, as dist/setup-data-dir.sh does.
func shareWith(t *testing.T, h *rkt.Host) {
	t.Helper()
	top := filepath.Dir(h.Dir)
	if err := os.Mkdir(filepath.Join(top, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{top, install.Dir} { // made for root alone
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("../../dist/setup-data-dir.sh")
	cmd.Env = append(os.Environ(), "RKT_ROOT="+top, fmt.Sprint("RKT_GROUP=", rktGroup), fmt.Sprint("RKT_ADMIN_GROUP=", rktGroup))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(top, "var/lib/rkt"), h.Dir); err != nil {
		t.Fatal(err)
	}
}

// as runs rkt as another user who is in a group.
func as(t *testing.T, h *rkt.Host, uid, gid uint32, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.Command(install.Bin("rkt"), append(append([]string{"--dir=" + h.Dir}, h.Flags...), args...)...)
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{gid}}}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// TestMembersReadPods: members of the group see root's pods, and nothing of what
// is in them; others see nothing.
func TestMembersReadPods(t *testing.T) {
	h := host(t)
	shareWith(t, h)
	p, uuid := startTiny(t, h, []string{"--volume=scratch,kind=empty"},
		[]string{"--stdout=log", "--environment=WORD=open", "--mount=volume=scratch,target=/scratch"},
		`cp /bin/sh /planted; chmod 4755 /planted; echo x >/scratch/f; echo a line; echo ready; exec sleep 100`)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "--full"}, uuid},
		{[]string{"list", "--json"}, `"state":"running"`},
		{[]string{"status", uuid}, "state=running"},
		{[]string{"status", "--wait-ready=10s", uuid[:8]}, "state=running"},
		{[]string{"cat-manifest", uuid}, `"open"`},
	} {
		if out, err := as(t, h, member, rktGroup, c.args...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("a member's %q: %v\n%s", c.args, err, out)
		}
		if out, err := as(t, h, stranger, stranger, c.args...); err == nil || strings.Contains(out, c.want) {
			t.Errorf("a stranger's %q: %v\n%s", c.args, err, out)
		}
	}
	for _, args := range [][]string{{"logs", uuid}, {"export", uuid, "/dev/null"}, {"enter", uuid, "/bin/true"}, {"stop", uuid}, {"rm", uuid}} {
		if out, err := as(t, h, member, rktGroup, args...); err == nil || strings.Contains(out, "a line") {
			t.Errorf("a member's %q: %v\n%s", args, err, out)
		}
	}
	dir := filepath.Join(h.Dir, "pods/run", uuid)
	// They are there, and a member's shell cannot get to them.
	for _, path := range []string{"private/upper-*/planted", "private/volumes/scratch/f", "private/log/*", "private/work-*"} {
		found, err := filepath.Glob(filepath.Join(dir, path))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", path, found, err)
		}
		look := exec.Command("/bin/sh", "-c", `ls -ld "$0"`, found[0])
		look.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: member, Gid: member, Groups: []uint32{rktGroup}}}
		if out, err := look.CombinedOutput(); err == nil {
			t.Errorf("a member reaches %s", out)
		}
	}
	// Whoever could open this directory could keep every pod from starting.
	hold := exec.Command("flock", "-x", "-n", filepath.Join(h.Dir, "pods/embryo"), "true")
	hold.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: member, Gid: member, Groups: []uint32{rktGroup}}}
	if out, err := hold.CombinedOutput(); err == nil {
		t.Errorf("a member can lock pods/embryo: %s", out)
	}
	if r := h.Rkt("logs", uuid); !strings.Contains(r.Stdout, "a line\n") {
		t.Errorf("logs: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
	if out, err := as(t, h, member, rktGroup, "status", uuid); err != nil || !strings.Contains(out, "state=exited") {
		t.Errorf("when it has ended: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"gc", "--grace-period=0s"}, {"rm", uuid}} {
		if out, err := as(t, h, member, rktGroup, args...); err == nil {
			t.Errorf("a member's %q: %s", args, out)
		}
	}
	h.Must("rm", uuid)
}

// TestOlderPod: a pod that an rkt without a private directory has prepared runs,
// is exported, and goes.
func TestOlderPod(t *testing.T) {
	h := host(t)
	uuid := h.Must(append([]string{"prepare", "--quiet", tinyID(t, h), "--stdout=log"}, sh("echo kept >/made; echo out")...)...).Out()
	dir := filepath.Join(h.Dir, "pods/prepared", uuid)
	entries, err := os.ReadDir(filepath.Join(dir, "private"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(dir, "private", e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "private")); err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(dir, "contract.json")
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	old := strings.ReplaceAll(string(text), "/private/", "/")
	if old == string(text) {
		t.Fatalf("the document has no private directory: %s", text)
	}
	if err := os.WriteFile(doc, []byte(old), 0o640); err != nil {
		t.Fatal(err)
	}
	if r := h.Must("run-prepared", "--net=host", uuid); r.Out() != "out" {
		t.Errorf("it printed %q", r.Out())
	}
	if r := h.Rkt("logs", uuid); r.Out() != "out" {
		t.Errorf("its log: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	aci := filepath.Join(t.TempDir(), "x.aci")
	h.Must("export", uuid, aci)
	if out, err := exec.Command("tar", "-xOf", aci, "rootfs/made").Output(); err != nil || string(out) != "kept\n" {
		t.Errorf("exported %q, %v", out, err)
	}
	h.Must("gc", "--grace-period=0s")
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("left: %q", pods)
	}
}
