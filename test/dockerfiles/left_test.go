// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dockerfiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKilledMount: a cache mount that was being filled when the build was killed is
// the next build's to fill, which finds all of the source in it.
func TestKilledMount(t *testing.T) {
	b := newBuilder(t, "parallel")
	b.context = t.TempDir()
	const text = `FROM tiny AS seed
RUN mkdir -p /seed/d && chown 3:4 /seed && chmod 2750 /seed && for i in 1 2 3 4 5 6 7 8 9; do echo $i > /seed/d/$i; done
FROM tiny
RUN --mount=type=cache,target=/c,from=seed,source=/seed stat -c '%a %u:%g' /c > /found && cat /c/d/* >> /found && rm /c/d/1
`
	if err := os.WriteFile(filepath.Join(b.context, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := b.whole()
	for _, point := range []string{"cache/mount-made", "dockerfile/copied", "cache/mount-filled", "cache/mount-before-place", "cache/mount-placed"} {
		t.Run(point, func(t *testing.T) {
			b := *b
			b.t, b.data = t, t.TempDir()
			if out, err := b.command("RKT_FAILPOINT=" + point).CombinedOutput(); err == nil {
				t.Fatalf("it was not killed:\n%s", out)
			}
			if got := b.whole(); got != want {
				t.Errorf("afterwards %s, want %s", got, want)
			}
		})
	}
}

// TestKilledContext: what was unpacked of a context, or cloned, goes with the next
// build, and was never in TMPDIR.
func TestKilledContext(t *testing.T) {
	b := newBuilder(t, "parallel")
	dir := t.TempDir()
	script := `cd "$1"; mkdir context; printf 'FROM scratch\nCOPY f /f\n' >context/Dockerfile; echo f >context/f; tar -C context -cf context.tar .
printf 'FROM scratch\nADD file://%s/context /all/\n' "$1" >Dockerfile
cd context; export HOME=/nonexistent; git init -q .; git config user.email a@example.com; git config user.name A; git add -A; git commit -qm one
chmod -R a+rX .; chown -R 65534:65534 .; chmod 755 ../.. ..`
	if out, err := exec.Command("sh", "-ec", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct{ word, stdin, point string }{
		{dir + "/context.tar", "", "cmd/context-made"},
		{"-", dir + "/context.tar", "cmd/context-read"},
		{"-", dir + "/context.tar", "cmd/context-made"},
		{"file://" + dir + "/context", "", "cmd/context-made"},
		{dir, "", "dockerfile/cloned"},
	} {
		t.Run(c.point+" "+filepath.Base(c.word), func(t *testing.T) {
			b := *b
			b.t, b.data, b.context = t, t.TempDir(), c.word
			temp := t.TempDir()
			cmd := b.command("RKT_FAILPOINT="+c.point, "TMPDIR="+temp)
			if c.stdin != "" {
				f, err := os.Open(c.stdin)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.Stdin = f
			}
			if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("it was not killed: %v\n%s", err, out)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in TMPDIR: %v, %v", left, err)
			}
			if left, err := filepath.Glob(filepath.Join(b.data, "build", "work", "*")); err != nil || len(left) == 0 {
				t.Errorf("nothing is left, so nothing was tested: %v", err)
			}
			b.context = filepath.Join(dir, "context")
			b.whole()
		})
	}
}
