// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pty"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Enter is the `enter` entry point: it runs argv in the app's root, as its user,
// with its environment, and returns argv's exit status.
func Enter(name string, argv []string) (int, error) {
	doc, app, err := document()
	if err != nil {
		return 0, err
	}
	if app.Name != name {
		return 0, fmt.Errorf("cannot enter app %q: the pod has none of that name", name)
	}
	status, err := enter(doc, app, argv)
	if err != nil {
		return 0, fmt.Errorf("cannot enter app %q: %w", name, err)
	}
	return status, nil
}

func enter(doc *contract.Pod, app *contract.App, argv []string) (int, error) {
	runtime.LockOSThread() // it is in the app's root from here on
	group := 0
	if doc.Cgroup != "" {
		var err error
		if group, err = cgroup.Open(doc.Cgroup); err != nil {
			return 0, err
		}
	}
	// The host's, which is the app's as well: what is in its root is not trusted.
	pts, err := unix.Open("/dev/pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: "/dev/pts", Err: err}
	}
	root, err := joinRoot()
	if err != nil {
		return 0, err
	}
	p, err := process(app, root)
	if err != nil {
		return 0, err
	}
	p.Env = appinit.WithTerm(p.Env)
	if p.Program, err = appinit.LookupProgram(root, argv[0], p.Dir, p.Env); err != nil {
		return 0, err
	}
	p.Argv, p.CgroupFD, p.DieWithParent = argv, group, true
	r := &runner{doc: doc, app: app}
	var done func()
	if pty.IsTerminal(0) && pty.IsTerminal(1) {
		done, err = r.terminal(p, pts)
	} else {
		done, err = r.callerStreams(p)
	}
	if err != nil {
		return 0, err
	}
	signals := poddir.Signals()
	r.plain = true
	pid, err := p.Start()
	done()
	if err != nil {
		r.end()
		return 0, p.Failed(root, err)
	}
	r.mu.Lock()
	r.pid = pid
	r.mu.Unlock()
	go func() {
		for sig := range signals {
			r.signal(sig.(unix.Signal))
		}
	}()
	status, err := wait.For(pid)
	r.mu.Lock()
	r.pid = 0
	r.mu.Unlock()
	// What it started and left behind may hold its streams for ever.
	passed := make(chan struct{})
	go func() {
		r.out.Wait()
		close(passed)
	}()
	select {
	case <-passed:
	case <-time.After(drainLimit):
	}
	if r.restore != nil {
		r.restore()
	}
	return status, err
}

// drainLimit is how long the last output of what has entered is waited for.
const drainLimit = time.Second

// callerStreams gives p the caller's streams, but for a terminal among them: what is
// typed at it could be read from any of them.
func (r *runner) callerStreams(p *appinit.Process) (done func(), err error) {
	s, feed, err := appinit.CallerStreams(p.User.UID)
	if err != nil {
		return nil, err
	}
	p.Stdio = s.App
	r.passOn(s)
	if feed >= 0 {
		go func() {
			_ = pty.CopyOut(feed, 0)
			unix.Close(feed)
		}()
	}
	return s.CloseApp, nil
}

// joinRoot moves the calling thread into the pod's mount namespace and the app's
// root, of which it returns a descriptor.
func joinRoot() (int, error) {
	app, err := poddir.OpenFirst(".")
	if err != nil {
		return -1, err
	}
	if app.FD < 0 {
		return -1, errors.New("it has ended")
	}
	defer unix.Close(app.FD)
	root, err := unix.Open("/proc/"+strconv.Itoa(app.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open its root: %w", err)
	}
	// Still the same process: its pid was not given to another meanwhile.
	if err := unix.PidfdSendSignal(app.FD, 0, nil, 0); err != nil {
		return -1, errors.New("it has ended")
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(app.FD, unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("cannot join its mounts: %w", err)
	}
	if err := unix.Fchdir(root); err != nil {
		return -1, os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return -1, os.NewSyscallError("chroot", err)
	}
	return root, nil
}
