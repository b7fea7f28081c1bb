// SPDX-License-Identifier: Apache-2.0

package stage1test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/test/rkt"
)

// wait is a script that goes on until somebody ends it.
const wait = "echo ready; while :; do sleep 0.05; done"

// signals: those of the caller go to the app, SIGTERM as its stop signal.
func signals(t *T) {
	for sig, want := range map[unix.Signal]int{unix.SIGTERM: 9, unix.SIGINT: 11, unix.SIGUSR1: 12, unix.SIGHUP: 13} {
		p, _ := t.Start(nil, nil, "trap 'exit 9' TERM; trap 'exit 11' INT; trap 'exit 12' USR1; trap 'exit 13' HUP; "+wait)
		p.Signal(sig)
		if got := p.Wait(); got != want {
			t.Errorf("signal %d: status %d, want %d\n%s", sig, got, want, p.Output())
		}
	}
	p, _ := t.Start(nil, nil, wait) // with no trap
	p.Signal(unix.SIGTERM)
	if got := p.Wait(); got != 128+15 {
		t.Errorf("an app that knows no signals: status %d, want 143", got)
	}
}

func stop(t *T) {
	p, uuid := t.Start(nil, nil, "trap 'exit 9' TERM; "+wait)
	if r := t.Host.Must("status", uuid); !strings.HasPrefix(r.Stdout, "state=running\n") {
		t.Errorf("status: %q", r.Stdout)
	}
	t.Host.Must("stop", uuid)
	if got := p.Wait(); got != 9 {
		t.Errorf("status %d, want 9\n%s", got, p.Output())
	}
	if r := t.Host.Must("status", uuid); !strings.Contains(r.Stdout, "=9\n") || !strings.HasPrefix(r.Stdout, "state=exited\n") {
		t.Errorf("status: %q", r.Stdout)
	}
	if r := t.Host.Rkt("stop", uuid); strings.Contains(r.Stderr, "stage1:") {
		t.Errorf("a pod that has ended: status %d\n%s", r.Status, r.Stderr)
	}
}

// stopSlow: who does not heed the stop signal is killed when the time is over.
func stopSlow(t *T) {
	p, uuid := t.Start([]string{"--stop-timeout=1s"}, nil, "trap 'echo heard' TERM; "+wait)
	t.Host.Must("stop", uuid)
	p.Expect("heard")
	if got := p.Wait(); got != 137 {
		t.Errorf("status %d, want 137\n%s", got, p.Output())
	}
}

func stopForce(t *T) {
	p, uuid := t.Start(nil, nil, "trap '' TERM; sleep 1000 & "+wait)
	t.Host.Must("stop", "--force", uuid)
	if got := p.Wait(); got != 137 {
		t.Errorf("status %d, want 137\n%s", got, p.Output())
	}
	t.Host.Gone()
}

// killed: of a pod whose stage1 was killed nothing runs on, and gc gives back the
// rest, and can be run again.
func killed(t *T) {
	const left = "sleep 98765" // it does not hold the caller's output
	p, uuid := t.Start(nil, nil, left+" >/dev/null 2>&1 & "+wait)
	p.Signal(unix.SIGKILL)
	if got := p.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	t.Host.Must("gc", "--grace-period=0")
	t.Host.Must("gc", "--grace-period=0")
	if r := t.Host.Rkt("status", uuid); r.Status != 254 {
		t.Errorf("the pod is there after gc: %q", r.Stdout)
	}
	t.Host.Gone()
	if out, _ := exec.Command("pgrep", "-f", "^"+left+"$").Output(); len(out) > 0 {
		t.Errorf("a process is left: %s", out)
	}
	if left := rkt.Leftovers(t.Host.Dir, []string{uuid}); left != nil {
		t.Errorf("left on the host: %q", left)
	}
}

