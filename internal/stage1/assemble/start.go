// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Outcome tells how far the pod is.
type Outcome = forkexec.Outcome

// makeFirst makes the pod's first process, which mounts /proc while the thread goes
// on.
func (a *Assembly) makeFirst() (*forkexec.First, error) {
	c := &forkexec.Child{CloneFlags: unix.CLONE_NEWPID}
	c.Call("end with rkt", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	c.Call("start a session", unix.SYS_SETSID)
	// Not the caller's keys; kernels without keys have none to leak.
	c.Try("join a session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	if err := proc(c, a.wants.BareProc); err != nil {
		return nil, err
	}
	f, err := forkexec.Begin(c)
	if err != nil {
		return nil, fmt.Errorf("cannot start the pod: cannot %w", err)
	}
	return f, nil
}

// start has the first process leave the host's mounts behind and, in most pods,
// start the app and watch it for a moment. The thread goes back to the host
// meanwhile, before a path is looked up: its root becomes the pod's.
func (a *Assembly) start(w *Way) (Outcome, error) {
	rest := &forkexec.Rest{Moment: w.Moment}
	if err := a.pivot(&rest.Child); err != nil {
		return Outcome{}, err
	}
	in := &contract.Inherited{Control: w.Control, Lock: w.Lock, Held: w.Held}
	if w.Sockets == nil {
		w.Sockets = make([][]contract.InheritedSocket, len(a.apps))
	}
	for n, app := range a.apps {
		i := contract.InheritedApp{Sockets: w.Sockets[n], Root: app.root, Cgroup: app.cgroup, Groups: app.groups, Stdout: app.own[0], Stderr: app.own[1]}
		if app.log != nil {
			i.Log = int(app.log.Fd())
		}
		if app.procs > 0 {
			i.Groups = append(i.Groups[:len(i.Groups):len(i.Groups)], app.procs)
		}
		in.Apps = append(in.Apps, i)
	}
	started := &startedApp{sockets: w.Sockets[0]}
	defer started.done()
	if err := a.only(started); err != nil {
		return Outcome{}, err
	}
	if rest.App = started.child; rest.App != nil {
		// The app's pid: the first process has no child before it.
		in.Started = 2
		in.Apps[0].Sockets = nil // it has them
		in.Apps[0].Out, in.Apps[0].Err = max(started.streams.Pumps[0], 0), max(started.streams.Pumps[1], 0)
		if started.streams.Pumped() || len(a.apps[0].PostStop) > 0 {
			rest.Moment = 0 // somebody has to do something then
		}
	}
	if a.users != nil {
		// init and what it starts are not the host's: they could not do it.
		if err := appinit.LendOutput(a.users.users.Host(0), 1, 2); err != nil {
			return Outcome{}, err
		}
	}
	// An event handler to come may look for /proc/self/exe, too.
	then, done, err := becomeInit(w, in, rest.App == nil || len(a.apps[0].PostStop) > 0, a.users.fd())
	defer done()
	if err != nil {
		return Outcome{}, err
	}
	rest.Then = then
	keepScore, err := oomScore()
	if err != nil {
		return Outcome{}, err
	}
	failpoint.Hit("assemble/start")
	first, apps := a.first, a.apps
	a.first = nil
	reveal := conceal()
	first.Go(rest)
	err = a.goBack()
	o, werr := first.Wait()
	reveal()
	keepScore()
	var failed *forkexec.AppError
	if errors.As(werr, &failed) {
		err = fmt.Errorf("cannot run app %q: %w", apps[0].Name, started.process.Failed(apps[0].root, failed.Cause))
	} else if errors.Is(werr, forkexec.ErrKilled) {
		err = fmt.Errorf("cannot start the pod: %w", werr)
	} else if werr != nil {
		err = fmt.Errorf("cannot start the pod: cannot %w", werr)
	}
	if !o.Ended {
		a.close() // else this process ends soon
	}
	return o, err
}

// pivot has the first process give each app its /proc and leave the
// host's mounts. The only app lives in the first process's own mount namespace:
// one less to make and to end. Of several each gets one, away from the others'
// roots, which are side by side on the shelf.
func (a *Assembly) pivot(c *forkexec.Child) error {
	from, err := c.String(shelfPlace + "/" + procPlace)
	if err != nil {
		return err
	}
	none, _ := c.String("")
	dot, _ := c.String(".")
	slash, _ := c.String("/")
	here := unix.AT_FDCWD
	for i, at := range a.shelf.procs {
		if i < len(a.shelf.procs)-1 {
			to, _ := c.String("/proc/self/fd/" + strconv.Itoa(at))
			c.Call("copy /proc", unix.SYS_MOUNT, from, to, none, unix.MS_BIND|unix.MS_REC)
			continue
		}
		c.Call("move /proc", unix.SYS_MOVE_MOUNT, uintptr(here), from, uintptr(at), none, unix.MOVE_MOUNT_T_EMPTY_PATH)
	}
	base := a.shelf.fd
	if len(a.apps) == 1 {
		base = a.apps[0].root
	}
	c.Call("enter the pod's root", unix.SYS_FCHDIR, uintptr(base))
	c.Call("change to the pod's root", unix.SYS_PIVOT_ROOT, dot, dot)
	c.Call("leave the host's root", unix.SYS_UMOUNT2, dot, unix.MNT_DETACH)
	c.Call("enter the pod's root", unix.SYS_CHDIR, slash)
	return nil
}

// startedApp is the app that the first process itself starts.
type startedApp struct {
	sockets []contract.InheritedSocket
	process *appinit.Process
	streams *appinit.Streams
	child   *forkexec.Child
	close   func()
}

func (s *startedApp) done() {
	if s.close != nil {
		s.close()
	}
	if s.streams != nil {
		s.streams.CloseApp()
		for _, fd := range s.streams.Pumps {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}
}

// only prepares the start of the pod's only app, if nothing has to happen before
// and between that takes more than system calls; child stays nil otherwise.
//
// While it runs and the moment lasts, the first process is in stage0's memory,
// which no app may get at: an app that could trace it is started by init. So is
// one whose program may not be the image's own: init's /proc/self/exe is on a
// read-only mount, stage0's is the host's rkt.
func (a *Assembly) only(s *startedApp) error {
	app := a.apps[0]
	if len(a.apps) > 1 || len(app.PreStart) > 0 || app.OOMScoreAdj != nil || a.doc.Interactive && pty.IsTerminal(0) {
		return nil
	}
	failed := func(err error) error { return fmt.Errorf("cannot run app %q: %w", app.Name, err) }
	users := appinit.Users{Users: a.wants.Users, Namespace: a.users.fd()}
	process, err := appinit.Confine(a.doc, app.App, users)
	if err != nil {
		return failed(err)
	}
	process.BeApart()
	for _, c := range []int{unix.CAP_SYS_PTRACE, unix.CAP_SYS_ADMIN, unix.CAP_CHECKPOINT_RESTORE} {
		if process.Bounding.Has(c) {
			return nil
		}
	}
	if process.User, err = appinit.LookupUser(app.root, app.User, app.Group, app.SupplementaryGIDs, users.Users); err != nil {
		return failed(err)
	}
	if process.Program, err = appinit.LookupProgram(app.root, app.Exec[0], app.WorkingDir, app.Environment); err != nil {
		return failed(err)
	}
	if !appinit.OwnProgram(app.root, process.Program) {
		return nil
	}
	process.Argv, process.Sockets = app.Exec, s.sockets
	process.InCgroup(app.cgroup)
	process.Groups, process.OwnMounts = app.groups, true
	if s.streams, err = appinit.OpenStreams(a.doc, app.App, app.root, users.Host(process.User.UID), app.own); err != nil {
		return failed(err)
	}
	process.Stdio = s.streams.App
	s.process = process
	s.child, s.close, err = process.Child()
	return err
}

// becomeInit is how the first process turns into the flavor's program. done
// closes what was opened for it.
//
// guarded: the program is executed from a detached read-only mount, so that root
// in a pod cannot write to the host's file through /proc/1/exe, nor through the
// /proc/self/exe of a child that is about to execute (CVE-2019-5736). Where the
// app runs already and nothing else is to be started, it is without
// CAP_SYS_PTRACE, and no process of its can open that link.
//
// users, if not 0, is the user namespace that it enters, as its root.
func becomeInit(w *Way, in *contract.Inherited, guarded bool, users int) (c *forkexec.Child, done func(), err error) {
	var opened []int
	done = func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}
	c = &forkexec.Child{}
	if in.Pod, err = unix.Open(contract.File, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, done, fmt.Errorf("cannot open the pod's document: %w", err)
	}
	opened = append(opened, in.Pod)
	var program int
	if guarded {
		if program, err = mount.Clone(unix.AT_FDCWD, w.Program, false); err == nil {
			opened = append(opened, program)
			err = mount.SetAttr(program, unix.MOUNT_ATTR_RDONLY, 0, false)
		}
	} else if program, err = unix.Open(w.Program, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		opened = append(opened, program)
	}
	if err != nil {
		return nil, done, fmt.Errorf("cannot open stage1 %s: %w", w.Program, err)
	}
	// As stage0 found it, so that `init` can find that too.
	if err := c.LimitFiles(); err != nil {
		return nil, done, err
	}
	for _, fd := range in.Descriptors() {
		c.Call("hand over a descriptor", unix.SYS_FCNTL, uintptr(fd), unix.F_SETFD, 0)
	}
	env := append(w.Env[:len(w.Env):len(w.Env)], contract.EnvInherited+"="+in.Encode())
	if fd, name := failpoint.Trace(); fd > 0 {
		c.Call("hand over the trace", unix.SYS_FCNTL, uintptr(fd), unix.F_SETFD, 0)
		env = append(env, name)
	}
	argv, err := c.Strings(w.Argv)
	if err != nil {
		return nil, done, err
	}
	envp, err := c.Strings(env)
	if err != nil {
		return nil, done, err
	}
	if users > 0 {
		userns.Enter(c, users)
		userns.BecomeRoot(c)
		// The change of ids has cleared that, and the keys are the host's.
		c.Call("end with rkt", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
		c.Unless(unix.ENOSYS, "join a session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	}
	none, _ := c.String("")
	c.Call("execute "+w.Program, unix.SYS_EXECVEAT, uintptr(program), none, argv, envp, unix.AT_EMPTY_PATH)
	return c, done, nil
}
