// SPDX-License-Identifier: Apache-2.0

// Package assemble puts a pod together in stage0's own process: namespaces, the
// apps' roots and all that is mounted in them, and the pod's first process,
// which is born into that and starts the app. A flavor that asks for it (with an
// `init` entry point) is spared the start of a program before the app: its
// `init` only takes over pods that live on.
//
// All of it happens on one thread, which is in the pod's namespaces and has a
// working directory, a root and a file mode mask of its own meanwhile.
package assemble

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Wants is what of a pod must be known before anything else is.
type Wants struct {
	HostIPC bool
	// Network gives a descriptor of the pod's network namespace, which stays the
	// caller's; it may wait. Nil is the host's network. made is a descriptor of the
	// one that it then is, -1 if it is still to be made.
	Network func(made int) (int, error)
	// Users are the pod's own, with their range; the zero value is the host's.
	Users contract.Users
	// BareProc: nothing of /proc is hidden or read-only.
	BareProc bool
	// Machine: the pod's first process is made by another program (Hand).
	Machine bool
}

// An Assembly is a pod that is being put together. The thread that calls Begin
// calls all methods.
type Assembly struct {
	shelf *shelf
	wants Wants
	host  []hostNamespace // where the thread came from; nil once it is back
	left  int             // the kinds of namespaces of the host that it may have left
	umask int             // its file mode mask before
	doc   *contract.Pod
	dir   int
	apps  []*app
	laid  bool
	// notify are the apps' sockets, the caller's to close; 0 for none.
	notify []int
	users  *ownUsers       // nil for a pod with the host's
	first  *forkexec.First // until it was told all
}

// app is what the assembly opens for one app.
type app struct {
	*contract.App
	root, cgroup int
	groups       []int // tasks in version 1 hierarchies
	procs        int   // cgroup.procs of cgroup, for a pod with users of its own; else 0
	log          *os.File
	own          [2]int // what it writes to in place of 1 and 2; 0 for those
	notify       int    // Assembly.Notify
	volumes      []source
	devices      []device
}

// A hostNamespace is one that the thread has left.
type hostNamespace struct {
	kind int
	file string
	fd   int
}

// Begin moves the calling thread into new namespaces and makes ready what no
// pod needs to be known for. It locks the thread, which must not be used for
// anything else before Leave, which Start calls. With an error it is back in the
// host's namespaces, or the error is also an ErrAstray.
func Begin(w Wants) (*Assembly, error) {
	runtime.LockOSThread()
	a := &Assembly{wants: w}
	if err := a.begin(); err != nil {
		return nil, errors.Join(err, a.Leave())
	}
	return a, nil
}

// ErrAstray says that the thread could not go back to the host's namespaces: it
// stays locked, must do nothing more, and ends with its goroutine.
var ErrAstray = errors.New("cannot go back to the host's namespaces")

func (a *Assembly) begin() error {
	a.host = append(a.host, hostNamespace{kind: unix.CLONE_NEWNS, file: "mnt"}, hostNamespace{kind: unix.CLONE_NEWUTS, file: "uts"})
	if !a.wants.HostIPC {
		a.host = append(a.host, hostNamespace{kind: unix.CLONE_NEWIPC, file: "ipc"})
	}
	if a.wants.Network != nil {
		a.host = append(a.host, hostNamespace{kind: unix.CLONE_NEWNET, file: "net"})
	}
	for i := range a.host {
		h := &a.host[i]
		fd, err := unix.Open("/proc/thread-self/ns/"+h.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			a.host = a.host[:i]
			return fmt.Errorf("cannot remember the host's namespaces: %w", err)
		}
		h.fd = fd
	}
	if err := a.leaveHost(); err != nil {
		return err
	}
	a.umask = unix.Umask(0)
	// What the host mounts later reaches volumes; nothing flows back.
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if err == unix.EINVAL {
		return errors.New("cannot detach from the host's mounts: / is not a mount point here; in a chroot, bind its root over itself first")
	}
	if err != nil {
		return fmt.Errorf("cannot detach from the host's mounts: %w", err)
	}
	if err := a.users.act(); err != nil {
		return err
	}
	if a.shelf, err = newShelf(); err != nil {
		return err
	}
	if a.wants.Network != nil && a.users == nil {
		fd, err := a.wants.Network(-1)
		if err != nil {
			return err
		}
		a.left |= unix.CLONE_NEWNET
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot join the pod's network: %w", err)
		}
	}
	// After that: it shows the interfaces of the network of who mounts it.
	if err := a.shelf.addSys(a.wants.Network == nil); err != nil {
		return err
	}
	if !a.wants.Machine {
		a.first, err = a.makeFirst()
	}
	return err
}

