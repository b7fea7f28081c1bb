// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/rkt"
)

// activate starts rkt by systemd-socket-activate, which listens, waits for the
// first that comes, and becomes rkt.
func (w *world) activate(flags []string, args ...string) *rkt.Process {
	w.t.Helper()
	argv := append([]string{"systemd-socket-activate", "--setenv=TMPDIR=" + os.TempDir()}, flags...)
	p := w.h.StartBy(argv, args...)
	for _, f := range flags {
		if strings.HasPrefix(f, "--listen=") {
			p.Expect("Listening on")
		}
	}
	return p
}

// path asks over a socket of the file system.
func (w *world) path(path string) (string, error) {
	out, err := exec.Command("python3", "-c", `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect(sys.argv[1]); print(s.recv(100).decode())`, path).Output()
	return strings.TrimSpace(string(out)), err
}

// socketsOf are the sockets that a process has open.
func socketsOf(t *testing.T, pid int) (list []string) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(link, "socket:") {
			list = append(list, link)
		}
	}
	return list
}

// events are those of a pod, once the start of an app is noted, which may be after
// its first word.
func (w *world) events(uuid string) contract.Events {
	w.t.Helper()
	for until := time.Now().Add(rkt.Patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(w.h.Dir, "pods/run", uuid, contract.EventsFile))
		if err != nil {
			w.t.Fatal(err)
		}
		e := contract.ParseEvents(string(text))
		started := e.Init > 0 && len(e.Apps) > 0
		for _, a := range e.Apps {
			started = started && a.PID > 0
		}
		if started {
			return e
		}
		if time.Now().After(until) {
			w.t.Fatalf("no app was started: %s", text)
		}
	}
}

// TestSockets: an app gets the sockets that rkt's caller has opened, by name and by
// number, over both versions of IP and as paths, with any network and none; and
// nobody else has them.
func TestSockets(t *testing.T) {
	for _, net := range []string{"none", "default", "host"} {
		t.Run(net, func(t *testing.T) {
			w := newWorld(t)
			path := filepath.Join(t.TempDir(), "ctl")
			file := filepath.Join(t.TempDir(), "uuid")
			p := w.activate([]string{"--listen=127.0.0.1:8080", "--listen=" + path, "--listen=[::1]:80", "--fdname=web:ctl:x"},
				w.args([]string{"--net=" + net, "--uuid-file-save=" + file, "--port=web:tcp:80:socket", "--port=ctl:tcp:1:socket"},
					"exec /peer/peer activated")...)
			// The first one has rkt started.
			w.answers("a path", "ctl")(w.path(path))
			w.answers("IPv4, by name", "web")(w.fromHost("tcp", "127.0.0.1", 8080))
			w.answers("IPv6, by number", "web")(w.fromHost("tcp", "::1", 80))
			p.Expect("ready web:web:ctl")
			uuid := readUUID(t, file)
			e := w.events(uuid)
			var theirs []string
			for _, app := range e.Apps {
				theirs = socketsOf(t, app.PID)
			}
			if len(theirs) < 3 {
				t.Fatalf("the app has the sockets %q", theirs)
			}
			// stage0 stays for two seconds, with all that it was given.
			for until := time.Now().Add(rkt.Patience); ; time.Sleep(20 * time.Millisecond) {
				exe, err := os.Readlink("/proc/" + strconv.Itoa(e.Run) + "/exe")
				if err == nil && strings.HasSuffix(exe, "stage1-native") {
					break
				}
				if time.Now().After(until) {
					t.Fatalf("%s is still there: %v", exe, err)
				}
			}
			for name, pid := range map[string]int{"init": e.Init, "run": e.Run} {
				for _, s := range socketsOf(t, pid) {
					for _, o := range theirs {
						if s == o {
							t.Errorf("%s has the app's %s", name, s)
						}
					}
				}
			}
			r := w.h.Must("enter", uuid, "/bin/sh", "-c", "env; ls -l /proc/self/fd")
			if strings.Contains(r.Stdout, "LISTEN_") || strings.Contains(r.Stdout, "socket:") {
				t.Errorf("what enters has of it:\n%s", r.Stdout)
			}
			p.Signal(unix.SIGTERM)
			p.Wait()
			w.nothingLeft()
		})
	}
}

// TestSocketsUDP: datagrams.
func TestSocketsUDP(t *testing.T) {
	w := newWorld(t)
	p := w.activate([]string{"--datagram", "--listen=0.0.0.0:53", "--listen=[::1]:5353", "--fdname=x:dns"},
		w.args([]string{"--port=dns:udp:53:socket"}, "exec /peer/peer activated")...)
	w.answers("IPv4", "dns")(w.fromHost("udp", "127.0.0.1", 53))
	w.answers("from the world", "dns")(w.fromSecond("udp", uplink4, 53))
	w.answers("IPv6", "dns")(w.fromHost("udp", "::1", 5353))
	p.Signal(unix.SIGTERM)
	p.Wait()
	w.nothingLeft()
}

