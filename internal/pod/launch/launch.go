// SPDX-License-Identifier: Apache-2.0

// Package launch is the last of stage0: it hands a prepared pod to its flavor
// of stage1, by the contract.
package launch

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// namespaceFlags are the namespaces a flavor may ask its init to be born in.
var namespaceFlags = map[string]uintptr{
	"pid": unix.CLONE_NEWPID, "mount": unix.CLONE_NEWNS, "ipc": unix.CLONE_NEWIPC,
	"uts": unix.CLONE_NEWUTS, "net": unix.CLONE_NEWNET, "cgroup": unix.CLONE_NEWCGROUP,
}

// A Start is a pod that is being started: its first process comes up, and waits
// for the pod. A thread of its own makes that process and, in the end, becomes
// the flavor's `run`: the child is killed when the thread that made it ends, and
// stage0 has other things to do while it waits for clone(2).
type Start struct {
	flavor  Flavor
	flags   uintptr // the namespaces init is born in
	env     []string
	control int // stage0's, and then `run`'s, end of the control socket
	signals chan os.Signal

	born  chan error        // init was made, or not; then:
	init  int               // pid; 0 if the flavor has none
	final chan func() error // what the thread does last
	done  chan error        // what came of it
}

// Begin starts the flavor's `init`, in the namespaces that doc needs, so that it
// comes up while the pod is written to disk. Only the document's namespaces are
// looked at. timing: `init` is to note times. Either Exec or Abort must follow.
func Begin(f Flavor, doc *contract.Pod, timing bool) (*Start, error) {
	flags, err := namespaces(f, doc)
	if err != nil {
		return nil, err
	}
	// What the caller of rkt left open is not the pod's.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("close_range", err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	s := &Start{flavor: f, flags: flags, env: environment(), control: ends[0],
		born: make(chan error, 1), final: make(chan func() error), done: make(chan error)}
	env := s.env
	if timing {
		env = append(env[:len(env):len(env)], contract.EnvTiming+"=")
	}
	go func() {
		runtime.LockOSThread()
		failpoint.Hit("launch/before-init")
		var err error
		s.init, err = startInit(f, flags, ends[1], env)
		unix.Close(ends[1])
		failpoint.Hit("launch/init-started")
		s.catchSignals()
		s.born <- err
		if last := <-s.final; last != nil {
			s.done <- last()
		}
	}()
	return s, nil
}

// Abort ends what Begin began.
func (s *Start) Abort() {
	if s.born != nil {
		<-s.born
		s.born = nil
	}
	unix.Close(s.control)
	if s.init > 0 {
		_ = unix.Kill(s.init, unix.SIGKILL)
		_, _ = wait.For(s.init)
	}
	close(s.final)
}

// Exec gives the pod p, which must be in phase run with its lock held by this
// process, to `init`, and replaces this process by the flavor's `run`, unless
// the pod ends before that is worth while: then it returns the pod's exit
// status. With an error, no process of the pod is left. stamps are stage0's
// times ("name=ns,…", CLOCK_MONOTONIC), to be printed with stage1's; "" for
// none.
func (s *Start) Exec(p *lifecycle.Pod, doc *contract.Pod, stamps string) (int, error) {
	status, err := s.exec(p, doc, stamps)
	s.Abort()
	return status, err
}

func (s *Start) exec(p *lifecycle.Pod, doc *contract.Pod, stamps string) (int, error) {
	if err := unix.Chdir(p.Dir()); err != nil {
		return 0, fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	lock := int(p.LockFile().Fd())
	defer runtime.KeepAlive(p) // its finalizer would close the lock
	roots, err := mountRoots(doc)
	if err == nil {
		err = <-s.born
		s.born = nil
	}
	if err == nil && s.init > 0 {
		err = s.handOver(p.Dir(), lock, roots)
	}
	// At once: who holds a mount last has to wait for its end.
	closeAll(roots)
	if err != nil {
		return 0, err
	}
	if s.init > 0 {
		if status, ended, err := s.attend(doc, stamps != ""); ended || err != nil {
			return status, err
		}
	}
	program, argv, err := s.flavor.entrypoint("run")
	if err != nil {
		return 0, err
	}
	for _, fd := range []int{lock, s.control} {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return 0, os.NewSyscallError("fcntl", err)
		}
	}
	env := append(s.env, contract.EnvLockFD+"="+strconv.Itoa(lock), contract.EnvControlFD+"="+strconv.Itoa(s.control),
		contract.EnvInit+"="+strconv.Itoa(s.init), contract.EnvCgroup+"="+doc.Cgroup)
	if stamps != "" {
		env = append(env, contract.EnvTiming+"="+stamps)
	}
	s.final <- func() error {
		// Its own path will do: no pod can see this process.
		err := syscall.Exec(program, argv, env)
		return fmt.Errorf("cannot execute stage1 %s: %w", program, err)
	}
	return 0, <-s.done
}

