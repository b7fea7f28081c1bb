// SPDX-License-Identifier: Apache-2.0

// Package launch is the last of stage0: it hands a prepared pod to its flavor
// of stage1, by the contract.
package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/sched"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/users"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/notify"
)

// A Start is a pod that is being started: it is assembled, and in the end becomes
// the flavor's `run`, on the thread of the goroutine that calls its methods. The
// first process is killed when the thread that made it ends.
type Start struct {
	flavor   Flavor
	wants    wants // what the assembly was begun for
	env      []string
	control  int // stage0's, and then `run`'s, end of the control socket
	inside   int // init's end
	init     int // pid of the pod's first process; 0 before and without
	network  int // descriptor of a network namespace of its own, -1 without
	assembly *assemble.Assembly
	joining  *attachment  // the pod's networks; nil without
	users    *users.Range // the pod's own; nil without
	sockets  [][]contract.InheritedSocket
	clock    Clock
	machineState
	relay   *notify.Relay // to the service manager; nil without
	journal string        // assemble.Way's

	caught    []os.Signal // those that signals gets
	signals   chan os.Signal
	forwarded chan struct{} // closed when no more is forwarded; nil before
}

// wants is what of a document the assembly has to know from the beginning.
type wants struct {
	hostNetwork, hostIPC, bareProc bool
	users                          contract.Users // as asked for
}

// wanted takes an empty network for one of the pod's own, as that is the default.
func wanted(doc *contract.Pod) wants {
	return wants{doc.Network == "host", doc.HostIPC, doc.Insecure.Paths, doc.Users}
}

// A Clock is told of the steps of a start, and to show them. It is safe for use
// by several goroutines.
type Clock interface {
	Mark(step string, at time.Time)
	Print()
}

// calm tells that Calm has done something.
var calm bool

// Calm keeps Go's monitor from taking the processor from what starts a pod: it
// wakes every 70 µs, which costs a start a twentieth of its time. The program
// calls it once and early; it has no effect on the pod.
func Calm() {
	// Not if the caller chose how rkt is to be scheduled.
	if p, err := sched.Get(0); err != nil || p != sched.Normal {
		return
	}
	// It is the first thread that the runtime makes.
	if monitor := sched.Second(); monitor > 0 {
		calm = sched.Set(monitor, sched.Batch) == nil
	}
}

// Begin begins to assemble a pod. Of doc only the network, HostIPC, Users and
// Insecure are looked at, so that the rest may be written meanwhile, by another
// goroutine.
// A flavor without `init` assembles pods itself. clock may be nil.
//
// The calling goroutine is locked to its thread, which is in the pod's
// namespaces from then on and has a working directory of its own, until Abort,
// which must follow unless Exec does.
func Begin(f Flavor, doc *contract.Pod, clock Clock) (*Start, error) {
	runtime.LockOSThread()
	if p, err := sched.Get(0); calm && (err != nil || p != sched.Normal) {
		// The monitor made this thread, and the pod inherits from it.
		if err := sched.Set(0, sched.Normal); err != nil {
			return nil, err
		}
	}
	if err := keepDescriptors(); err != nil {
		return nil, err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	s := &Start{flavor: f, env: environment(), control: ends[0], inside: ends[1], network: -1, clock: clock,
		wants: wanted(doc)}
	failpoint.Hit("launch/begin")
	if s.joining, err = beginNetwork(doc); err != nil {
		s.Abort()
		return nil, err
	}
	if s.assembled() {
		if err := s.assemble(); err != nil {
			s.Abort()
			return nil, err
		}
		s.mark("assembly begun", time.Now())
	}
	return s, nil
}

// keepDescriptors: what the caller of rkt left open is not the pod's.
func keepDescriptors() error {
	return os.NewSyscallError("close_range", unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC))
}

func (s *Start) mark(step string, at time.Time) {
	if s.clock != nil {
		s.clock.Mark(step, at)
	}
}

func (s *Start) print() {
	if s.clock != nil {
		s.clock.Print()
	}
}

// assembled tells whether stage0 assembles the flavor's pods.
func (s *Start) assembled() bool { return len(s.flavor.Manifest.Entrypoints["init"]) > 0 }