// TestSocketsOfApps: of several apps each has its own and knows of no other's.
func TestSocketsOfApps(t *testing.T) {
	w := newWorld(t)
	manifest := filepath.Join(t.TempDir(), "pod")
	app := func(name, exec, ports string) string {
		return `{"name":"` + name + `","image":{"id":"` + w.id + `"},"app":{"exec":` + exec + `,"user":"0","group":"0",
"eventHandlers":[{"name":"pre-start","exec":["/bin/sh","-c","env >/env; ls -l /proc/self/fd >>/env"]}],
"mountPoints":[{"name":"peer","path":"/peer"}],"ports":[` + ports + `]}}`
	}
	port := func(name, n string) string {
		return `{"name":"` + name + `","protocol":"tcp","port":` + n + `,"socketActivated":true}`
	}
	text := `{"acVersion":"0.8.11","acKind":"PodManifest","apps":[` + app("none", `["/bin/sh","-c","env; ls -l /proc/self/fd; echo end; exec sleep 1000"]`, `{"name":"plain","protocol":"tcp","port":7000}`) + `,
` + app("one", `["/peer/peer","activated"]`, port("a", "7001")) + `,` + app("two", `["/peer/peer","activated"]`, port("c", "7003")+`,`+port("b", "80")) + `],
"volumes":[{"name":"peer","kind":"host","source":"` + w.peer + `","readOnly":true}],"ports":[{"name":"b","hostPort":7002}]}`
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "uuid")
	p := w.activate([]string{"--listen=7001", "--listen=7002", "--listen=7003"}, "run", "--uuid-file-save="+file, "--pod-manifest="+manifest)
	for n, name := range map[int]string{7001: "a", 7002: "b", 7003: "c"} {
		w.answers(name, name)(w.fromHost("tcp", "127.0.0.1", n))
		w.answers(name+", IPv6", name)(w.fromHost("tcp", "::1", n))
	}
	p.Expect("end")
	before, _, _ := strings.Cut(p.Output(), "end")
	if strings.Contains(before, "LISTEN_") || strings.Contains(before, "socket:") {
		t.Errorf("an app without sockets has of them:\n%s", before)
	}
	uuid := readUUID(t, file)
	for _, app := range []string{"one", "two"} {
		if r := w.h.Must("enter", "--app="+app, uuid, "/bin/cat", "/env"); strings.Contains(r.Stdout, "LISTEN_") || strings.Contains(r.Stdout, "socket:") {
			t.Errorf("the pre-start handler of %s has of it:\n%s", app, r.Stdout)
		}
	}
	if !strings.Contains(p.Output(), "ready a\n") || !strings.Contains(p.Output(), "ready c:b\n") {
		t.Errorf("not in the ports' order:\n%s", p.Output())
	}
	e := w.events(uuid)
	apps := map[string]bool{}
	for name := range e.Apps {
		for _, s := range socketsOf(t, e.Apps[name].PID) {
			apps[s] = true
		}
	}
	for _, s := range socketsOf(t, e.Init) {
		if apps[s] {
			t.Errorf("init has an app's %s", s)
		}
	}
	p.Signal(unix.SIGTERM)
	p.Wait()
	w.nothingLeft()
}

// TestSocketsRefused: what does not fit does not start, and a pod that wants none
// has none.
func TestSocketsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.run([]string{"--port=web:tcp:80:socket"}, "echo started")
	if r.Status != 254 || !strings.Contains(r.Stderr, ` (tcp 80) has no socket: the caller opened none`) {
		t.Errorf("without a caller: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	for name, c := range map[string]struct {
		listen, words string
		flags         []string
	}{
		"another port":  {"--listen=127.0.0.1:81", `no socket-activated port is descriptor 3 (tcp 127.0.0.1:81)`, []string{"--port=web:tcp:80:socket"}},
		"several wants": {"--listen=127.0.0.1:80", `socket-activated ports "a" and "b"`, []string{"--port=a:tcp:80:socket", "--port=b:tcp:80:socket"}},
	} {
		p := w.activate([]string{c.listen}, w.args(c.flags, "echo start''ed")...)
		_, n, _ := strings.Cut(c.listen, "127.0.0.1:")
		port, _ := strconv.Atoi(n)
		_, _ = w.fromHost("tcp", "127.0.0.1", port)
		if status := p.Wait(); status != 254 || !strings.Contains(p.Output(), c.words) || strings.Contains(p.Output(), "started") {
			t.Errorf("%s: status %d\n%s", name, status, p.Output())
		}
	}
	p := w.activate([]string{"--listen=127.0.0.1:81"}, w.args([]string{"--inherit-env"}, "env; ls -l /proc/self/fd; exec sleep 0.1")...)
	_, _ = w.fromHost("tcp", "127.0.0.1", 81)
	if status := p.Wait(); status != 0 || strings.Contains(p.Output(), "LISTEN_PID") || strings.Contains(p.Output(), "socket:") ||
		!strings.Contains(p.Output(), "it is given none of the caller's sockets (LISTEN_FDS=1)") {
		t.Errorf("a pod that wants none: status %d\n%s", status, p.Output())
	}
	if left, _ := filepath.Glob(filepath.Join(w.h.Dir, "pods/prepare*/*")); left != nil {
		t.Errorf("refused pods left %q", left)
	}
	w.nothingLeft()
}

// TestSocketsPrepared: a prepared pod takes them when it is run.
func TestSocketsPrepared(t *testing.T) {
	w := newWorld(t)
	args := w.args([]string{"--port=web:tcp:8080:socket"}, "exec /peer/peer activated")
	args[0] = "prepare"
	uuid := w.h.Must(args...).Out()
	if r := w.h.Rkt("run-prepared", uuid); r.Status != 254 || !strings.Contains(r.Stderr, "has no socket") {
		t.Errorf("without a caller: status %d\n%s", r.Status, r.Stderr)
	}
	p := w.activate([]string{"--listen=127.0.0.1:8080"}, "run-prepared", uuid)
	w.answers("prepared", "web")(w.fromHost("tcp", "127.0.0.1", 8080))
	p.Signal(unix.SIGTERM)
	p.Wait()
	w.nothingLeft()
}
