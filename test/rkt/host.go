// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything may take before a test gives up. It is a
// guard against hanging, never a measure.
const Patience = 60 * time.Second

// A Host is a data directory of its own, and rkt working on it.
type Host struct {
	t       testing.TB
	install Install
	Dir     string   // the data directory
	Env     []string // the environment of every rkt started from here
	Flags   []string // global flags beside --dir
	Under   []string // a program, and its arguments, that executes rkt
}

// New makes an empty data directory. When the test ends, whatever still runs
// there is killed, and what is left of it on the host after gc — a process, a
// mount, a cgroup — fails the test.
func New(t testing.TB, install Install) *Host {
	t.Helper()
	dir, err := os.MkdirTemp("", "rkt-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{t: t, install: install, Dir: filepath.Join(dir, "data"), Flags: []string{"--insecure-options=image"}}
	// Nothing of the machine's own configuration may leak into a test.
	for _, name := range []string{"system", "local", "home"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.Flags = append(h.Flags, "--system-config="+filepath.Join(dir, "system"), "--local-config="+filepath.Join(dir, "local"))
	h.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "TERM=xterm", "TMPDIR=" + os.TempDir()}
	t.Cleanup(func() {
		pods := h.Pods()
		if left := Leftovers(h.Dir, nil); left != nil {
			// A test that failed half way leaves a pod running.
			for _, line := range left {
				t.Logf("left at the end of the test: %s", line)
			}
			h.killAll()
			if !t.Failed() {
				t.Errorf("the test left %d things behind", len(left))
			}
		}
		// What a pod that was killed left, gc gives back.
		if r := h.Rkt("gc", "--grace-period=0s", "--expire-prepared=0s"); r.Status != 0 {
			t.Errorf("rkt gc at the end of the test: exit status %d\n%s", r.Status, r.Stderr)
		}
		for _, line := range Leftovers(h.Dir, pods) {
			t.Errorf("left on the host: %s", line)
		}
		if err := removeAll(dir); err != nil {
			t.Errorf("cannot remove the data directory: %v", err)
		}
	})
	return h
}

// For is the same host for another test, which is told of what goes wrong, and ends
// what it has started.
func (h *Host) For(t testing.TB) *Host {
	o := *h
	o.t = t
	return &o
}

// LocalConfig is the directory given as --local-config.
func (h *Host) LocalConfig() string { return filepath.Join(filepath.Dir(h.Dir), "local") }

// Home is the directory that rkt sees as $HOME.
func (h *Host) Home() string { return filepath.Join(filepath.Dir(h.Dir), "home") }

// A Result is what a finished rkt left.
type Result struct {
	Stdout, Stderr string
	Status         int // exit status; 128+n if signal n ended it
}

// Out is stdout without the white space around it.
func (r Result) Out() string { return strings.TrimSpace(r.Stdout) }

// Rkt runs rkt to its end.
func (h *Host) Rkt(args ...string) Result {
	h.t.Helper()
	return h.Feed("", args...)
}

// Must runs rkt and ends the test unless it succeeds.
func (h *Host) Must(args ...string) Result {
	h.t.Helper()
	r := h.Rkt(args...)
	if r.Status != 0 {
		h.t.Fatalf("rkt %s: exit status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r
}

// Feed runs rkt to its end with text as its standard input.
func (h *Host) Feed(text string, args ...string) Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := h.command(ctx, args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		h.t.Fatalf("rkt %s: still running after %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), Patience, &stdout, &stderr)
	}
	r := Result{stdout.String(), stderr.String(), status(h.t, cmd, err)}
	h.t.Logf("rkt %s → %d", strings.Join(args, " "), r.Status)
	return r
}

func (h *Host) command(ctx context.Context, args []string) *exec.Cmd {
	argv := slices.Concat(h.Under, []string{h.install.Bin("rkt"), "--dir=" + h.Dir}, h.Flags, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = h.Env
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func status(t testing.TB, cmd *exec.Cmd, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("cannot run rkt: %v", err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// A Process is an rkt that runs beside the test.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *transcript
	ended  chan struct{}
	status int
}

// Start starts rkt with its output, both streams together, on a pipe.
func (h *Host) Start(args ...string) *Process {
	h.t.Helper()
	cmd := h.command(context.Background(), args)
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	p := h.start(cmd, r)
	_ = w.Close()
	return p
}

// StartBy is Start by a program that executes rkt in its own place: argv, with
// rkt and its arguments behind.
func (h *Host) StartBy(argv []string, args ...string) *Process {
	h.t.Helper()
	cmd := h.command(context.Background(), args)
	path, err := exec.LookPath(argv[0])
	if err != nil {
		h.t.Skip("needs " + argv[0])
	}
	cmd.Path, cmd.Args = path, append(append([]string(nil), argv...), cmd.Args...)
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	p := h.start(cmd, r)
	_ = w.Close()
	return p
}

func (h *Host) start(cmd *exec.Cmd, r *os.File) *Process {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	p := &Process{t: h.t, cmd: cmd, out: newTranscript(), ended: make(chan struct{})}
	go func() {
		_, _ = io.Copy(p.out, r)
		p.out.close()
	}()
	go func() {
		_ = cmd.Wait()
		ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.status = ws.ExitStatus()
		if ws.Signaled() {
			p.status = 128 + int(ws.Signal())
		}
		close(p.ended)
	}()
	h.t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = cmd.Process.Kill()
			<-p.ended
		}
		_ = r.Close()
		if h.t.Failed() {
			h.t.Logf("output of rkt %s:\n%s", strings.Join(cmd.Args[1:], " "), p.out.String())
		}
	})
	return p
}

// PID is the process's id: that of rkt, and later that of stage1.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig to the process alone.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.PID(), sig); err != nil {
		p.t.Fatalf("cannot send %v to rkt: %v", sig, err)
	}
}

// Expect waits until text appears in the output, after what earlier calls
// found, and ends the test if the output ends without it.
func (p *Process) Expect(text string) {
	p.t.Helper()
	if err := p.out.expect(text, Patience); err != nil {
		p.t.Fatalf("waiting for %q: %v; output so far:\n%s", text, err, p.out.String())
	}
}

// Output is everything the process has printed until now.
func (p *Process) Output() string { return p.out.String() }

// Wait waits for the end of the process and of its output, and returns the
// exit status, 128+n for signal n.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		p.out.drain(Patience)
		return p.status
	case <-time.After(Patience):
		p.t.Fatalf("rkt %s is still running after %s; output:\n%s", strings.Join(p.cmd.Args[1:], " "), Patience, p.out.String())
		return 0
	}
}

// Shell runs a script of the host's shell to its end.
func (h *Host) Shell(script string) Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = h.Env, &stdout, &stderr, 5*time.Second
	err := cmd.Run()
	return Result{stdout.String(), stderr.String(), status(h.t, cmd, err)}
}
