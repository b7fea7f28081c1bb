// SPDX-License-Identifier: Apache-2.0

package poddir

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/pidfd"
)

// StopPod asks the pod in dir to end whose first process is `run`'s own child:
// SIGTERM to `run`, or with force SIGKILL to the first process. A pod that has ended
// already is fine.
func StopPod(dir string, force bool) error {
	first, err := OpenFirst(dir)
	if err != nil || first.FD < 0 {
		return err
	}
	defer unix.Close(first.FD)
	if force {
		return Stop(first.FD, unix.SIGKILL)
	}
	_, err = Ask(first.Run, func() int { return pidfd.Parent(first.PID) })
	return err
}

// Ask asks `run` to end its pod. parent finds whose child a process of the pod is
// that must be `run`'s: its still being so proves that the pid was not given anew.
// asked is false if there is no `run` any more.
func Ask(run int, parent func() int) (asked bool, err error) {
	fd, err := pidfd.Open(run)
	if err != nil || fd < 0 {
		return false, err
	}
	defer unix.Close(fd)
	if parent() != run {
		return false, nil
	}
	return true, Stop(fd, unix.SIGTERM)
}

// First is a pod's first process, behind a pidfd, -1 if it has ended, and the pid of
// `run`.
type First struct{ PID, Run, FD int }

// OpenFirst opens the first process of the pod in dir. The pid in the pod's
// directory is believed only if that process's parent is `run`, which the same file
// names.
func OpenFirst(dir string) (First, error) {
	events, err := Events(dir)
	if err != nil {
		return First{}, err
	}
	if events.Init == 0 || events.Run == 0 {
		return First{}, errors.New("cannot find the pod's process: the pod is just starting")
	}
	f := First{PID: events.Init, Run: events.Run, FD: -1}
	fd, err := pidfd.Open(f.PID)
	if err != nil || fd < 0 {
		return f, err
	}
	if pidfd.Parent(f.PID) != f.Run {
		unix.Close(fd)
		return f, nil
	}
	f.FD = fd
	return f, nil
}
