// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// socketName, in the pod's directory, is where `enter` finds `run`.
const socketName = contract.PrivateDir + "/kvm"

// bootLimit is how long a machine has until its guest greets; one that takes longer
// hangs. Under emulation a busy host needs a multiple of the usual 2 s.
const bootLimit = 90 * time.Second

// Run is the `run` entry point: it starts the machine and the pod in it, and stands
// for the pod until that has ended.
func Run() (int, error) {
	runtime.LockOSThread() // with this thread ends the keeper
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	lock, err := poddir.Descriptor(contract.EnvLockFD)
	if err != nil {
		return 0, err
	}
	if _, err := installed(); err != nil {
		return 0, err
	}
	r := &runner{doc: doc, lock: lock, noted: map[string]string{}}
	if r.events, err = os.OpenFile(contract.EventsFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o644); err != nil {
		return 0, fmt.Errorf("cannot note the pod's events: %w", err)
	}
	signal.Ignore(unix.SIGPIPE) // a word on a stderr that nobody reads must not end the pod
	signals := make(chan os.Signal, 16)
	for _, sig := range contract.Signals {
		if !signal.Ignored(sig) { // nohup and the like keep their meaning
			signal.Notify(signals, sig)
		}
	}
	r.note(contract.RunLine(os.Getpid(), time.Now().UnixNano()))
	status, err := r.run(signals)
	r.giveBack()
	return status, err
}

type runner struct {
	doc     *contract.Pod
	lock    int
	events  *os.File
	keeper  int
	console console
	pod     *session

	mu       sync.Mutex
	noted    map[string]string // of the apps: the last kind of event
	stopping bool
}

func (r *runner) run(signals chan os.Signal) (int, error) {
	group, err := r.openCgroup()
	if err != nil {
		return 0, err
	}
	control, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	output, consoleEnd, err := socketPair()
	if err != nil {
		return 0, err
	}
	if r.keeper, err = startKeeper(vmm.TCG, group, theirs, consoleEnd, r.lock, nil); err != nil {
		return 0, err
	}
	theirs.Close()
	consoleEnd.Close()
	go r.console.read(endpoint(output.Fd()))
	r.note(contract.InitLine(r.keeper, time.Now().UnixNano()))
	failpoint.Hit("kvm/keeper")
	status, err := r.attend(int(control.Fd()), signals)
	runtime.KeepAlive(control)
	runtime.KeepAlive(output)
	return status, err
}

// attend speaks to the guest until the pod, or the machine, has ended, of which
// nothing is left then.
func (r *runner) attend(control int, signals chan os.Signal) (int, error) {
	l := &link{w: wire.NewWriter(endpoint(control)), event: r.event, greeted: make(chan wire.Greeting, 1), entered: map[uint32]*caller{}}
	terminal := r.doc.Interactive && pty.IsTerminal(0)
	r.pod = newSession(l.w, podChannel, "", nil, terminal, r.readsStdin() && !terminal)
	l.pod = r.pod
	go func() {
		for sig := range signals {
			r.signal(sig.(unix.Signal))
		}
	}()
	lost := make(chan error, 1)
	go func() { lost <- l.hear(wire.NewReader(endpoint(control), wire.MaxPayload)) }()
	status, err := r.live(l, lost)
	l.close()
	_ = unix.Kill(r.keeper, unix.SIGKILL)
	end, werr := wait.For(r.keeper)
	if errors.Is(err, errGone) {
		// Killed, by `stop --force` or the kernel; or it has said why.
		if status, err = end, werr; end != 128+int(unix.SIGKILL) && err == nil {
			err = r.console.explain(fmt.Errorf("cannot run pod %s: the virtual machine has ended with status %d", r.doc.UUID, end))
		}
		r.pod.end(status, nil)
		<-r.pod.ended
	}
	return status, err
}

// errGone is the machine's end.
var errGone = errors.New("the virtual machine is gone")

func (r *runner) live(l *link, lost chan error) (int, error) {
	gone := func(err error) error {
		if errors.Is(err, wire.ErrProtocol) {
			return r.console.explain(fmt.Errorf("cannot trust the guest of pod %s: %w", r.doc.UUID, err))
		}
		return errGone
	}
	select {
	case g := <-l.greeted:
		if g.Version != wire.Version {
			return 0, fmt.Errorf("cannot run pod %s: the guest speaks version %d of the protocol, this is %d", r.doc.UUID, g.Version, wire.Version)
		}
	case err := <-lost:
		return 0, gone(err)
	case <-time.After(bootLimit):
		return 0, r.console.explain(fmt.Errorf("cannot run pod %s: its virtual machine did not come up within %v", r.doc.UUID, bootLimit))
	}
	m := wire.Machine{Pod: string(guestDocument(r.doc).Encode()), Time: time.Now().UnixNano(), Logs: logged(r.doc)}
	if err := l.w.Write(wire.Frame{Kind: wire.Boot, Payload: m.Encode()}); err != nil {
		return 0, errGone
	}
	listen, err := listenAt(socketName)
	if err != nil {
		return 0, err
	}
	defer os.Remove(socketName)
	if err := r.pod.start(); err != nil {
		return 0, err
	}
	go l.serve(listen)
	select {
	case <-r.pod.ended:
		if r.pod.err != nil {
			return 0, fmt.Errorf("cannot run pod %s in its virtual machine: %w", r.doc.UUID, r.pod.err)
		}
		return r.pod.status, nil
	case err := <-lost:
		return 0, gone(err)
	}
}

