// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// TestEnterIsConfined: what enters an app's container is in its namespaces,
// and has its user, groups, capabilities, seccomp filter and cgroup.
func TestEnterIsConfined(t *testing.T) {
	h := host(t)
	script := "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; for n in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; cat /srv/content; pwd"
	for name, flags := range map[string][]string{
		"root":     nil,
		"user":     {"--user=12", "--group=34", "--supplementary-gids=50,60"},
		"no caps":  {"--caps-retain=CAP_KILL"},
		"by name":  {"--user=alice"},
		"work dir": {"--working-dir=/srv"},
	} {
		t.Run(name, func(t *testing.T) {
			p, uuid := startTiny(t, h, nil, flags, script+"; echo ready; exec sleep 1000")
			inside, _, _ := strings.Cut(p.Output(), "ready")
			r := h.Rkt("enter", uuid[:8], "/bin/sh", "-c", script)
			if r.Status != 0 {
				t.Fatalf("enter: status %d\n%s", r.Status, r.Stderr)
			}
			in, out := strings.Split(strings.TrimSpace(inside), "\n"), strings.Split(r.Out(), "\n")
			for i := range max(len(in), len(out)) {
				if i >= len(in) || i >= len(out) || in[i] != out[i] {
					t.Errorf("the app and what entered it differ:\n%s\n-- entered --\n%s", inside, r.Stdout)
					break
				}
			}
			h.Must("stop", "--force", uuid)
			p.Wait()
		})
	}
}

func TestEnter(t *testing.T) {
	h := host(t)
	p, uuid := startTiny(t, h, []string{"--set-env=WORD=hello"}, []string{"--name=tiny"}, "echo ready; exec sleep 1000")
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "exit 9"); r.Status != 9 {
		t.Errorf("exit status %d, want 9\n%s", r.Status, r.Stderr)
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "kill -9 $$"); r.Status != 128+9 {
		t.Errorf("exit status %d, want 137", r.Status)
	}
	if r := h.Rkt("enter", uuid, "/bin/sh", "-c", "echo $WORD $AC_APP_NAME"); r.Out() != "hello tiny" {
		t.Errorf("environment: %q", r.Out())
	}
	if r := h.Rkt("enter", "--app=other", uuid, "/bin/true"); r.Status != 254 {
		t.Errorf("an app that is not there: exit status %d, want 254", r.Status)
	}
	if r := h.Rkt("enter", uuid, "/no/such/program"); r.Status != 254 {
		t.Errorf("a program that is not there: exit status %d, want 254", r.Status)
	}
	if r := h.Feed("typed\n", "enter", uuid, "/bin/cat"); r.Stdout != "typed\n" {
		t.Errorf("stdin: %q", r.Stdout)
	}
	if r := h.Rkt("enter", uuid, "ls", "/proc/self/fd"); strings.Join(strings.Fields(r.Stdout), " ") != "0 1 2 3" {
		t.Errorf("descriptors of what entered: %q", r.Stdout)
	}
	// What enters at a terminal has a terminal of the pod's.
	term := h.Type("enter", uuid, "/bin/sh")
	term.Send("test -t 0 && echo on a $((1))terminal; exit 4\n")
	term.Expect("on a 1terminal")
	if got := term.Wait(); got != 4 {
		t.Errorf("exit status %d, want 4", got)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
	if r := h.Rkt("enter", uuid, "/bin/true"); r.Status != 254 {
		t.Errorf("entering an exited pod: exit status %d, want 254", r.Status)
	}
}

// TestEnterDiesWithPod: nothing that entered outlives the pod.
func TestEnterDiesWithPod(t *testing.T) {
	h := host(t)
	p, uuid := startTiny(t, h, nil, nil, "echo ready; exec sleep 1000")
	e := h.Start("enter", uuid, "/bin/sh", "-c", "trap '' TERM HUP; echo entered; while :; do sleep 0.1; done")
	e.Expect("entered")
	h.Must("stop", "--force", uuid)
	p.Wait()
	if got := e.Wait(); got != 128+9 {
		t.Errorf("what entered ended with %d, want 137", got)
	}
	h.Gone()
}

// TestSeveralAppsWantAName: with several apps, enter asks which.
func TestSeveralAppsWantAName(t *testing.T) {
	h := host(t)
	img := image(t, images.Tiny)
	p := h.Start("run", "--net=none", img, "--name=one", "--exec=/bin/sh", "--", "-c", "echo one ready; exec sleep 1000", "---",
		img, "--name=two", "--exec=/bin/sh", "--", "-c", "sleep 0.1; echo two ready; exec sleep 1000")
	p.Expect("two ready")
	uuid := h.Pods()[0]
	if r := h.Rkt("enter", uuid, "/bin/true"); r.Status != 254 || !strings.Contains(r.Stderr, "one") || !strings.Contains(r.Stderr, "two") {
		t.Errorf("without --app: exit status %d, stderr %q; want 254 and the apps' names", r.Status, r.Stderr)
	}
	if r := h.Rkt("enter", "--app=two", uuid, "/bin/sh", "-c", "echo $AC_APP_NAME"); r.Out() != "two" {
		t.Errorf("--app=two: %q\n%s", r.Out(), r.Stderr)
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}
