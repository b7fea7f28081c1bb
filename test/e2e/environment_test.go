// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEnvironmentPrecedence: parent < image < --set-env-file < --set-env <
// --environment.
func TestEnvironmentPrecedence(t *testing.T) {
	h := host(t)
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# a comment\n; another\n\nIMAGE=file\nA=file\nB=file\nC=file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Env = append(h.Env, "IMAGE=parent", "PARENT=parent", "A=parent")
	script := "echo IMAGE=$IMAGE A=$A B=$B C=$C PARENT=$PARENT"
	for _, c := range []struct {
		name     string
		pod, app []string
		want     string
	}{
		{"image alone", nil, nil, "IMAGE=tiny A= B= C= PARENT="},
		{"inherited", []string{"--inherit-env"}, nil, "IMAGE=tiny A=parent B= C= PARENT=parent"},
		{"file over image and parent", []string{"--inherit-env", "--set-env-file=" + file}, nil, "IMAGE=file A=file B=file C=file PARENT=parent"},
		{"set-env over file", []string{"--set-env-file=" + file, "--set-env=A=set", "--set-env=B=set"}, nil, "IMAGE=file A=set B=set C=file PARENT="},
		{"environment over all", []string{"--set-env-file=" + file, "--set-env=A=set", "--set-env=B=set"}, []string{"--environment=B=app"}, "IMAGE=file A=set B=app C=file PARENT="},
		{"empty value", nil, []string{"--environment=IMAGE="}, "IMAGE= A= B= C= PARENT="},
	} {
		if r := tiny(t, h, c.pod, c.app, script); r.Out() != c.want {
			t.Errorf("%s:\n got %s\nwant %s\n%s", c.name, r.Out(), c.want, r.Stderr)
		}
	}
}

func TestEnvironmentDefaults(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, []string{"--name=web", "--user=12"}, "echo $AC_APP_NAME $HOME $LOGNAME $USER $SHELL $PATH; cat /proc/self/environ | tr '\\0' '\\n' | sort -u | cut -d= -f1 2>/dev/null; true")
	first, _, _ := strings.Cut(r.Stdout, "\n")
	if !strings.HasPrefix(first, "web ") || !strings.Contains(first, "/bin") {
		t.Errorf("AC_APP_NAME and the defaults: %q", first)
	}
	// Nothing of rkt's own or the caller's environment reaches the app.
	r = tiny(t, h, nil, nil, "env")
	for line := range strings.Lines(r.Stdout) {
		if strings.HasPrefix(line, "RKT_") || strings.HasPrefix(line, "TMPDIR=") {
			t.Errorf("the app sees %q", line)
		}
	}
	for _, bad := range [][]string{{"--set-env=NOVALUE"}, {"--set-env=A=1", "--set-env=A=2"}, {"--set-env-file=/does/not/exist"}} {
		if r := tiny(t, h, bad, nil, "true"); r.Status != 254 {
			t.Errorf("%q: exit status %d, want 254", bad, r.Status)
		}
	}
}

func TestWorkingDirectory(t *testing.T) {
	h := host(t)
	if r := tiny(t, h, nil, []string{"--working-dir=/srv"}, "pwd"); r.Out() != "/srv" {
		t.Errorf("pwd = %q, want /srv\n%s", r.Out(), r.Stderr)
	}
	if r := tiny(t, h, nil, nil, "pwd"); r.Out() != "/" {
		t.Errorf("pwd = %q, want /", r.Out())
	}
}

// TestStreams: the app has the caller's own stdout and stderr, apart, and may
// open them again by name.
func TestStreams(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, nil, "echo out; echo err >&2; echo out again > /dev/stdout; echo err again > /dev/stderr")
	if r.Stdout != "out\nout again\n" || r.Stderr != "err\nerr again\n" {
		t.Errorf("stdout %q, stderr %q", r.Stdout, r.Stderr)
	}
	// Without --interactive there is nothing to read.
	h2 := host(t)
	if r := h2.Feed("from the caller\n", tinyArgs(t, h2, nil, nil, "cat; echo end")...); r.Stdout != "end\n" {
		t.Errorf("stdin without --interactive: stdout %q, want only \"end\"", r.Stdout)
	}
	if r := h2.Feed("from the caller\n", tinyArgs(t, h2, []string{"--interactive"}, nil, "cat; echo end")...); r.Stdout != "from the caller\nend\n" {
		t.Errorf("stdin with --interactive: stdout %q", r.Stdout)
	}
}
