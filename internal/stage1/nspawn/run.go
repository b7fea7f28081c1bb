// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/native"
	"github.com/rkt/rkt/internal/stage1/networks"
	"github.com/rkt/rkt/internal/stage1/notify"
)

// Run is the `run` entry point: it puts the pod together, has systemd-nspawn boot
// it, hands each app's service what is the app's, passes signals on, notes the
// pod's events, and returns its status. The pod is killed with it.
func (f Flavor) Run() (int, error) {
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	if lacking := doc.Lacking(f.Manifest().Features); lacking != "" {
		return 0, fmt.Errorf("cannot run pod %s: flavor %s lacks the feature %q", doc.UUID, f.Name, lacking)
	}
	if _, err := poddir.Descriptor(contract.EnvLockFD); err != nil {
		return 0, err
	}
	in, err := inherit()
	if err != nil {
		return 0, err
	}
	r := &runner{doc: doc, network: in.network, apps: map[string]*running{}, news: make(chan event, 64)}
	r.name(doc)
	signal.Ignore(unix.SIGPIPE) // a word on a stderr that nobody reads must not end the pod
	r.signals = poddir.Signals()
	if r.events, err = poddir.OpenEvents("."); err != nil {
		return 0, err
	}
	r.events.Note(contract.RunLine(os.Getpid(), time.Now().UnixNano()))
	if r.relay, err = notify.Parse(os.Getenv(contract.EnvNotify)); err != nil {
		return 0, err
	}
	r.nspawn.fd = -1
	defer onHost(r.giveBack)
	runtime.LockOSThread() // it is in the pod's namespaces, and the pod ends with it
	if err := r.start(f, in); err != nil {
		return 0, fmt.Errorf("cannot run pod %s: %w", doc.UUID, err)
	}
	failpoint.Hit("nspawn/started")
	return r.attend()
}

// onHost has do done in the host's namespaces, which the calling thread has left, and
// waits for it.
func onHost(do func()) {
	done := make(chan struct{})
	go func() { // the main thread is this goroutine's alone: on another
		defer close(done)
		do()
	}()
	<-done
}

// inherited are descriptors of stage0's; -1 is none.
type inherited struct {
	netns   int    // the pod's network
	network int    // of who made it
	resolv  string // what the networks say
}

func inherit() (in inherited, err error) {
	if in.netns, err = poddir.Optional(contract.EnvNetNS); err != nil {
		return in, err
	}
	if in.network, err = poddir.Optional(contract.EnvNetworkFD); err != nil {
		return in, err
	}
	in.resolv = os.Getenv(contract.EnvResolv)
	return in, native.KeepHeld()
}

// start puts the pod together on the calling thread and boots it.
func (r *runner) start(f Flavor, in inherited) error {
	s, err := f.software()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	journal, err := openJournal(r.doc, dir)
	if err != nil {
		return err
	}
	failpoint.Hit("nspawn/journal")
	w := assemble.Wants{HostIPC: r.doc.HostIPC, BareProc: r.doc.Insecure.Paths, Machine: true}
	if r.doc.Network != contract.NetworkHost {
		if in.netns < 0 {
			return fmt.Errorf("%s is not set, and the pod is to have a network of its own", contract.EnvNetNS)
		}
		w.Network = func(int) (int, error) { return in.netns, nil }
	}
	a, err := assemble.Begin(w)
	if err != nil {
		return err
	}
	if in.netns >= 0 {
		unix.Close(in.netns) // the thread is in it
	}
	if r.handed, err = lay(a, r.doc, dir, in.resolv); err != nil {
		return err
	}
	for i := range r.handed {
		if fd := r.handed[i].Notify; fd > 0 && r.relay != nil {
			r.relay.Sockets = append(r.relay.Sockets, notify.Socket{App: r.doc.Apps[i].Name, FD: fd})
			r.relay.Starting--
		}
	}
	failpoint.Hit("nspawn/laid")
	go r.relay.Serve()
	m, err := s.build(r.doc, r.handed, journal)
	if err != nil {
		return err
	}
	said, err := r.hear()
	if err != nil {
		return err
	}
	r.documentPath = filepath.Join(dir, contract.File)
	go r.accept(m.listen)
	if r.nspawn.pid, err = s.boot(r.doc, said); err != nil {
		return err
	}
	failpoint.Hit("nspawn/booted")
	unix.Close(said)
	// Not waited for yet, so the pid is still its own.
	if r.nspawn.fd, err = pidfd.Open(r.nspawn.pid); err != nil {
		return err
	}
	go r.waitNspawn()
	return nil
}

// lay has the apps' roots mounted, with all that is in them.
func lay(a *assemble.Assembly, doc *contract.Pod, path, resolv string) ([]assemble.Handed, error) {
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	roots, err := assemble.Roots(doc)
	if err != nil {
		return nil, err
	}
	if err := a.Lay(doc, dir, roots); err != nil {
		return nil, err
	}
	if resolv != "" && doc.Resolv == nil && !doc.NoNetworkDNS {
		if err := a.Resolv(resolv); err != nil {
			return nil, err
		}
	}
	return a.Hand()
}

// giveBack gives back what the pod has outside of its directory.
func (r *runner) giveBack() {
	r.relay.Hear() // its last words
	forgotten := native.Forget()
	r.terminal.Restore()
	unlinkJournal(r.doc)
	failpoint.Hit("nspawn/ended")
	for _, err := range []error{
		removeCgroups(r.doc),
		networks.Leave(os.Getenv(contract.EnvNetwork), r.network),
		forgotten(),
	} {
		if err != nil {
			fmt.Fprintln(os.Stderr, "stage1:", err)
		}
	}
	failpoint.Hit("nspawn/given-back")
}

// give sends an app's service what is the app's.
func (r *runner) give(to int, i int) error {
	app := &r.doc.Apps[i]
	h := &r.handed[i]
	document, err := copyOf(r.documentPath)
	if err != nil {
		return err
	}
	defer document.Close()
	kill, err := unix.Open(r.doc.Cgroup+"/"+app.Name+"/cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open its cgroup: %w", err)
	}
	defer unix.Close(kill)
	p := possessions{document: int(document.Fd()), stdio: [3]int{0, 1, 2}, kill: kill, groups: h.Groups, log: -1}
	if h.Log != nil {
		p.log = int(h.Log.Fd())
	}
	return p.send(to, app.Name)
}

// copyOf is a file's text in memory, which nobody can change, to be read from its
// beginning. A descriptor of the file itself would be enough for the pod's root to
// open it once more and write (proc(5), /proc/PID/fd), and what stands in the document
// is believed on the host, by `stop`, `enter` and `gc`.
func copyOf(path string) (*os.File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate(contract.File, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), contract.File)
	if _, err = f.Write(text); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot copy the pod's document: %w", err)
	}
	return f, nil
}

// hear opens a pipe for what systemd-nspawn says; the caller closes its end.
func (r *runner) hear() (int, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	r.heard = make(chan string, 1)
	go func() {
		const most = 4 << 10
		var text []byte
		buf := make([]byte, 4<<10)
		for {
			n, err := unix.Read(ends[0], buf)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				break
			}
			text = append(text, buf[:min(n, most-len(text))]...)
		}
		unix.Close(ends[0])
		r.heard <- string(text)
	}()
	return ends[1], nil
}

// forceAfter ends the machine when its time is over.
func (r *runner) forceAfter(seconds int) {
	time.AfterFunc(time.Duration(seconds)*time.Second, func() { r.news <- event{kind: eventForce} })
}