// assemble begins the assembly that is wanted, with a range of users if the pod is
// to have its own. What an earlier one had is the caller's to end.
func (s *Start) assemble() (err error) {
	w := assemble.Wants{HostIPC: s.wants.hostIPC, BareProc: s.wants.bareProc}
	if s.wants.users.Private() {
		if s.users, err = users.OfMachine().Take(s.wants.users); err != nil {
			return err
		}
		w.Users = s.users.Users
	}
	if !s.wants.hostNetwork {
		w.Network = func(made int) (fd int, err error) {
			if s.network = made; made < 0 {
				s.network, err = assemble.NewNetwork()
			}
			return s.network, err
		}
	}
	s.assembly, err = assemble.Begin(w)
	return err
}

// Lay makes what the pod needs but for its start: its directory, which was dir a
// moment ago, has the apps' writable directories by now. The rest of it may still
// be written meanwhile, and the directory go on to phase run.
func (s *Start) Lay(doc *contract.Pod, path string) (err error) {
	if err := s.rejoin(doc); err != nil {
		return err
	}
	if !s.assembled() {
		return nil
	}
	if s.wants != wanted(doc) {
		// A manifest knew better than the command line.
		if err := s.assembly.Leave(); err != nil {
			return err
		}
		if s.network >= 0 {
			unix.Close(s.network)
			s.network = -1
		}
		s.users.Close()
		s.users = nil
		s.wants = wanted(doc)
		if err := s.assemble(); err != nil {
			return err
		}
	}
	// By path: what was opened in the host's mount namespace cannot be mounted here.
	dir, err := openDir(path)
	if err == unix.ENOENT && len(doc.Apps) > 0 {
		upper := doc.Apps[0].Upper
		dir, err = openDir(strings.TrimSuffix(upper, "/"+lifecycle.Below(upper)))
	}
	if err != nil {
		return fmt.Errorf("cannot open the pod's directory: %w", err)
	}
	roots, err := mountRoots(doc, dir, s.assembly)
	if err != nil {
		unix.Close(dir)
		return err
	}
	s.mark("roots mounted", time.Now())
	return s.assembly.Lay(doc, dir, roots)
}

// Abort ends what Begin began, and takes the thread back to the host.
func (s *Start) Abort() {
	for _, fd := range []int{s.control, s.inside, s.network} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	s.control, s.inside, s.network = -1, -1, -1
	s.joining.end()
	if s.init > 0 {
		_ = unix.Kill(s.init, unix.SIGKILL)
		_, _ = wait.For(s.init)
		s.init = 0
	}
	if s.assembly != nil {
		_ = s.assembly.Leave() // the error that brought us here is the one to be told
		s.assembly = nil
	}
	s.users.Close()
	s.users = nil
}

// Journal is JOURNAL_STREAM (systemd.exec(5)): what apps write to the stream that it
// speaks of goes to the journal as theirs.
func (s *Start) Journal(variable string) { s.journal = variable }

// Sockets are given to the apps, those of each in the document's order. They are
// open, and closed on exec; the kernel closes them with this process.
func (s *Start) Sockets(list [][]contract.InheritedSocket) { s.sockets = list }

// Exec gives the pod to its flavor and replaces this process by the flavor's
// `run`, unless the pod ends before that is worth while: then it returns the
// pod's exit status. With an error, no process of the pod is left. Lay must have
// been called.
func (s *Start) Exec(r *Ready) (int, error) {
	status, ended, err := s.exec(r)
	if !ended {
		s.Abort()
		err = errors.Join(err, s.part()())
	}
	return status, err
}

