// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Enter is the `enter` entry point: it runs argv beside the app, in all its
// namespaces and its cgroup, as its user, with its capabilities, seccomp
// filter and environment, and returns argv's exit status. A terminal of the
// caller's is not handed over: the command gets one of the pod's own.
func Enter(name string, argv []string) (int, error) {
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	app := doc.App(name)
	if app == nil {
		return 0, fmt.Errorf("cannot enter app %q: the pod has none of that name", name)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl", err)
	}
	runtime.LockOSThread() // its namespaces are about to differ; it ends with the process
	p, err := joinApp(doc, app)
	if err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open", err)
	}
	if p.User, err = appinit.LookupUser(root, app.User, app.Group, app.SupplementaryGIDs, p.Users.Users); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	if p.Proc, err = p.OpenProc(root); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	p.Env = appinit.WithTerm(p.Env)
	if p.Program, err = appinit.LookupProgram(root, argv[0], p.Dir, p.Env); err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	p.Argv = argv
	return attend(p, root)
}

// joinApp moves the calling thread into the app's namespaces but that of its
// users, which the process enters, and finds its cgroup. The pod's pid namespace
// is that of the thread's children.
func joinApp(doc *contract.Pod, app *contract.App) (*appinit.Process, error) {
	name := app.Name
	first, err := openInit(".")
	if err != nil {
		return nil, err
	}
	events, err := poddir.Events(".")
	if err != nil {
		return nil, err
	}
	pid := events.Apps[name].PID
	if pid == 0 {
		return nil, errors.New("it is just starting")
	}
	target, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	if first.fd < 0 || target.fd < 0 || !sameNamespace("pid", first.pid, target.pid) {
		return nil, errors.New("it has ended")
	}
	defer unix.Close(target.fd)
	users := appinit.Users{Users: events.Users}
	if doc.Users.Private() {
		// init's, for the app may have gone on to one of its own. It stays open.
		if users.Namespace = first.fd; !users.Private() {
			return nil, errors.New("it is not noted which users are its own")
		}
	} else {
		defer unix.Close(first.fd)
	}
	p, err := appinit.Confine(doc, app, users)
	if err != nil {
		return nil, err
	}
	return p, join(name, doc, p, target)
}

// join is joinApp for a process of the app.
func join(name string, doc *contract.Pod, p *appinit.Process, target process) (err error) {
	if doc.Cgroup != "" {
		if cgroup.Frozen(doc.Cgroup) {
			return hint.Wrap(errors.New("the pod is paused"), "let it go on with rkt resume")
		}
		if p.CgroupFD, err = cgroup.Open(doc.Cgroup + "/" + name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		p.CgroupFD = max(p.CgroupFD, 0)
	}
	for c, dir := range doc.AppControllers(name) {
		if doc.Controllers[c] == doc.Cgroup {
			continue
		}
		fd, err := cgroup.OpenTasks(dir)
		if err != nil {
			return err
		}
		p.Groups = append(p.Groups, fd)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its root cannot change it
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(target.fd, joined(target.pid)); err != nil {
		return fmt.Errorf("cannot join its namespaces: %w", err)
	}
	return nil
}

// joined are the namespaces of a process that this one is to join: all, but in a
// user namespace not those that it shares with the host, which are not the user
// namespace's to join.
func joined(pid int) (flags int) {
	named := !userns.Initial()
	for _, n := range []struct {
		name string
		flag int
	}{
		{"pid", unix.CLONE_NEWPID}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET},
		{"cgroup", unix.CLONE_NEWCGROUP}, {"mnt", unix.CLONE_NEWNS},
	} {
		if !named || !sameNamespace(n.name, os.Getpid(), pid) {
			flags |= n.flag
		}
	}
	return flags
}

// sameNamespace tells whether two processes share a namespace.
func sameNamespace(name string, a, b int) bool {
	la, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", a, name))
	lb, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", b, name))
	return err1 == nil && err2 == nil && la == lb
}

// attend starts the process on the caller's streams, or on a pty of the pod's
// if the caller has a terminal, passes signals on and waits for its end. Nothing
// of the terminal itself, nor of the caller's keys, is handed over.
func attend(p *appinit.Process, root int) (int, error) {
	p.DieWithParent, p.OwnKeyring = true, true
	var streams *appinit.Streams
	feed := -1
	master := -1
	if pty.IsTerminal(0) && pty.IsTerminal(1) {
		pts, err := safepath.OpenInRoot(root, "dev/pts", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return 0, err
		}
		var slave int
		if master, slave, err = pty.Open(pts); err != nil {
			return 0, err
		}
		defer unix.Close(master)
		if err := unix.Fchown(slave, int(p.Users.Host(p.User.UID)), -1); err != nil {
			return 0, os.NewSyscallError("fchown", err)
		}
		pty.CopySize(slave, 0)
		p.Stdio = [3]int{slave, slave, slave}
		p.Terminal = true
	} else {
		var err error
		if streams, feed, err = appinit.CallerStreams(p.Users.Host(p.User.UID)); err != nil {
			return 0, err
		}
		p.Stdio = streams.App
	}
	signals := poddir.Signals()
	pid, err := p.Start()
	if err != nil {
		return 0, p.Failed(root, err)
	}
	go func() {
		for s := range signals {
			if s == unix.SIGWINCH {
				if master >= 0 {
					pty.CopySize(master, 0)
				}
				continue
			}
			_ = unix.Kill(pid, s.(unix.Signal))
		}
	}()
	var out output
	if streams != nil {
		streams.CloseApp()
		out.pump(0, streams.Pumps[0], contract.Inherit)
		out.pump(1, streams.Pumps[1], contract.Inherit)
	}
	if feed >= 0 {
		go func() {
			_ = pty.CopyOut(feed, 0)
			unix.Close(feed)
		}()
	}
	if master >= 0 {
		restore, err := pty.Raw(0)
		if err == nil {
			defer restore()
		}
		unix.Close(p.Stdio[0])
		go pty.CopyIn(master, 0)
		if pty.CopyOut(1, master) != nil {
			_ = unix.Kill(pid, unix.SIGHUP)
			pty.Discard(master)
		}
	}
	status, err := wait.For(pid)
	// What it started and left behind may hold its streams for ever.
	out.drain(drainLimit)
	return status, err
}

// drainLimit is how long the last output is waited for.
const drainLimit = time.Second