// readsStdin tells whether an app has the caller's standard input.
func (r *runner) readsStdin() bool {
	for i := range r.doc.Apps {
		if r.doc.Apps[i].Stdin == contract.Inherit {
			return true
		}
	}
	return r.doc.Interactive
}

// signal passes sig on. A guest that does not end in its time after SIGTERM is
// ended.
func (r *runner) signal(sig unix.Signal) {
	r.mu.Lock()
	first := sig == unix.SIGTERM && !r.stopping
	r.stopping = r.stopping || first
	r.mu.Unlock()
	if first {
		time.AfterFunc(time.Duration(r.doc.StopSeconds)*time.Second+grace, func() { _ = unix.Kill(r.keeper, unix.SIGKILL) })
	}
	r.pod.signal(sig)
}

// grace is what a guest has beside its apps' time to end.
const grace = 10 * time.Second

// event takes a line of the pod's events in the guest. What it says of time and
// pids is not the host's.
func (r *runner) event(line string) error {
	e := contract.ParseEvents(line)
	now := time.Now().UnixNano()
	for name, a := range e.Apps {
		if !r.has(name) {
			return fmt.Errorf("%w: an event of no app", wire.ErrProtocol)
		}
		r.mu.Lock()
		before := r.noted[name]
		r.mu.Unlock()
		after, text := before, ""
		switch {
		case a.Ended && before == "started":
			after, text = "exited", contract.ExitedLine(name, a.Status&0xff, now)
		case a.OOMKills > 0 && before == "started":
			text = contract.OOMLine(name, a.OOMKills, now)
		case !a.Started.IsZero() && before == "":
			after, text = "started", contract.StartedLine(name, r.keeper, now)
		default:
			return fmt.Errorf("%w: an event out of turn", wire.ErrProtocol)
		}
		r.mu.Lock()
		r.noted[name] = after
		r.mu.Unlock()
		r.note(text)
	}
	return nil
}

func (r *runner) has(name string) bool {
	for i := range r.doc.Apps {
		if r.doc.Apps[i].Name == name {
			return true
		}
	}
	return false
}

// openCgroup makes the machine's own cgroup in the pod's, and opens it; 0 without.
// What the pod may use of memory is what the machine has: the pod's own limit is
// not for the machine's program, which needs more.
func (r *runner) openCgroup() (int, error) {
	if r.doc.Cgroup == "" {
		return 0, nil
	}
	if _, err := os.Stat(r.doc.Cgroup); errors.Is(err, os.ErrNotExist) {
		return 0, nil // stage0 was not let
	}
	if r.doc.Controllers["memory"] == r.doc.Cgroup {
		for _, file := range []string{"memory.max", "memory.high"} {
			if err := os.WriteFile(r.doc.Cgroup+"/"+file, []byte("max"), 0); err != nil {
				return 0, fmt.Errorf("cannot give the virtual machine its memory: %w", err)
			}
		}
	}
	const own = "/.machine"
	if err := cgroup.Create(r.doc.Cgroup + own); err != nil {
		return 0, err
	}
	return cgroup.Open(r.doc.Cgroup + own)
}

func (r *runner) giveBack() {
	if err := cgroup.RemoveAll(r.doc.CgroupDirs(), r.doc.Aside()); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
}

// note appends to the pod's events. What cannot be noted is said, and the pod
// goes on.
func (r *runner) note(lines string) {
	if _, err := r.events.WriteString(lines); err != nil {
		fmt.Fprintln(os.Stderr, "stage1: cannot note the pod's events:", err)
	}
}

// socketPair makes two connected sockets.
func socketPair() (a, b *os.File, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(ends[0]), "socket"), os.NewFile(uintptr(ends[1]), "socket"), nil
}

// listenAt listens at a path, for this process's user alone.
func listenAt(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, fmt.Errorf("cannot make %s: %w", path, err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), unix.Listen(fd, 16)); err != nil {
		return -1, fmt.Errorf("cannot make %s: %w", path, err)
	}
	return fd, nil
}

// A console keeps the last that the guest's kernel has said.
type console struct {
	mu   sync.Mutex
	text []byte
}

const consoleKept = 4 << 10

func (c *console) read(in endpoint) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.text = append(c.text, buf[:n]...)
		c.text = c.text[max(len(c.text)-consoleKept, 0):]
		c.mu.Unlock()
	}
}

// explain adds to an error what the guest said last.
func (c *console) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(c.text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, printable([]byte(line)))
		}
	}
	if len(lines) == 0 {
		return err
	}
	return fmt.Errorf("%w; its console: %s", err, strings.Join(lines[max(len(lines)-3, 0):], " | "))
}
