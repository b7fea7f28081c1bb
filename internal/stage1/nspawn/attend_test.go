// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/native"
)

// pod is a runner of two apps whose systemd-nspawn is a program that does nothing.
func pod(t *testing.T) (r *runner, events func() string, call func() native.Control) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, app := range []string{"one", "two"} {
		if err := os.MkdirAll("cgroup/"+app, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("cgroup/"+app+"/cgroup.kill", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(contract.File, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	r = &runner{
		doc:  &contract.Pod{UUID: "0c4b1f5e-0000-4000-8000-000000000001", Cgroup: dir + "/cgroup", Apps: []contract.App{{Name: "one"}, {Name: "two"}}},
		apps: map[string]*running{}, handed: make([]assemble.Handed, 2), documentPath: contract.File,
		news: make(chan event, 64), signals: make(chan os.Signal, 16), heard: make(chan string, 1),
	}
	r.name(r.doc)
	var err error
	if r.events, err = poddir.OpenEvents("."); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.nspawn.pid = cmd.Process.Pid
	if r.nspawn.fd, err = pidfd.Open(r.nspawn.pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); unix.Close(r.nspawn.fd) })
	go func() {
		_ = cmd.Wait()
		r.news <- event{kind: eventNspawn, status: 137}
	}()
	// A path of its own: a socket's must be short.
	short, err := os.MkdirTemp("", "rkt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	listen, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(listen, &unix.SockaddrUnix{Name: short + "/s"})
	}
	if err == nil {
		err = unix.Listen(listen, 64)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Shutdown(listen, unix.SHUT_RDWR) })
	go r.accept(listen)
	events = func() string {
		b, err := os.ReadFile(filepath.Join(dir, contract.EventsFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	call = func() native.Control {
		t.Helper()
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: short + "/s"})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return native.Control(fd)
	}
	return r, events, call
}

type outcome struct {
	status int
	err    error
}

func attend(r *runner) chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		status, err := r.attend()
		ended <- outcome{status, err}
	}()
	return ended
}

// say sends a message; a run that has hung up is no failure.
func say(c native.Control, kind, app string, number int) {
	_ = c.Send(contract.Message{Kind: kind, App: app, Number: number}, -1)
}

// given tells whether `run` has given what is the app's to who is at c, and waits
// for it, or for run to hang up.
func given(c native.Control) bool {
	p, err := receivePossessions(int(c))
	if err != nil {
		return false
	}
	// Not the host's own file, and nothing that could be changed.
	if f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(p.document), os.O_RDWR, 0); err == nil {
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			panic("the pod's document can be written to")
		}
		f.Close()
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.document, &st); err != nil || st.Size != 2 || st.Nlink != 0 {
		panic("the pod's document is handed over as what it is on the host")
	}
	for _, fd := range append([]int{p.document, p.kill, p.stdio[0], p.stdio[1], p.stdio[2]}, p.groups...) {
		unix.Close(fd)
	}
	return true
}

// TestBootLimit: systemd that comes to nothing ends in an error that says so.
func TestBootLimit(t *testing.T) {
	was := bootTime
	bootTime = 50 * time.Millisecond
	defer func() { bootTime = was }()
	r, _, _ := pod(t)
	got := <-attend(r)
	if got.err == nil || !strings.Contains(got.err.Error(), `cannot run app "one": systemd in the pod has not come to it within 50ms`) {
		t.Errorf("%+v", got)
	}
}

// TestServiceFails: what systemd tells of a service that did not start is the error,
// and nothing in it is an order to a terminal.
func TestServiceFails(t *testing.T) {
	r, _, call := pod(t)
	ended := attend(r)
	c := call()
	_ = c.Send(contract.Message{Kind: messageFailed, App: "none"}, -1) // is nobody's
	c = call()
	_ = c.Send(contract.Message{Kind: messageFailed, App: "two", Text: "exit-code, exited, 203\x1b[2J" + strings.Repeat("x", 500)}, -1)
	got := <-ended
	if got.err == nil || !strings.Contains(got.err.Error(), `cannot run app "two": systemd in the pod cannot start its service: exit-code, exited, 203?[2J`) || len(got.err.Error()) > 300 {
		t.Errorf("%+v", got)
	}
}

// TestStrangers: who is root in the machine can reach the control socket, and gets
// nothing by that which is another app's, nor can tell of another app, nor write to
// the pod's events as often as it likes.
func TestStrangers(t *testing.T) {
	r, events, call := pod(t)
	r.nspawn.pid = pidfd.Parent(os.Getppid()) // and so this process is a service
	ended := attend(r)
	for range guests - 1 {
		call() // and says nothing
	}
	unknown := call()
	for range 5 {
		say(unknown, messageHello, "three", 0)
		say(unknown, contract.MessageStarted, "one", 0)
		say(unknown, contract.MessageExited, "one", 7)
	}
	if given(unknown) {
		t.Error("an app that is not there was given something")
	}
	one := call()
	say(one, messageHello, "one", 0)
	if !given(one) {
		t.Fatal("app one was given nothing")
	}
	again := call()
	for range 5 {
		say(again, messageHello, "one", 0)
		say(again, contract.MessageExited, "one", 7)
	}
	if given(again) {
		t.Error("app one was given what is its twice")
	}
	two := call()
	say(two, messageHello, "two", 0)
	if !given(two) {
		t.Fatal("app two was given nothing")
	}
	for range 5 {
		say(two, contract.MessageStarted, "one", 0)
		say(two, contract.MessageTTY, "one", 0)
	}
	say(two, contract.MessageExited, "one", 300)
	say(two, contract.MessageExited, "one", 0)
	for range 5 {
		say(one, contract.MessageStarted, "one", 0)
	}
	say(one, contract.MessageExited, "one", 0)
	got := <-ended
	if got.status != 300&0xff || got.err != nil {
		t.Errorf("%+v", got)
	}
	var kinds []string
	for line := range strings.Lines(events()) {
		f := strings.Fields(line)
		if len(f) > 2 && f[0] == "exited" {
			f[1] += " " + f[2]
		}
		if f[0] == "init" {
			f[1] = "pid"
		}
		kinds = append(kinds, f[0]+" "+f[1])
	}
	counted := map[string]int{}
	for _, k := range kinds {
		counted[k]++
	}
	for _, k := range []string{"init pid", "started one", "started two", "exited one 0", "exited two 44"} {
		if counted[k] != 1 {
			t.Errorf("event %q is there %d times", k, counted[k])
		}
	}
	if len(kinds) != 5 {
		t.Errorf("events: %q", kinds)
	}
}

// TestNobodyElsesService: a process that systemd has not started is given nothing.
func TestNobodyElsesService(t *testing.T) {
	r, _, call := pod(t)
	ended := attend(r)
	c := call()
	say(c, messageHello, "one", 0) // whose parent's parent is not systemd-nspawn
	if given(c) {
		t.Error("it was given what is app one's")
	}
	r.news <- event{kind: eventForce}
	if got := <-ended; got.err == nil || !strings.Contains(got.err.Error(), "ended before app one was started") {
		t.Errorf("%+v", got)
	}
}
