// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
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

// Run is the `run` entry point: it starts the machine and the pod in it, and stands
// for the pod until that has ended. words are what a manifest has behind "run".
func Run(words []string) (int, error) {
	runtime.LockOSThread() // with this thread ends the keeper
	opts, err := parseWords(words)
	if err != nil {
		return 0, err
	}
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
	if err := fits(doc); err != nil {
		return 0, err
	}
	r := &runner{doc: doc, lock: lock, noted: map[string]string{}, killed: map[string]int{}, times: opts.times}
	if r.events, err = poddir.OpenEvents("."); err != nil {
		return 0, err
	}
	signal.Ignore(unix.SIGPIPE) // a word on a stderr that nobody reads must not end the pod
	signals := poddir.Signals()
	r.events.Note(contract.RunLine(os.Getpid(), time.Now().UnixNano()))
	status, err := r.run(opts.accelerator, signals)
	r.giveBack()
	return status, err
}

type runner struct {
	doc     *contract.Pod
	lock    int
	events  *poddir.EventLog
	console console
	network *podNetwork // nil without one
	times   bool        // to be printed
	greeted time.Time

	mu       sync.Mutex
	keeper   int
	pod      *session          // nil until the guest is there
	early    []unix.Signal     // until then
	noted    map[string]string // of the apps: the last kind of event
	killed   map[string]int    // and how many were killed for memory
	stopping bool
}

// machine is one that was started, whose guest has greeted.
type machine struct {
	link *link
	lost chan error // what ended the link
}

func (r *runner) run(accelerator string, signals chan os.Signal) (int, error) {
	group, err := openCgroup(r.doc)
	if err != nil {
		return 0, err
	}
	if r.network, err = openNetwork(r.doc); err != nil {
		return 0, err
	}
	// Passing one on may wait for a guest that reads nothing: the time to stop runs
	// all the same.
	passing := make(chan unix.Signal, 64)
	go func() {
		for sig := range passing {
			r.signal(sig)
		}
	}()
	go func() {
		for sig := range signals {
			r.arm(sig.(unix.Signal))
			select {
			case passing <- sig.(unix.Signal):
			default: // a guest that reads nothing misses it, as one with it pending would
			}
		}
	}()
	m, err := r.comeUp(tries(accelerator), group)
	if err != nil {
		return 0, err
	}
	return r.attend(m)
}

// comeUp boots a machine in the first of some ways that works.
func (r *runner) comeUp(list []try, group int) (m *machine, err error) {
	for _, try := range list {
		began := time.Now()
		m, err = r.boot(try, group)
		var refused *refusedError
		if errors.As(err, &refused) {
			return nil, err
		}
		if again := try.found(err == nil, time.Since(began)); err == nil || !again || r.isStopping() {
			break
		}
		if err := renew(r.doc); err != nil {
			return nil, err
		}
	}
	return m, err
}

// boot starts the keeper and waits for the guest's greeting. With an error there is
// no keeper any more.
func (r *runner) boot(try try, group int) (*machine, error) {
	began := time.Now()
	control, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	output, consoleEnd, err := socketPair()
	if err != nil {
		return nil, err
	}
	keeper, err := startKeeper(try.accelerator, group, theirs, consoleEnd, r.lock, r.network.devices())
	if err != nil {
		return nil, err
	}
	theirs.Close()
	consoleEnd.Close()
	r.mu.Lock()
	r.keeper = keeper
	r.mu.Unlock()
	r.events.Note(contract.InitLine(keeper, time.Now().UnixNano()))
	failpoint.Hit("kvm/keeper")
	go r.console.read(output)
	l := &link{w: wire.NewWriter(endpoint(control.Fd())), event: r.event, greeted: make(chan wire.Greeting, 1), entered: map[uint32]*caller{}}
	m := &machine{link: l, lost: make(chan error, 1)}
	go func() {
		m.lost <- l.hear(wire.NewReader(endpoint(control.Fd()), wire.MaxPayload))
		runtime.KeepAlive(control)
	}()
	limit := try.limit
	if !vmm.ServesFiles() {
		limit += diskLimit
	}
	select {
	case g := <-l.greeted:
		if g.Version == wire.Version {
			r.printTimes(time.Since(began), g)
			return m, nil
		}
		err = fmt.Errorf("cannot run pod %s: the guest speaks version %d of the protocol, this is %d", r.doc.UUID, g.Version, wire.Version)
	case err = <-m.lost:
		_, err = r.gone(0, err)
		return nil, err
	case <-time.After(limit):
		err = r.console.explain(fmt.Errorf("cannot run pod %s: its virtual machine did not come up within %v (%s)", r.doc.UUID, limit, try.accelerator))
	}
	_, _ = r.end()
	return nil, err
}