func enter(t *T) {
	p, uuid := t.Start([]string{"--set-env=WORD=hello"}, []string{"--user=12", "--group=34", "--name=app"}, "echo mine >/tmp/mark; "+wait)
	sh := func(script string) rkt.Result { return t.Host.Rkt("enter", uuid, "/bin/sh", "-c", script) }
	if r := sh("cat /tmp/mark; id -u; id -g; echo $WORD $AC_APP_NAME; echo err >&2; exit 5"); r.Status != 5 || r.Stdout != "mine\n12\n34\nhello app\n" || r.Stderr != "err\n" {
		t.Errorf("status %d, stdout %q, stderr %q", r.Status, r.Stdout, r.Stderr)
	}
	if r := sh("kill -9 $$"); r.Status != 137 {
		t.Errorf("killed: status %d\n%s", r.Status, r.Stderr)
	}
	if r := t.Host.Feed("typed\n", "enter", uuid, "/bin/cat"); r.Stdout != "typed\n" || r.Status != 0 {
		t.Errorf("stdin: %q, status %d\n%s", r.Stdout, r.Status, r.Stderr)
	}
	if r := t.Host.Rkt("enter", uuid, "/no/such/program"); r.Status != 254 || r.Stderr == "" {
		t.Errorf("a program that is not there: status %d\n%s", r.Status, r.Stderr)
	}
	if r := t.Host.Rkt("enter", uuid, "ls", "/proc/self/fd"); strings.Join(strings.Fields(r.Stdout), " ") != "0 1 2 3" {
		t.Errorf("descriptors: %q\n%s", r.Stdout, r.Stderr)
	}
	// What has entered ends with the pod.
	e := t.Host.Start("enter", uuid, "/bin/sh", "-c", "trap '' TERM HUP; echo entered; while :; do sleep 0.05; done")
	e.Expect("entered")
	t.Host.Must("stop", "--force", uuid)
	_ = p.Wait()
	if got := e.Wait(); got == 0 {
		t.Errorf("what had entered ended with %d", got)
	}
	t.Host.Gone()
	if r := t.Host.Rkt("enter", uuid, "/bin/true"); r.Status != 254 {
		t.Errorf("a pod that has ended: status %d", r.Status)
	}
}

func enterTerminal(t *T) {
	p, uuid := t.Start(nil, nil, wait)
	term := t.Host.Type("enter", uuid, "/bin/sh")
	term.Send("test -t 0 && test -t 1 && echo on a $((1))terminal $(stty size); exit 4\n")
	term.Expect("on a 1terminal 24 80")
	if got := term.Wait(); got != 4 {
		t.Errorf("status %d, want 4\n%s", got, term.Output())
	}
	if !term.Echo() {
		t.Error("the caller's terminal is left in raw mode")
	}
	t.Host.Must("stop", "--force", uuid)
	_ = p.Wait()
}

