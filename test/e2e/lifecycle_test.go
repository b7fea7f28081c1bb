// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// TestPrepareRunRm walks a pod through its phases.
func TestPrepareRunRm(t *testing.T) {
	h := host(t)
	uuid := h.Must(append([]string{"prepare", "--quiet", image(t, images.Tiny), "--name=app"}, sh("echo ran; exit 8")...)...).Out()
	if state := field(h.Must("status", uuid).Stdout, "state"); state != "prepared" {
		t.Errorf("after prepare: state=%s", state)
	}
	if r := h.Rkt("rm", "no-such-pod"); r.Status != 254 {
		t.Errorf("rm of nothing: exit status %d", r.Status)
	}
	if r := h.Rkt("run-prepared", "--net=host", uuid[:8]); r.Status != 8 || r.Stdout != "ran\n" {
		t.Fatalf("run-prepared: status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	status := h.Must("status", "--wait", uuid).Stdout
	if field(status, "state") != "exited" || field(status, "exited") != "true" || field(status, "app-app") != "8" || field(status, "started") == "" {
		t.Errorf("after the run: %q", status)
	}
	if r := h.Rkt("run-prepared", uuid); r.Status != 254 {
		t.Errorf("running an exited pod: exit status %d, want 254", r.Status)
	}
	if r := h.Must("rm", uuid); !strings.Contains(r.Stdout, uuid) {
		t.Errorf("rm printed %q", r.Stdout)
	}
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("after rm: pods %q", pods)
	}
}

// TestOneRunPreparedWins: of two that start the same pod, one does.
func TestOneRunPreparedWins(t *testing.T) {
	h := host(t)
	uuid := h.Must(append([]string{"prepare", image(t, images.Tiny)}, sh("echo ready; sleep 0.5")...)...).Out()
	a, b := h.Start("run-prepared", "--net=host", uuid), h.Start("run-prepared", "--net=host", uuid)
	sa, sb := a.Wait(), b.Wait()
	if !(sa == 0 && sb == 254 || sa == 254 && sb == 0) {
		t.Errorf("exit statuses %d and %d, want 0 and 254\n%s\n%s", sa, sb, a.Output(), b.Output())
	}
	if n := strings.Count(a.Output()+b.Output(), "ready"); n != 1 {
		t.Errorf("the app ran %d times", n)
	}
}

func TestStatusWait(t *testing.T) {
	h := host(t)
	go_ := filepath.Join(shared(t), "go")
	p, uuid := startTiny(t, h, []string{"--volume=v,kind=host,source=" + filepath.Dir(go_)}, []string{"--name=waiter", "--mount=volume=v,target=/v"}, "echo ready; while ! test -e /v/go; do sleep 0.02; done; exit 3")
	status := h.Must("status", uuid).Stdout
	if !strings.HasPrefix(status, "state=running\n") || field(status, "pid") == "" || field(status, "exited") != "false" {
		t.Errorf("while it runs: %q", status)
	}
	if r := h.Rkt("status", "--wait=20ms", uuid); r.Status == 0 {
		t.Errorf("status --wait=20ms of a running pod succeeded: %q", r.Stdout)
	}
	if r := h.Rkt("rm", uuid); r.Status == 0 {
		t.Errorf("rm of a running pod succeeded")
	}
	if r := h.Rkt("gc", "--grace-period=0s"); r.Status != 0 || len(h.Pods()) != 1 {
		t.Errorf("gc touched a running pod: %q %s", h.Pods(), r.Stderr)
	}
	waiter := h.Start("status", "--wait", uuid)
	if err := os.WriteFile(go_, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := waiter.Wait(); got != 0 {
		t.Errorf("status --wait: exit status %d\n%s", got, waiter.Output())
	}
	if got := field(waiter.Output(), "app-waiter"); got != "3" {
		t.Errorf("status --wait printed %q, want app-waiter=3", waiter.Output())
	}
	if got := p.Wait(); got != 3 {
		t.Errorf("exit status %d, want 3", got)
	}
}

func TestListJSON(t *testing.T) {
	h := host(t)
	tiny(t, h, nil, []string{"--name=one"}, "exit 2")
	p, uuid := startTiny(t, h, nil, []string{"--name=two"}, "echo ready; exec sleep 1000")
	var pods []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Apps  []struct {
			Name     string `json:"name"`
			ExitCode *int   `json:"exit_code"`
		} `json:"apps"`
	}
	for _, flag := range []string{"--json", "--format=json", "--format=json-pretty"} {
		out := h.Must("list", flag).Stdout
		if err := json.Unmarshal([]byte(out), &pods); err != nil {
			t.Fatalf("rkt list %s: %v\n%s", flag, err, out)
		}
		states := map[string]string{}
		for _, p := range pods {
			states[p.Apps[0].Name] = p.State
			if p.Apps[0].Name == "two" && p.Name != uuid {
				t.Errorf("name %q, want the UUID %s", p.Name, uuid)
			}
		}
		if len(pods) != 2 || states["one"] != "exited" || states["two"] != "running" {
			t.Errorf("rkt list %s: %s", flag, out)
		}
	}
	table := h.Must("list").Stdout
	for _, want := range []string{"UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS", uuid[:8], "running", "exited"} {
		if !strings.Contains(table, want) {
			t.Errorf("rkt list has no %q:\n%s", want, table)
		}
	}
	h.Must("stop", "--force", uuid)
	p.Wait()
}

func TestGC(t *testing.T) {
	h := host(t)
	tiny(t, h, nil, nil, "exit 0")
	uuid := h.Must(append([]string{"prepare", image(t, images.Tiny)}, sh("true")...)...).Out()
	h.Must("gc") // within the grace period: marked, not removed
	if len(h.Pods()) != 2 {
		t.Errorf("gc within the grace period left %q, want both pods", h.Pods())
	}
	h.Must("gc", "--grace-period=0s")
	if pods := h.Pods(); len(pods) != 1 || pods[0] != uuid {
		t.Errorf("gc left %q, want the prepared pod %s", pods, uuid)
	}
	h.Must("gc", "--grace-period=0s", "--expire-prepared=0s")
	h.Must("gc", "--grace-period=0s", "--expire-prepared=0s")
	if pods := h.Pods(); len(pods) != 0 {
		t.Errorf("gc --expire-prepared=0s left %q", pods)
	}
	if r := tiny(t, h, nil, nil, "echo fine"); r.Out() != "fine" {
		t.Errorf("after gc: %q %s", r.Stdout, r.Stderr)
	}
}

func TestCatManifest(t *testing.T) {
	h := host(t)
	uuid := h.Must(append([]string{"prepare", image(t, images.Tiny), "--name=web", "--user=12"}, sh("true")...)...).Out()
	var m struct {
		ACKind string `json:"acKind"`
		Apps   []struct {
			Name string `json:"name"`
			App  struct {
				Exec []string `json:"exec"`
				User string   `json:"user"`
			} `json:"app"`
		} `json:"apps"`
	}
	out := h.Must("cat-manifest", uuid).Stdout
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if m.ACKind != "PodManifest" || len(m.Apps) != 1 || m.Apps[0].Name != "web" || m.Apps[0].App.User != "12" || strings.Join(m.Apps[0].App.Exec, " ") != "/bin/sh -c true" {
		t.Errorf("pod manifest:\n%s", out)
	}
}

// TestLogs: output under --stdout=log is kept, and still seen by the caller.
func TestLogs(t *testing.T) {
	h := host(t)
	r := tiny(t, h, nil, []string{"--stdout=log", "--stderr=log"}, "echo to stdout; echo to stderr >&2; printf 'no newline'")
	if r.Status != 0 {
		t.Fatalf("status %d\n%s", r.Status, r.Stderr)
	}
	if !strings.Contains(r.Stdout, "to stdout") {
		t.Errorf("the caller sees %q", r.Stdout)
	}
	logs := h.Must("logs", h.Pods()[0])
	for _, want := range []string{"to stdout\n", "no newline"} {
		if !strings.Contains(logs.Stdout, want) {
			t.Errorf("rkt logs: stdout %q has no %q", logs.Stdout, want)
		}
	}
	if !strings.Contains(logs.Stdout+logs.Stderr, "to stderr\n") {
		t.Errorf("rkt logs: stderr %q", logs.Stderr)
	}
	h2 := host(t)
	tiny(t, h2, nil, nil, "echo x")
	if r := h2.Rkt("logs", h2.Pods()[0]); r.Status != 254 {
		t.Errorf("logs of a pod without: exit status %d, want 254 and a reason; stdout %q", r.Status, r.Stdout)
	}
}

func TestInteractive(t *testing.T) {
	h := host(t)
	term := h.Type("run", "--net=none", "--interactive", image(t, images.Tiny))
	term.Send("test -t 0 && test -t 1 && echo on a $((1))terminal\n")
	term.Expect("on a 1terminal")
	term.Send("stty size; tty\n")
	term.Expect("24 80")
	term.Expect("/dev/")
	useTerminal(t, term)
	h.Gone()
}

// useTerminal does at an app's terminal, where a shell waits, what people do: it
// changes the size, interrupts a program, and ends the shell.
func useTerminal(t *testing.T, term *rkt.Terminal) {
	t.Helper()
	term.Resize(40, 100)
	term.Send("while ! stty size | grep '40 100'; do sleep 0.05; done; echo res$((1))zed\n")
	term.Expect("res1zed")
	// ^C is for the app, not for rkt.
	term.Send("sh -c 'trap \"exit 0\" INT; echo sl$((1))ep; while :; do sleep 0.1; done'\n")
	term.Expect("sl1ep")
	term.Send("\x03")
	term.Send("echo sur$((1))ived\n")
	term.Expect("sur1ived")
	term.Send("exit 5\n")
	if got := term.Wait(); got != 5 {
		t.Errorf("exit status %d, want 5", got)
	}
	if !term.Echo() {
		t.Errorf("rkt left the terminal in raw mode")
	}
}

// TestEscape: ^] three times ends an interactive pod, two times do not.
func TestEscape(t *testing.T) {
	h := host(t)
	term := h.Type("run", "--net=none", "--interactive", image(t, images.Tiny))
	term.Send("echo be$((1))ore\n")
	term.Expect("be1ore")
	term.Send("\x1d\x1d")
	term.Send("echo bet$((1))een\n")
	term.Expect("bet1een")
	term.Send("\x1d\x1d\x1d")
	if got := term.Wait(); got == 0 {
		t.Errorf("exit status 0 after ^] ^] ^]")
	}
	if !term.Echo() {
		t.Errorf("rkt left the terminal in raw mode")
	}
	h.Gone()
}