// diskLimit is how long the making of disks may take.
const diskLimit = 5 * time.Minute

// printTimes says how long the parts of a boot took: what is not the guest's own is
// that of the machine's programs.
func (r *runner) printTimes(all time.Duration, g wire.Greeting) {
	if r.greeted = time.Now(); !r.times {
		return
	}
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + " ms" }
	fmt.Fprintf(os.Stderr, "stage1: programs and firmware %s, kernel %s, modules %s, port %s\n", ms(all-time.Duration(g.Port)),
		ms(time.Duration(g.Kernel)), ms(time.Duration(g.Modules-g.Kernel)), ms(time.Duration(g.Port-g.Modules)))
}

// end ends the machine, of which nothing is left then, and returns the keeper's
// status.
func (r *runner) end() (int, error) {
	r.mu.Lock()
	keeper := r.keeper
	r.keeper = 0
	r.mu.Unlock()
	if keeper == 0 {
		return 0, errors.New("cannot end a virtual machine that has ended")
	}
	_ = unix.Kill(keeper, unix.SIGKILL)
	return wait.For(keeper)
}

// gone is what a machine's end by itself means. A killed one has the status of that;
// what else there is to say is the keeper's.
func (r *runner) gone(status int, cause error) (int, error) {
	end, err := r.end()
	switch {
	case errors.Is(cause, wire.ErrProtocol):
		return 0, r.console.explain(fmt.Errorf("cannot trust the guest of pod %s: %w", r.doc.UUID, cause))
	case err != nil:
		return 0, err
	case end == 128+int(unix.SIGKILL):
		return end, errKilled
	}
	err = r.console.explain(fmt.Errorf("cannot run pod %s: its virtual machine has ended with status %d", r.doc.UUID, end))
	if end == keeperFailed {
		err = &refusedError{err}
	}
	return 0, err
}

// keeperFailed is the status of a keeper that could not do its part, and has said why.
const keeperFailed = 254

// refusedError is of a keeper that failed: nothing is learned of the accelerator.
type refusedError struct{ error }

// errKilled is a machine that `stop --force`, or somebody else, has killed.
var errKilled = errors.New("the virtual machine was killed")

// attend has the guest run the pod, until that, or the machine, has ended, of which
// nothing is left then.
func (r *runner) attend(m *machine) (int, error) {
	l := m.link
	terminal := r.doc.Interactive && pty.IsTerminal(0)
	pod := newSession(l.w, podChannel, "", nil, terminal, r.readsStdin() && !terminal)
	defer l.close()
	status, err := r.live(m, pod)
	if err == nil {
		_, err = r.end()
		return status, err
	}
	pod.end(0, nil) // the terminal is the caller's again, before there is a word
	select {
	case <-pod.ended:
	case <-time.After(drain): // the caller does not read: what is left is lost
		pod.giveTerminalBack()
	}
	var lost *lostError
	if errors.As(err, &lost) {
		if status, err = r.gone(0, lost.error); err == errKilled {
			err = nil
		}
		return status, err
	}
	_, werr := r.end()
	return 0, errors.Join(err, werr)
}

// drain is how long a caller has to read what is left when the machine is gone.
const drain = 2 * time.Second

