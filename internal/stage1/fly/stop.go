// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/contract"
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
		return send(app.fd, unix.SIGKILL)
	}
	run, err := unix.PidfdOpen(app.run, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", app.run, err)
	}
	defer unix.Close(run)
	// The app still being its child proves that the pid was not given anew.
	if parent(app.pid) != app.run {
		return nil
	}
	return send(run, unix.SIGTERM)
}

func send(pidfd int, sig unix.Signal) error {
	if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("cannot stop the pod: %w", err)
	}
	return nil
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
	b, err := os.ReadFile(contract.EventsFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return running{}, fmt.Errorf("cannot read the pod's events: %w", err)
	}
	events := contract.ParseEvents(string(b))
	if events.Init == 0 || events.Run == 0 {
		return running{}, errors.New("cannot find the pod's process: the pod is just starting")
	}
	r := running{pid: events.Init, run: events.Run, fd: -1}
	fd, err := unix.PidfdOpen(r.pid, 0)
	if err == unix.ESRCH {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("cannot open process %d: %w", r.pid, err)
	}
	if parent(r.pid) != r.run {
		unix.Close(fd)
		return r, nil
	}
	r.fd = fd
	return r, nil
}

// parent is the pid of a process's parent (proc(5), stat); 0 if it has ended.
func parent(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in parentheses, may have any character.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}
