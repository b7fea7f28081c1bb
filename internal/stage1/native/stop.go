// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
)

// Stop is the `stop` entry point: SIGTERM to the pod's `run` process, which
// asks the apps to end, or with force SIGKILL to its first process, with which
// the kernel ends all others and of which `run` tells. A pod that has ended
// already is fine; one that is paused goes on, or it could not hear of it.
func Stop(force bool) error {
	doc, err := poddir.Document(".")
	if err != nil {
		return err
	}
	init, err := openInit(".")
	if err != nil {
		return err
	}
	if init.fd < 0 {
		return nil
	}
	defer unix.Close(init.fd)
	if force {
		return poddir.Stop(init.fd, unix.SIGKILL)
	}
	events, err := poddir.Events(".")
	if err != nil {
		return err
	}
	asked, err := poddir.Ask(events.Run, func() int { return pidfd.Parent(init.pid) })
	if err != nil || !asked || doc.Cgroup == "" {
		return err
	}
	return cgroup.Thaw(doc.Cgroup)
}

// GC is the `gc` entry point: it removes the pod's cgroups.
func GC() error {
	doc, err := poddir.Document(".")
	if err != nil {
		return err
	}
	return cgroup.RemoveAll(doc.CgroupDirs(), doc.Aside())
}

// process is a live process behind a pidfd; fd is -1 if it has ended.
type process struct{ pid, fd int }

// openInit opens the pod's first process. The pid in the pod directory is
// believed only if it is pid 1 of a pid namespace of its own.
func openInit(dir string) (process, error) {
	events, err := poddir.Events(dir)
	if err != nil {
		return process{}, err
	}
	pid := events.Init
	if pid == 0 {
		return process{}, errors.New("cannot find the pod's first process: the pod is just starting")
	}
	p, err := openProcess(pid)
	if err != nil || p.fd < 0 {
		return p, err
	}
	status, err := procStatus(pid)
	if err != nil {
		unix.Close(p.fd)
		return process{fd: -1}, nil
	}
	inside := strings.Fields(status["NSpid"])
	if len(inside) < 2 || inside[len(inside)-1] != "1" {
		unix.Close(p.fd)
		return process{fd: -1}, nil // the pid belongs to somebody else by now
	}
	return p, nil
}

// OpenInit gives a descriptor of the first process of the pod in dir, by what its
// events say; -1 if that has ended. The caller closes it.
func OpenInit(dir string) (fd int, err error) {
	p, err := openInit(dir)
	return p.fd, err
}

func openProcess(pid int) (process, error) {
	fd, err := pidfd.Open(pid)
	return process{pid, fd}, err
}

// procStatus reads /proc/<pid>/status (proc(5)) as key and value.
func procStatus(pid int) (map[string]string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = strings.TrimSpace(v)
		}
	}
	return m, nil
}