// lostError is the end of the link to a guest.
type lostError struct{ error }

func (r *runner) live(m *machine, pod *session) (int, error) {
	l := m.link
	boot := wire.Machine{Pod: string(guestDocument(r.doc).Encode()), Time: time.Now().UnixNano(), Logs: logged(r.doc), Disks: !vmm.ServesFiles()}
	r.network.describe(&boot)
	if err := l.w.Write(wire.Frame{Kind: wire.Boot, Payload: boot.Encode()}); err != nil {
		return 0, &lostError{<-m.lost}
	}
	listen, err := listenAt(socketName)
	if err != nil {
		return 0, err
	}
	defer os.Remove(socketName)
	l.setPod(pod)
	if err := pod.start(); err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.pod = pod
	early := r.early
	r.mu.Unlock()
	for _, sig := range early {
		pod.signal(sig)
	}
	go l.serve(listen)
	select {
	case <-pod.ended:
		if pod.err != nil {
			return 0, fmt.Errorf("cannot run pod %s in its virtual machine: %w", r.doc.UUID, pod.err)
		}
		return pod.status, nil
	case err := <-m.lost:
		return 0, &lostError{err}
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

// arm sees to it that a guest that does not end in its time after SIGTERM is ended.
func (r *runner) arm(sig unix.Signal) {
	r.mu.Lock()
	first := sig == unix.SIGTERM && !r.stopping
	r.stopping = r.stopping || first
	r.mu.Unlock()
	if first {
		time.AfterFunc(time.Duration(r.doc.StopSeconds)*time.Second+grace, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.keeper > 0 {
				_ = unix.Kill(r.keeper, unix.SIGKILL)
			}
		})
	}
}

// signal passes sig on.
func (r *runner) signal(sig unix.Signal) {
	r.mu.Lock()
	pod := r.pod
	if pod == nil {
		r.early = append(r.early, sig)
	}
	r.mu.Unlock()
	if pod != nil {
		pod.signal(sig)
	}
}

func (r *runner) isStopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping
}

// grace is what a guest has beside its apps' time to end.
const grace = 10 * time.Second

// event takes a line of the pod's events in the guest. What it says of time and
// pids is not the host's.
func (r *runner) event(line string) error {
	e := contract.ParseEvents(line)
	now := time.Now().UnixNano()
	for name, a := range e.Apps {
		if r.doc.App(name) == nil {
			return fmt.Errorf("%w: an event of no app", wire.ErrProtocol)
		}
		r.mu.Lock()
		before, killed, keeper := r.noted[name], r.killed[name], r.keeper
		r.mu.Unlock()
		after, text := before, ""
		switch {
		case a.Ended && before == "started":
			after, text = "exited", contract.ExitedLine(name, a.Status&0xff, now)
		case a.OOMKills > 0 && killed == 0 && before == "started": // once: each line stays in a file of the host
			killed, text = int(a.OOMKills), contract.OOMLine(name, a.OOMKills, now)
		case !a.Started.IsZero() && before == "":
			after, text = "started", contract.StartedLine(name, keeper, now)
			if r.times {
				fmt.Fprintf(os.Stderr, "stage1: app %s after %d ms more\n", name, time.Since(r.greeted).Milliseconds())
			}
		default:
			return fmt.Errorf("%w: an event out of turn", wire.ErrProtocol)
		}
		r.mu.Lock()
		r.noted[name], r.killed[name] = after, killed
		r.mu.Unlock()
		r.events.Note(text)
	}
	return nil
}

// giveBack gives back what the pod has of the host's.
func (r *runner) giveBack() {
	if err := r.network.release(); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
	}
	if err := cgroup.RemoveAll(r.doc.CgroupDirs(), r.doc.Aside()); err != nil {
		fmt.Fprintln(os.Stderr, "stage1:", err)
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

func (c *console) read(f *os.File) {
	defer f.Close()
	buf := make([]byte, 4096)
	for {
		n, err := endpoint(f.Fd()).Read(buf)
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