func (s *Start) exec(r *Ready) (status int, ended bool, err error) {
	lock := int(r.Pod.LockFile().Fd())
	defer runtime.KeepAlive(r.Pod) // its finalizer would close the lock
	if s.assembled() {
		o, err := s.start(r, lock)
		s.listen(r.Doc)
		if err != nil {
			removeCgroup(r.Doc)
			return 0, false, err
		}
		if status, ended, err := s.attend(r, o); ended || err != nil {
			return status, ended, err
		}
		if s.register { // it did not come to that
			s.becomeKnown(r.Pod.Dir())
		}
	}
	own, err := s.ownNetwork(r, lock)
	if err != nil {
		return 0, false, err
	}
	program, argv, err := s.flavor.entrypoint("run")
	if err != nil {
		return 0, false, err
	}
	if err := unix.Chdir(r.Pod.Dir()); err != nil {
		return 0, false, fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	for _, fd := range []int{lock, s.control} {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return 0, false, os.NewSyscallError("fcntl", err)
		}
	}
	env := append(s.env, contract.EnvLockFD+"="+strconv.Itoa(lock), contract.EnvControlFD+"="+strconv.Itoa(s.control),
		contract.EnvInit+"="+strconv.Itoa(s.init), contract.EnvCgroup+"="+r.Doc.Cgroup)
	if r.Doc.Limited() {
		env = append(env, contract.EnvLimited+"=1")
	}
	held, err := s.usersToRun()
	if err != nil {
		return 0, false, err
	}
	env = append(append(env, held...), own...)
	of, err := s.joining.toRun()
	if err != nil {
		return 0, false, err
	}
	env = append(env, of...)
	as, err := s.machineToRun()
	if err != nil {
		return 0, false, err
	}
	env = append(env, as...)
	told, err := s.relayToRun()
	if err != nil {
		return 0, false, err
	}
	env = append(env, told...)
	if !s.assembled() {
		if err := r.interrupted(); err != nil {
			return 0, false, err
		}
	}
	release, err := s.holdSignals()
	if err != nil {
		return 0, false, err
	}
	// Its own path will do: no pod can see this process.
	err = syscall.Exec(program, argv, env)
	release()
	return 0, false, fmt.Errorf("cannot execute stage1 %s: %w", program, err)
}

// start has the pod finished and started.
func (s *Start) start(r *Ready, lock int) (assemble.Outcome, error) {
	program, argv, err := s.flavor.entrypoint("init")
	if err != nil {
		return assemble.Outcome{}, err
	}
	resolv, err := s.join(r, lock)
	if err == nil && resolv != "" {
		err = s.assembly.Resolv(resolv)
	}
	if err != nil {
		return assemble.Outcome{}, err
	}
	s.signals, s.caught = r.signals, r.caught
	o, err := s.assembly.Start(&assemble.Way{Lock: lock, Control: s.inside,
		Held: s.users.FDs(), Journal: s.journal, Limited: r.limited, Sockets: s.sockets, Program: program, Argv: argv, Env: s.env, Moment: moment})
	s.init = o.PID
	if o.Ended && err == nil {
		return o, nil // and this process, soon: nothing is worth closing
	}
	unix.Close(s.inside)
	s.inside = -1
	return o, err
}

// Ready is a pod that is all written: in phase run, with its lock held by this
// process.
type Ready struct {
	Pod     *lifecycle.Pod
	Doc     *contract.Pod
	events  *os.File
	limited bool        // the pod's limits are set
	caught  []os.Signal // those that signals gets
	signals chan os.Signal
}

