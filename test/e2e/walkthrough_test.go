// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// TestWalkthrough is the talk "Intro to rkt", slide by slide, with a registry
// on loopback in the place of quay.io.
func TestWalkthrough(t *testing.T) {
	h := host(t)
	s := serve(t, images.Shell, images.Etcd)

	// "Let's start out with an interactive container"
	term := h.Type("run", s.URL("shell"), "--interactive")
	term.Send("echo inside $((40+2)); hostname\n")
	term.Expect("inside 42")
	term.Expect("rkt-")
	running := h.Must("list").Stdout
	if !strings.Contains(running, "running") || !strings.Contains(running, "shell") {
		t.Errorf("rkt list while it runs:\n%s", running)
	}
	// "Use Ctrl+] three times to kill rkt"
	term.Send("\x1d\x1d\x1d")
	term.Wait()
	h.Gone()

	// "rkt list will show you all of your exited and running pods"
	if list := h.Must("list").Stdout; !strings.Contains(list, "exited") {
		t.Errorf("rkt list after it ended:\n%s", list)
	}
	// "rkt image list will show you all of your stored images"
	if list := h.Must("image", "list").Stdout; !strings.Contains(list, s.Addr+"/shell:latest") {
		t.Errorf("rkt image list:\n%s", list)
	}

	// "rkt supports docker images": docker://… --interactive --exec=bash
	term = h.Type("run", s.URL("shell"), "--interactive", "--exec=bash")
	term.Send("ps -e | tail -n +2 | wc -l; exit 3\n")
	if got := term.Wait(); got != 3 {
		t.Errorf("exit status %d, want 3", got)
	}

	// "A non-interactive example…": etcd in the foreground, enter asks its health
	file := filepath.Join(t.TempDir(), "uuid")
	etcd := h.Start("run", "--uuid-file-save="+file, s.URL("etcd"))
	etcd.Expect("ready to serve client requests")
	uuid := readUUID(t, file)
	if list := h.Must("list", "--full", "--no-legend").Stdout; !strings.Contains(list, uuid) || !strings.Contains(list, "running") {
		t.Errorf("rkt list:\n%s", list)
	}
	health := h.Rkt("enter", uuid[:8], "etcdctl", "endpoint", "health")
	if health.Status != 0 || !strings.Contains(health.Stdout+health.Stderr, "is healthy") {
		t.Errorf("etcdctl endpoint health: status %d\n%s%s", health.Status, health.Stdout, health.Stderr)
	}
	if r := h.Rkt("enter", uuid[:8], "/usr/bin/etcdctl", "put", "talk", "rkt"); r.Out() != "OK" {
		t.Errorf("etcdctl put: %q %s", r.Stdout, r.Stderr)
	}
	h.Must("stop", uuid)
	etcd.Wait()
	h.Gone()

	// "To remove old containers: rkt gc. To remove old images: rkt image gc"
	h.Must("gc", "--grace-period=0s")
	if list := h.Must("list", "--no-legend").Stdout; list != "" {
		t.Errorf("after rkt gc:\n%s", list)
	}
	h.Must("image", "gc", "--grace-period=0s")
	if list := h.Must("image", "list", "--no-legend").Stdout; list != "" {
		t.Errorf("after rkt image gc:\n%s", list)
	}
}

// TestNginx serves a page from a pod; nginx writes its logs to /dev/stdout and
// /dev/stderr, as Docker's own image does, and the caller reads them.
func TestNginx(t *testing.T) {
	h := host(t)
	s := serve(t, images.Nginx)
	file := filepath.Join(t.TempDir(), "uuid")
	nginx := h.Start("run", "--uuid-file-save="+file, s.URL("nginx"))
	nginx.Expect("start worker process")
	uuid := readUUID(t, file)
	get := `exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3; cat <&3`
	if r := h.Rkt("enter", uuid, "/bin/bash", "-c", get); !strings.HasSuffix(r.Stdout, "served from a pod\n") {
		t.Errorf("the page: %q\n%s", r.Stdout, r.Stderr)
	}
	nginx.Expect(`"GET /index.html HTTP/1.0" 200`)
	h.Must("stop", uuid)
	if got := nginx.Wait(); got != 0 {
		t.Errorf("nginx ended with %d after its stop signal", got)
	}
	h.Gone()
}