// leaveHost takes the thread into the pod's namespaces, but for the network of a
// pod with the host's users.
func (a *Assembly) leaveHost() (err error) {
	own := unix.CLONE_NEWUTS
	if !a.wants.HostIPC {
		own |= unix.CLONE_NEWIPC
	}
	if a.wants.Users.Private() {
		if a.wants.Network != nil {
			own |= unix.CLONE_NEWNET
		}
		a.left = own // some of them even with an error
		if a.users, err = newUsers(&a.wants, own); err != nil {
			return err
		}
		own = 0
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | own); err != nil {
		return fmt.Errorf("cannot make the pod's namespaces: %w", err)
	}
	a.left |= unix.CLONE_NEWNS | own
	return nil
}

// Leave takes the thread back into the host's namespaces, if it is not there
// already, and ends what Begin began. An error is an ErrAstray.
func (a *Assembly) Leave() error {
	if a.host == nil {
		return nil
	}
	if a.first != nil {
		a.first.Kill()
		a.first = nil
	}
	a.close()
	return a.goBack()
}

// goBack is also for a thread that has not left all that it was to leave: those of
// its mounts are then not its own to join.
func (a *Assembly) goBack() error {
	if err := a.users.stop(); err != nil {
		return fmt.Errorf("%w: %w", ErrAstray, err)
	}
	for _, h := range a.host {
		if a.left&h.kind != 0 {
			err := unix.Setns(h.fd, h.kind)
			if err == unix.EPERM && h.kind != unix.CLONE_NEWNS && !userns.Initial() {
				err = nil // the host's, which an ordinary user cannot join again: the pod's do as well
			}
			if err != nil {
				return fmt.Errorf("%w: %w", ErrAstray, err)
			}
		}
		unix.Close(h.fd)
	}
	if a.left&unix.CLONE_NEWNS != 0 {
		unix.Umask(a.umask)
	}
	a.host, a.left = nil, 0
	return nil
}

// A Way is how a pod is started.
type Way struct {
	// Lock is held for as long as the pod lives; Control is init's end of the
	// control socket. Both stay the caller's to close.
	Lock    int
	Control int
	// Sockets are those of each app, in the document's order, also the caller's to
	// close; nil for none at all.
	Sockets [][]contract.InheritedSocket
	// Program and Argv are the flavor's init; Env its environment but for
	// contract.EnvInherited.
	Program string
	Argv    []string
	Env     []string
	// Held are handed to init to be kept open, as Lock is; the caller's to close.
	Held []int
	// Journal is JOURNAL_STREAM: where 1 or 2 is that stream, each app has its own.
	Journal string
	// Limited: Limit has done it.
	Limited bool
	// Moment is how long the first process watches an only app before it becomes
	// init.
	Moment time.Duration
}

// Lay puts the pod's roots together and mounts everything in them but /proc.
// dir is a descriptor of the pod's directory, in which not all has to be written
// yet; roots are mounted and attached nowhere, in the document's order. Start or
// Leave closes them.
func (a *Assembly) Lay(doc *contract.Pod, dir int, roots []int) error {
	a.doc, a.dir = doc, dir
	for i, root := range roots {
		a.apps = append(a.apps, &app{root: root})
		if i < len(doc.Apps) {
			a.apps[i].App = &doc.Apps[i]
		}
	}
	if len(doc.Apps) == 0 || len(roots) != len(doc.Apps) {
		return fmt.Errorf("cannot run pod %s: it has %d apps and %d roots", doc.UUID, len(doc.Apps), len(roots))
	}
	for _, app := range a.apps {
		if len(app.Mounts) > 0 {
			return nil // a volume may be in the pod's directory: everything is left to Start
		}
	}
	return a.setUp()
}

// Resolv gives all apps a resolv.conf that the document does not have. It must
// follow Lay.
func (a *Assembly) Resolv(text string) error {
	if !a.laid {
		doc := *a.doc
		doc.Resolv = &text
		a.doc = &doc
		return nil
	}
	for _, app := range a.apps {
		if err := a.shelf.bindContent(app.root, app.Name+".resolv.conf", "etc/resolv.conf", text); err != nil {
			return fmt.Errorf("cannot set up /etc of app %q: %w", app.Name, err)
		}
	}
	return nil
}

