// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