// MakeReady takes p, whose lock is held by this process, into phase run. From then
// on the pod's signals are its own, and do not end this process: they wait until
// somebody can be told of them. What is not given to Exec is to be dropped.
func MakeReady(p *lifecycle.Pod) (*Ready, error) {
	doc, err := p.Contract()
	if err != nil {
		return nil, err
	}
	if err := p.ToFast(lifecycle.Run); err != nil {
		return nil, err
	}
	events, err := os.OpenFile(filepath.Join(p.Dir(), contract.EventsFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot note the pod's events: %w", err)
	}
	r := &Ready{Pod: p, Doc: doc, events: events}
	r.catchSignals()
	failpoint.Hit("launch/ready")
	// Ahead of the assembly, which does the same and says what is wrong with it.
	if doc.Limited() {
		r.limited = assemble.Limit(doc)
	} else {
		_, _ = assemble.MakeCgroups(doc)
	}
	return r, nil
}

// Drop gives back what MakeReady took, but for the pod.
func (r *Ready) Drop() {
	removeCgroup(r.Doc)
	r.events.Close()
}

func openDir(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// mountRoots mounts the root of each app, attached nowhere yet, in the
// document's order. With an error there is none.
func mountRoots(doc *contract.Pod, dir int, a *assemble.Assembly) (roots []int, err error) {
	t := trees{pod: dir}
	if a.Private() {
		t.mapped = a.Mapped
		defer t.close()
	}
	for i := range doc.Apps {
		root, err := t.mountRoot(&doc.Apps[i], doc.OverlayOptions)
		if err != nil {
			for _, fd := range roots {
				unix.Close(fd)
			}
			return nil, fmt.Errorf("cannot mount the root of app %q: %w", doc.Apps[i].Name, err)
		}
		roots = append(roots, root)
	}
	failpoint.Hit("launch/roots-mounted")
	return roots, nil
}

// readOnlyPath gives a path by which program can be executed but never be
// written to, not even by root inside a pod through /proc/self/exe
// (CVE-2019-5736): it leads through a detached read-only mount that no
// namespace holds, so nobody can make it writable again.
func readOnlyPath(program string) (path string, done func(), err error) {
	fd, err := mount.Clone(unix.AT_FDCWD, program, false)
	if err == nil {
		if err = mount.SetAttr(fd, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("cannot open stage1 %s: %w", program, err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { unix.Close(fd) }, nil
}

// execute replaces this process by program.
func execute(program string, argv, env []string) error {
	path, done, err := readOnlyPath(program)
	if err != nil {
		return err
	}
	defer done()
	// A script's interpreter, which is the host's, has to open it once more.
	if fd, err := unix.Open(program, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		if isScript(fd) {
			path = program
		}
		unix.Close(fd)
	}
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("cannot execute stage1 %s: %w", program, err)
	}
	return nil
}

// environment is all that stage1 sees of the caller's environment. A supervisor has
// use for one processor: with two, a tenth of a short pod's time went into waking
// threads.
func environment() []string {
	env := []string{"GOMAXPROCS=1"}
	for _, name := range []string{"TERM", "RKT_FAILPOINT", "RKT_FAILPOINT_TRACE"} {
		if v, ok := os.LookupEnv(name); ok && (name == "TERM" || failpoint.Armed) && !strings.ContainsRune(v, '\n') {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// flavorOf loads the flavor that the pod was prepared for.
func flavorOf(p *lifecycle.Pod) (Flavor, error) {
	path, err := p.Stage1()
	if err != nil {
		return Flavor{}, err
	}
	return Load(path)
}

// Enter replaces this process by the flavor's `enter`: argv runs beside app.
// The pod must be running. It returns only an error.
func Enter(p *lifecycle.Pod, app string, argv []string) error {
	f, err := flavorOf(p)
	if err != nil {
		return err
	}
	program, vector, err := f.entrypoint("enter", append([]string{"--app=" + app, "--"}, argv...)...)
	if err != nil {
		return err
	}
	if err := unix.Chdir(p.Dir()); err != nil {
		return fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	if err := keepDescriptors(); err != nil {
		return err
	}
	return execute(program, vector, environment())
}

// Stop asks a running pod to end, or with force kills it; it does not wait.
func Stop(p *lifecycle.Pod, force bool) error {
	args := []string{}
	if force {
		args = append(args, "--force")
	}
	return call(p, "stop", args...)
}

// Pause has a running pod's processes stand still, and Resume lets them go on.
// Each may be called again.
func Pause(p *lifecycle.Pod) error { return call(p, "pause") }

// Resume undoes Pause.
func Resume(p *lifecycle.Pod) error { return call(p, "resume") }

// Collect calls the flavor's `gc` for a pod that has ended: what it left
// outside its directory is given back. It may be called again.
func Collect(p *lifecycle.Pod) error {
	if err := collectNetworks(p); err != nil {
		return err
	}
	return call(p, "gc")
}

// call runs an entry point as a child in the pod's directory.
func call(p *lifecycle.Pod, name string, args ...string) error {
	f, err := flavorOf(p)
	if err != nil {
		return err
	}
	program, argv, err := f.entrypoint(name, args...)
	if err != nil {
		return err
	}
	if err := keepDescriptors(); err != nil {
		return err
	}
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{
		Dir: p.Dir(), Env: environment(), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("cannot start stage1 %s: %w", program, err)
	}
	status, err := wait.For(pid)
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("cannot %s pod %s: its stage1 %q ended with status %d", name, p.ID(), f.Manifest.Name, status)
	}
	return nil
}
