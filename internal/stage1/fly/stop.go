// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
)

// Stop is the `stop` entry point: SIGTERM to the pod's `run` process, which asks
// the app to end, or with force SIGKILL to the app, after which `run` kills what
// else there is. A pod that has ended already is fine.
func Stop(force bool) error {
	app, err := openApp()
	if err != nil || app.fd < 0 {
		return err
	}
	defer unix.Close(app.fd)
	if force {
		return poddir.Stop(app.fd, unix.SIGKILL)
	}
	run, err := pidfd.Open(app.run)
	if err != nil || run < 0 {
		return err
	}
	defer unix.Close(run)
	// The app still being its child proves that the pid was not given anew.
	if pidfd.Parent(app.pid) != app.run {
		return nil
	}
	return poddir.Stop(run, unix.SIGTERM)
}

// GC is the `gc` entry point: it kills what a pod left whose `run` was killed, and
// removes its cgroup. Without cgroups of version 2 nobody knows such processes.
func GC() error {
	doc, _, err := document()
	if err != nil {
		return err
	}
	if doc.Cgroup == "" {
		return nil
	}
	return cgroup.Remove(doc.Cgroup)
}

// running is the app's process behind a pidfd, -1 if it has ended, and the pid of
// `run`.
type running struct{ pid, run, fd int }

// openApp opens the app's process. The pid in the pod's directory is believed only
// if that process's parent is `run`, which the same file names.
func openApp() (running, error) {
	events, err := poddir.Events(".")
	if err != nil {
		return running{}, err
	}
	if events.Init == 0 || events.Run == 0 {
		return running{}, errors.New("cannot find the pod's process: the pod is just starting")
	}
	r := running{pid: events.Init, run: events.Run, fd: -1}
	fd, err := pidfd.Open(r.pid)
	if err != nil || fd < 0 {
		return r, err
	}
	if pidfd.Parent(r.pid) != r.run {
		unix.Close(fd)
		return r, nil
	}
	r.fd = fd
	return r, nil
}