// Start starts the pod, whose directory is written by now, wherever it is. It
// returns when the pod has ended or its first process is the flavor's init, with
// the thread back in the host's namespaces. With an error there is no process of
// the pod, and maybe a cgroup.
func (a *Assembly) Start(w *Way) (Outcome, error) {
	if !a.laid {
		if err := a.setUp(); err != nil {
			return Outcome{}, err
		}
	}
	if err := a.openApps(w.Limited); err != nil {
		return Outcome{}, err
	}
	if err := a.openJournal(w.Journal); err != nil {
		return Outcome{}, err
	}
	return a.start(w)
}

// setUp mounts what each app sees.
func (a *Assembly) setUp() error {
	if err := unix.Sethostname([]byte(a.doc.Hostname)); err != nil {
		return fmt.Errorf("cannot set hostname %q: %w", a.doc.Hostname, err)
	}
	for _, app := range a.apps {
		var err error
		if app.volumes, err = openVolumes(app.App, a.users.fd()); err != nil {
			return err
		}
		if app.devices, err = a.shelf.openDevices(app.App); err != nil {
			return err
		}
	}
	for i, app := range a.apps {
		if err := a.shelf.appRoot(a.doc, app, i == len(a.apps)-1, a.wants.Users); err != nil {
			return err
		}
	}
	failpoint.Hit("assemble/roots")
	for _, app := range a.apps {
		a.notify = append(a.notify, app.notify)
	}
	a.laid = true
	return nil
}

// openApps opens what else belongs to each app: its cgroup, and its log in the
// pod's directory, which is out of sight later.
func (a *Assembly) openApps(limited bool) error {
	if err := unix.Fchdir(a.dir); err != nil {
		return fmt.Errorf("cannot enter the pod's directory: %w", err)
	}
	if err := setSysctls(a.doc); err != nil {
		return err
	}
	// What follows is the host's.
	if err := a.users.stop(); err != nil {
		return err
	}
	group, err := MakeCgroups(a.doc)
	if err != nil {
		return err
	}
	if !limited {
		if err := limit(a.doc); err != nil {
			return err
		}
	}
	if err := confineDevices(a.doc, a.apps); err != nil {
		return err
	}
	for _, app := range a.apps {
		if app.log, err = openLog(app.App); err != nil {
			return err
		}
		if group != "" {
			if app.cgroup, err = cgroup.Open(group + "/" + app.Name); err != nil {
				return err
			}
			if a.users != nil {
				if app.procs, err = cgroup.OpenProcs(group + "/" + app.Name); err != nil {
					return err
				}
			}
		}
		if app.groups, err = openGroups(a.doc, app.Name); err != nil {
			return err
		}
	}
	return nil
}

// close gives back what the first process has copies of.
func (a *Assembly) close() {
	if a.shelf != nil {
		a.shelf.close()
	}
	a.users.close()
	if a.apps != nil {
		unix.Close(a.dir)
	}
	for _, app := range a.apps {
		unix.Close(app.root)
		closeVolumes(app.volumes)
		closeDevices(app.devices)
		if app.cgroup > 0 {
			unix.Close(app.cgroup)
		}
		closeAll(app.groups)
		app.closeJournal()
		if app.procs > 0 {
			unix.Close(app.procs)
		}
		if app.log != nil {
			app.log.Close()
		}
	}
	a.apps = nil
}

// MakeCgroups makes the pod's cgroup and one in it for each app, those that are not
// there yet, and returns the pod's. Where the host
// has no version 2 hierarchy, or does not let us, there is none, unless a limit
// depends on it.
func MakeCgroups(doc *contract.Pod) (string, error) {
	if doc.Cgroup == "" {
		return "", nil
	}
	if err := enableControllers(doc); err != nil {
		return "", fmt.Errorf("cannot limit the pod: %w", err)
	}
	if err := cgroup.Create(doc.Cgroup); err != nil {
		refused := errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
		if refused && version2(doc) == nil && !byProgram(doc) {
			return "", nil
		}
		return "", err
	}
	failpoint.Hit("assemble/cgroup")
	for i := range doc.Apps {
		if err := cgroup.Create(doc.Cgroup + "/" + doc.Apps[i].Name); err != nil {
			return "", err
		}
	}
	return doc.Cgroup, nil
}

// openLog opens the app's log in the pod directory, which is the working directory
// now and out of sight later.
func openLog(a *contract.App) (*os.File, error) {
	if a.Stdout != contract.Log && a.Stderr != contract.Log {
		return nil, nil
	}
	// All of the path: a pod that an earlier rkt prepared has no private directory.
	if err := os.MkdirAll(contract.LogDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open log of app %q: %w", a.Name, err)
	}
	f, err := os.OpenFile(contract.LogDir+"/"+a.Name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cannot open log of app %q: %w", a.Name, err)
	}
	return f, nil
}
