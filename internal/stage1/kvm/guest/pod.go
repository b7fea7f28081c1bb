// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/wait"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/assemble"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
	"github.com/rkt/rkt/internal/stage1/native"
)

// moment is how long the pod's first process watches an only app before it becomes
// native's init, which is a program to start: none for a command that is done by
// then, under emulation as well.
const moment = 250 * time.Millisecond

// Pod runs the pod in the machine, as stage0 and native's `run` do on a host, and
// returns its status. The calling goroutine is locked to its thread, with whose end
// the pod ends.
func Pod() (int, error) {
	if err := hearSignals(); err != nil {
		return 0, err
	}
	doc, err := poddir.Document(".")
	if err != nil {
		return 0, err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socketpair", err)
	}
	// The machine's end is the pod's: nobody asks for this one.
	lock, err := unix.Open(contract.File, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: contract.File, Err: err}
	}
	dir, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: ".", Err: err}
	}
	a, err := assemble.Begin(assemble.Wants{BareProc: doc.Insecure.Paths})
	if err != nil {
		return 0, err
	}
	roots, err := openRoots(doc)
	if err != nil {
		return 0, err
	}
	if err := a.Lay(doc, dir, roots); err != nil {
		return 0, err
	}
	env := []string{"GOMAXPROCS=1"}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	o, err := a.Start(&assemble.Way{Lock: lock, Control: ends[1], Program: self, Argv: []string{self, "init"}, Env: env, Moment: moment})
	if err != nil {
		return 0, err
	}
	unix.Close(ends[1])
	if err := note(doc, o); err != nil {
		return 0, err
	}
	if o.Ended {
		return wait.For(o.PID)
	}
	if err := unix.Chdir(podDir); err != nil {
		return 0, os.NewSyscallError("chdir", err)
	}
	for name, value := range map[string]int{contract.EnvInit: o.PID, contract.EnvControlFD: ends[0], contract.EnvLockFD: lock} {
		if err := os.Setenv(name, strconv.Itoa(value)); err != nil {
			return 0, err
		}
	}
	for name, value := range map[string]string{contract.EnvCgroup: doc.Cgroup, contract.EnvLimited: limited(doc)} {
		if err := os.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	return native.Run()
}

func limited(doc *contract.Pod) string {
	if doc.Limited() {
		return "1"
	}
	return ""
}

// openRoots gives the apps' roots as mounts of their own.
func openRoots(doc *contract.Pod) (roots []int, err error) {
	for i := range doc.Apps {
		path := filepath.Join(wire.Share, wire.Roots, doc.Apps[i].Name)
		// By its own ".": the host's mount there has to be met first.
		root, err := mount.Clone(unix.AT_FDCWD, path+"/.", false)
		if err == nil {
			err = mount.SetAttr(root, unix.MOUNT_ATTR_NODEV, 0, false)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot mount the root of app %q: %w", doc.Apps[i].Name, err)
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// note writes what has happened to the events.
func note(doc *contract.Pod, o assemble.Outcome) error {
	f, err := os.OpenFile(podDir+"/"+contract.EventsFile, os.O_WRONLY|os.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	now := time.Now().UnixNano()
	lines := contract.RunLine(os.Getpid(), now) + contract.InitLine(o.PID, now)
	if o.Ended {
		app := doc.Apps[0].Name
		lines += contract.StartedLine(app, o.App, o.Started.UnixNano()) + doc.OOMLine(app, cgroup.OOMKills, o.Finished.UnixNano()) +
			contract.ExitedLine(app, o.Status, o.Finished.UnixNano())
	}
	_, err = f.WriteString(lines)
	f.Close()
	return err
}
