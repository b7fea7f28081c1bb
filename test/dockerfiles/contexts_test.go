// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/sshagent"
)

// TestRootlessContext: of a repository an ordinary user gets what root gets, though
// their cache is where git's user does not come.
func TestRootlessContext(t *testing.T) {
	dir := place(t)
	repo := filepath.Join(dir, "repo")
	script := `mkdir "$1"; cd "$1"; printf 'FROM scratch\nCOPY f /f\nADD file://%s#:d /d/\n' "$1" >Dockerfile; echo f >f; mkdir d; echo g >d/g
export HOME=/nonexistent; git init -q .; git config user.email a@example.com; git config user.name A; git add -A; git commit -qm one
chmod -R a+rX .; chown -R "$2:$2" .`
	ours := root(t, dir)
	git := func(owner string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", "rm -rf \"$1\"\n"+script, "sh", repo, owner).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	build := []string{"build", "-q", "--output=oci:out:x", "file://" + repo}
	git("65534")
	want := ours.must("acbuild", build...)
	for name, c := range map[string]struct{ ids, owner string }{"ids": {subIDs, "665533"}, "one": {"\n", "54321"}} {
		t.Run(name, func(t *testing.T) {
			git(c.owner) // git wants what it reads to be its user's
			m := user(t, dir, name, c.ids)
			if err := os.Chmod(m.home, 0o700); err != nil {
				t.Fatal(err)
			}
			if got := m.must("acbuild", build...); got != want {
				t.Errorf("the user's image is %s, root's %s", got, want)
			}
		})
	}
}

// TestRootlessSSH: an ordinary user's step asks the user's own agent, which answers
// nobody else.
func TestRootlessSSH(t *testing.T) {
	for name, ids := range map[string]string{"ids": subIDs, "one": "\n"} {
		t.Run(name, func(t *testing.T) {
			m := user(t, place(t), "user", ids)
			if err := images.Program(filepath.Join(m.home, "context/host"), "ssh-add"); err != nil {
				t.Skip(err)
			}
			base := map[string]string{"ids": images.Tiny, "one": images.Plain}[name]
			text := "FROM base\nCOPY host /\nRUN --mount=type=ssh,required=true ssh-add -l > /list\nFROM scratch\nCOPY --from=0 /list /\n"
			if err := os.WriteFile(filepath.Join(m.home, "context/Dockerfile"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			key := filepath.Join(m.home, "key")
			if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			m.give(m.home)
			socket := filepath.Join(m.home, "agent")
			sshagent.Start(t, socket, key, "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
			build := []string{"build", "-q", "--insecure", "--network=none", "--build-context=base=oci:" + m.layout + ":" + base, "--output=aci:list.aci", "--overwrite", "context"}
			if _, errs, status := m.run("acbuild", build...); status != 1 || !strings.Contains(errs, `SSH agent "default" is required`) {
				t.Errorf("without an agent: exit status %d\n%s", status, errs)
			}
			m.env = []string{"SSH_AUTH_SOCK=" + socket}
			for what, flag := range map[string]string{"an agent": "--ssh=default", "a key": "--ssh=default=" + key} {
				m.must("acbuild", append(build, flag, "--no-cache")...)
				if out, err := exec.Command("tar", "-xOf", m.home+"/list.aci", "rootfs/list").Output(); err != nil || !strings.Contains(string(out), "(ED25519)") {
					t.Errorf("of %s: %q, %v", what, out, err)
				}
			}
		})
	}
}