// mountRoots mounts the root of each app, in the document's order. The caller
// closes what is returned, with an error too.
func mountRoots(doc *contract.Pod) (roots []int, err error) {
	for i := range doc.Apps {
		root, err := mountRoot(&doc.Apps[i], doc.OverlayOptions)
		if err != nil {
			return roots, fmt.Errorf("cannot mount the root of app %q: %w", doc.Apps[i].Name, err)
		}
		roots = append(roots, root)
	}
	failpoint.Hit("launch/roots-mounted")
	return roots, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// handOver tells `init` of its pod (contract.HandOver).
func (s *Start) handOver(dir string, lock int, roots []int) error {
	if len(roots) >= contract.MaxDescriptors {
		return fmt.Errorf("cannot start a pod of %d apps: %d are the most", len(roots), contract.MaxDescriptors-1)
	}
	rights := unix.UnixRights(append([]int{lock}, roots...)...)
	if err := unix.Sendmsg(s.control, []byte(contract.HandOver+dir), rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("cannot hand the pod to its first process: %w", err)
	}
	failpoint.Hit("launch/handed-over")
	return nil
}

// Fits tells whether the namespaces are those that doc needs.
func (s *Start) Fits(doc *contract.Pod) bool {
	flags, err := namespaces(s.flavor, doc)
	return err == nil && flags == s.flags
}

// namespaces are clone(2)'s flags for the flavor's `init`.
func namespaces(f Flavor, doc *contract.Pod) (flags uintptr, err error) {
	for _, ns := range f.Manifest.Namespaces {
		flag, ok := namespaceFlags[ns]
		switch {
		case !ok:
			return 0, fmt.Errorf("cannot start stage1 %q: unknown namespace %q", f.Manifest.Name, ns)
		case ns == "net" && doc.Network == "host", ns == "ipc" && doc.HostIPC:
		default:
			flags |= flag
		}
	}
	return flags, nil
}

// startInit starts the flavor's `init`, if it has one, in its namespaces. The
// child has descriptor 3, its end of the control socket.
func startInit(f Flavor, flags uintptr, control int, env []string) (pid int, err error) {
	if len(f.Manifest.Entrypoints["init"]) == 0 {
		return 0, nil
	}
	program, argv, err := f.entrypoint("init")
	if err != nil {
		return 0, err
	}
	path, closePath, err := readOnlyPath(program)
	if err != nil {
		return 0, err
	}
	defer closePath()
	pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   append(env[:len(env):len(env)], contract.EnvControlFD+"=3"),
		Files: []uintptr{0, 1, 2, uintptr(control)},
		Sys:   &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("cannot start the pod's first process %s: %w", program, err)
	}
	return pid, nil
}

// readOnlyPath gives a path by which program can be executed but never be
// written to, not even by root inside a pod through /proc/self/exe
// (CVE-2019-5736): it leads through a detached read-only mount that no
// namespace holds, so nobody can make it writable again.
func readOnlyPath(program string) (path string, done func(), err error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, program, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("cannot open stage1 %s: %w", program, err)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(fd)
		return "", nil, fmt.Errorf("cannot protect stage1 %s: %w", program, err)
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
	if err := syscall.Exec(path, argv, env); err != nil {
		return fmt.Errorf("cannot execute stage1 %s: %w", program, err)
	}
	return nil
}

// environment is all that stage1 sees of the caller's environment. GOMAXPROCS
// spares a Go program the search for its CPU limit at every start (four files
// below /proc and /sys); and a supervisor has use for one
// processor: with two, a tenth of a short pod's time went into waking threads.
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

// Collect calls the flavor's `gc` for a pod that has ended: what it left
// outside its directory is given back. It may be called again.
func Collect(p *lifecycle.Pod) error { return call(p, "gc") }

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
