// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"https://example.com/a.git": "https://example.com/a.git||", "https://example.com/a.git#v1": "https://example.com/a.git|v1|",
		"https://example.com/a.git#v1:docs/x": "https://example.com/a.git|v1|docs/x", "git://example.com/a#:sub": "git://example.com/a||sub",
		"file:///srv/a.git": "file:///srv/a.git||", "https://example.com/a.tar": "no", "./a.git": "no", "a": "no",
		"git@example.com:a.git": "error", "ssh://example.com/a": "error", "https://u:p@example.com/a.git": "error",
		"https://example.com/a.git#--upload-pack=x": "error", "https://example.com/a.git#a b": "error",
	} {
		a, is, err := Parse(text)
		got := a.URL + "|" + a.Ref + "|" + a.Subdir
		if !is {
			got = "no"
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestClone: of a repository that would like to run programs there are its files.
func TestClone(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	repo, err := os.MkdirTemp("", "rkt-git-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(repo)
	script := `cd "$1"; chmod 755 .; export HOME=/nonexistent
git init -q -b main .; git config user.email a@example.com; git config user.name A
mkdir sub; echo one >file; echo in >sub/f; ln -s /etc sub/link
printf '* filter=evil\n' >.gitattributes; printf '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch /tmp/pwned"\n' >.gitmodules
git add -A; git commit -qm one; git tag v1; echo two >file; git commit -qam two; git branch other v1; chmod -R a+rX .`
	if out, err := exec.Command("sh", "-ec", script, "sh", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if os.Geteuid() == 0 { // git wants what it reads to be its user's
		if out, err := exec.Command("chown", "-R", "65534:65534", repo).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for ref, want := range map[string]string{"": "two", "main": "two", "v1": "one", "other": "one"} {
		dir := hidden(t)
		commit, err := Clone(t.Context(), Address{URL: "file://" + repo, Ref: ref}, dir)
		if err != nil {
			t.Errorf("%q: %v", ref, err)
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || strings.TrimSpace(string(b)) != want || len(commit) != 40 {
			t.Errorf("%q: %q, commit %q, %v", ref, b, commit, err)
		}
	}
	if _, err := Clone(t.Context(), Address{URL: "file://" + repo, Ref: "nope"}, hidden(t)); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("of no branch: %v", err)
	}
}

// hidden is an empty directory that nobody but its owner gets to.
func hidden(t *testing.T) string {
	t.Helper()
	outer := filepath.Join(t.TempDir(), "private")
	dir := filepath.Join(outer, "dir")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"https://example.com/a.git#v1:x", "git@x:y", "file:///x#:", "#", ":"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if a, is, err := Parse(text); is && err == nil && (strings.HasPrefix(a.Ref, "-") || strings.HasPrefix(a.URL, "-")) {
			t.Errorf("%q: git would take it for an option", text)
		}
	})
}
