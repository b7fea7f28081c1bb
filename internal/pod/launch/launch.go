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
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Options of a start.
type Options struct {
	// Timing are stage0's time stamps ("name=ns,…", CLOCK_MONOTONIC) to be
	// printed with stage1's; "" for no timing.
	Timing string
}

// namespaceFlags are the namespaces a flavor may ask its init to be born in.
var namespaceFlags = map[string]uintptr{
	"pid": unix.CLONE_NEWPID, "mount": unix.CLONE_NEWNS, "ipc": unix.CLONE_NEWIPC,
	"uts": unix.CLONE_NEWUTS, "net": unix.CLONE_NEWNET, "cgroup": unix.CLONE_NEWCGROUP,
}

// Exec starts the pod p, which must be in phase run with its lock held by this
// process, and replaces this process by the flavor's `run`: it returns only an
// error, and then no process of the pod is left.
func Exec(p *lifecycle.Pod, f Flavor, doc *contract.Pod, opt Options) error {
	// The child is killed when the thread that made it ends; this one becomes
	// the process itself on exec.
	runtime.LockOSThread()
	if err := unix.Chdir(p.Dir()); err != nil {
		return fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	lock := int(p.LockFile().Fd())
	defer runtime.KeepAlive(p) // its finalizer would close the lock
	env := environment(opt)
	failpoint.Hit("launch/before-init")
	init, err := startInit(f, doc, lock, ends[1], env)
	if err != nil {
		return err
	}
	unix.Close(ends[1])
	failpoint.Hit("launch/init-started")
	program, argv, err := f.entrypoint("run")
	if err == nil {
		for _, fd := range []int{lock, ends[0]} {
			if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				break
			}
		}
	}
	if err == nil {
		env = append(env, contract.EnvLockFD+"="+strconv.Itoa(lock), contract.EnvControlFD+"="+strconv.Itoa(ends[0]),
			contract.EnvInit+"="+strconv.Itoa(init), contract.EnvCgroup+"="+doc.Cgroup)
		err = execute(program, argv, env)
	}
	if init > 0 {
		_ = unix.Kill(init, unix.SIGKILL)
		_, _ = unix.Wait4(init, nil, 0, nil)
	}
	return err
}

// startInit starts the flavor's `init`, if it has one, in its namespaces. The
// child has descriptors 3, the lock, and 4, its end of the control socket.
func startInit(f Flavor, doc *contract.Pod, lock, control int, env []string) (pid int, err error) {
	if len(f.Manifest.Entrypoints["init"]) == 0 {
		return 0, nil
	}
	program, argv, err := f.entrypoint("init")
	if err != nil {
		return 0, err
	}
	var flags uintptr
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
	path, closePath, err := readOnlyPath(program)
	if err != nil {
		return 0, err
	}
	defer closePath()
	pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   append(env[:len(env):len(env)], contract.EnvLockFD+"=3", contract.EnvControlFD+"=4"),
		Files: []uintptr{0, 1, 2, uintptr(lock), uintptr(control)},
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
// below /proc and /sys); two threads are all that a supervisor has use for.
func environment(opt Options) []string {
	env := []string{"GOMAXPROCS=2"}
	if opt.Timing != "" {
		env = append(env, contract.EnvTiming+"="+opt.Timing)
	}
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
	return execute(program, vector, environment(Options{}))
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
		Dir: p.Dir(), Env: environment(Options{}), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("cannot start stage1 %s: %w", program, err)
	}
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("wait4", err)
		}
		break
	}
	if ws.ExitStatus() != 0 {
		return fmt.Errorf("cannot %s pod %s: its stage1 %q ended with status %d", name, p.ID(), f.Manifest.Name, ws.ExitStatus())
	}
	return nil
}
