// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/pidfd"
)

// StepAside moves the caller and its children from the version 2 cgroup dir,
// which must have no other processes, into a new one at aside, so that controllers
// can be enabled in dir (as systemd-nspawn does). It refuses if others are there,
// which are not ours to move, and if dir belongs to a systemd that did not delegate it: that may take
// the controllers away again at any time (systemd, "Control Group APIs and
// Delegation").
func StepAside(dir, aside string) error {
	remedy := "give rkt a cgroup of its own: systemd-run --scope -p Delegate=yes rkt …"
	pids, err := processes(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(pids, func(pid int) bool { return pid != os.Getpid() && pidfd.Parent(pid) != os.Getpid() }) {
		return hint.Wrap(fmt.Errorf("cannot enable controllers in cgroup %s: other processes than rkt are in it", dir), remedy)
	}
	if !delegated(dir) {
		return hint.Wrap(fmt.Errorf("cannot enable controllers in cgroup %s: systemd manages it and has not delegated it", dir), remedy)
	}
	if err := Create(aside); err != nil {
		return err
	}
	for _, pid := range pids {
		if err := write(aside+"/cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot move into cgroup %s: %w", aside, err)
		}
	}
	return nil
}

// StepBack undoes StepAside, once no other cgroup is left in dir, for the caller
// if it is the process in aside. An aside that is not there is fine.
func StepBack(dir, aside string) error {
	pids, err := processes(aside)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.Equal(pids, []int{os.Getpid()}) {
		text, err := os.ReadFile(dir + "/cgroup.subtree_control")
		if err != nil {
			return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
		}
		if on := strings.Fields(string(text)); len(on) > 0 {
			err = write(dir+"/cgroup.subtree_control", "-"+strings.Join(on, " -"))
		}
		if err == nil {
			err = write(dir+"/cgroup.procs", strconv.Itoa(os.Getpid()))
		}
		if err != nil {
			return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
		}
	}
	return RemoveEmpty(aside)
}

// RemoveAll removes cgroups of a pod, with what is left in them (Remove), and
// steps back from aside, if that is not "". It goes on after an error.
func RemoveAll(dirs []string, aside string) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, Remove(dir))
	}
	if aside != "" {
		errs = append(errs, StepBack(filepath.Dir(aside), aside))
	}
	return errors.Join(errs...)
}

// delegated reports whether dir is ours to change: systemd marks what it gave
// away, and where no systemd runs nobody else decides.
func delegated(dir string) bool {
	if _, err := os.Lstat("/run/systemd/system"); errors.Is(err, os.ErrNotExist) {
		return true
	}
	for at := dir; len(at) > 1; at = filepath.Dir(at) {
		for _, name := range []string{"trusted.delegate", "user.delegate"} {
			value := make([]byte, 8)
			n, err := unix.Getxattr(at, name, value)
			if err == nil && string(value[:n]) == "1" {
				return true
			}
		}
	}
	return false
}

// processes are those in the cgroup itself.
func processes(dir string) ([]int, error) {
	text, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes of cgroup: %w", err)
	}
	var pids []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("cannot list processes of cgroup %s: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