// enterHalf: where only some of the caller's streams are its terminal, that is
// handed over all the same to nobody: what is typed could be read from any of them.
func enterHalf(t *T) {
	p, uuid := t.Start(nil, nil, wait)
	file := filepath.Join(t.TempDir(), "out")
	term := t.Host.TypeBy([]string{"/bin/sh", "-c", "exec \"$@\" </dev/null", "sh"}, "enter", uuid, "/bin/sh", "-c", "for i in 0 1 2; do test -t $i && echo $i is a terminal; done; echo told")
	term.Expect("told")
	if got := term.Wait(); got != 0 || strings.Contains(term.Output(), "is a terminal") {
		t.Errorf("input from elsewhere: status %d\n%s", got, term.Output())
	}
	term = t.Host.TypeBy([]string{"/bin/sh", "-c", "exec \"$@\" >" + file, "sh"}, "enter", uuid, "/bin/sh", "-c", "read line; for i in 0 1 2; do test -t $i && echo $i is a terminal; done; echo $line")
	term.Send("typed\n")
	if got := term.Wait(); got != 0 {
		t.Errorf("output elsewhere: status %d\n%s", got, term.Output())
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "typed\n" {
		t.Errorf("output elsewhere: %q, %v", b, err)
	}
	t.Host.Must("stop", "--force", uuid)
	_ = p.Wait()
}

func terminal(t *T) {
	term := t.Host.Type(t.Args([]string{"--interactive"}, nil, "test -t 0 && test -t 1 && stty size; read line; echo got $line; trap 'stty size; exit 8' WINCH; echo waiting; while :; do sleep 0.05; done")...)
	term.Expect("24 80")
	term.Send("typed\n")
	term.Expect("got typed")
	term.Expect("waiting")
	term.Resize(30, 100)
	term.Expect("30 100")
	if got := term.Wait(); got != 8 {
		t.Errorf("status %d, want 8\n%s", got, term.Output())
	}
	if !term.Echo() {
		t.Error("the caller's terminal is left in raw mode")
	}
}

// pause: the app stands still, goes on, and can be ended meanwhile.
func pause(t *T) {
	if _, err := cgroup.Own(); err != nil {
		t.Skipf("needs a cgroup of version 2: %v", err)
	}
	p, uuid := t.Start(nil, nil, "trap 'exit 7' USR1; "+wait)
	t.Host.Must("pause", uuid)
	t.Host.Must("pause", uuid)
	if r := t.Host.Must("list", "--full", "--no-legend"); !strings.Contains(r.Stdout, "paused") {
		t.Errorf("list: %q", r.Stdout)
	}
	p.Signal(unix.SIGUSR1) // which it hears when it goes on
	t.Host.Must("resume", uuid)
	t.Host.Must("resume", uuid)
	if got := p.Wait(); got != 7 {
		t.Errorf("status %d, want 7\n%s", got, p.Output())
	}
	p, uuid = t.Start(nil, nil, "trap 'exit 9' TERM; "+wait)
	t.Host.Must("pause", uuid)
	t.Host.Must("stop", uuid)
	if got := p.Wait(); got != 9 {
		t.Errorf("stopped while it was paused: status %d, want 9", got)
	}
}

// sockets: a socket that the caller of rkt has bound is the app's descriptor 3.
func sockets(t *T) {
	p := t.Host.StartBy([]string{"systemd-socket-activate", "--listen=127.0.0.1:18081", "--fdname=web", "--setenv=TMPDIR=" + os.TempDir()},
		t.Args([]string{"--port=web:tcp:80:socket"}, nil, "echo $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$ && readlink /proc/$$/fd/3 | cut -d: -f1")...)
	p.Expect("Listening on")
	c, err := net.Dial("tcp", "127.0.0.1:18081") // for which it starts rkt
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := p.Wait(); got != 0 || !strings.Contains(p.Output(), "1 web\nsocket\n") {
		t.Errorf("status %d\n%s", got, p.Output())
	}
}

// readiness: who has started rkt hears that the pod is ready, and that it stops.
func readiness(t *T) {
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = l.SetReadDeadline(time.Now().Add(rkt.Patience))
	hear := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		for text := ""; !strings.Contains("\n"+text, "\n"+want); {
			n, err := l.Read(b)
			if text = string(b[:max(n, 0)]); err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
		}
	}
	t.Host.Env = append(slices.Clone(t.Host.Env), "NOTIFY_SOCKET="+l.LocalAddr().String())
	p, _ := t.Start(nil, nil, "trap 'exit 9' TERM; env | grep NOTIFY; "+wait)
	hear("READY=1")
	p.Signal(unix.SIGTERM)
	hear("STOPPING=1")
	if got := p.Wait(); got != 9 || strings.Contains(p.Output(), "NOTIFY") {
		t.Errorf("status %d, want 9\n%s", got, p.Output())
	}
}

// dial reads what a server says, and waits for it to listen.
func dial(t *T, addr string) string {
	t.Helper()
	for until := time.Now().Add(rkt.Patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.SetDeadline(until)
			b, _ := io.ReadAll(c)
			_ = c.Close()
			if len(b) > 0 {
				return string(b)
			}
		}
		if time.Now().After(until) {
			t.Fatalf("nobody answers at %s: %v", addr, err)
		}
	}
}
