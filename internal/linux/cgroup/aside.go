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
	"github.com/rkt/rkt/internal/linux/userns"
)

// StepAside moves the caller and its children from the version 2 cgroup dir,
// which must have no other processes, into a new one at aside, so that controllers
// can be enabled in dir (as systemd-nspawn does), which are named in errors. It refuses if others are there,
// which are not ours to move, and if dir belongs to a systemd that did not delegate it: that may take
// the controllers away again at any time (systemd, "Control Group APIs and
// Delegation").
func StepAside(dir, aside string, controllers []string) error {
	remedy := "give rkt a cgroup of its own: " + Delegate()
	pids, err := processes(dir)
	if err != nil {
		return err
	}
	refused := func(why string) error {
		return hint.Wrap(fmt.Errorf("cannot enable controllers %q in cgroup %s: %s", strings.Join(controllers, " "), dir, why), remedy)
	}
	if slices.ContainsFunc(pids, func(pid int) bool { return pid != os.Getpid() && pidfd.Parent(pid) != os.Getpid() }) {
		return refused("other processes than rkt are in it")
	}
	if !delegated(dir) {
		return refused("systemd manages it and has not delegated it")
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
// if it is the process in aside, and for one that has died. An aside that is not
// there is fine.
func StepBack(dir, aside string) error {
	pids, err := processes(aside)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.Equal(pids, []int{os.Getpid()}) {
		if err = disableAll(dir); err == nil {
			err = write(dir+"/cgroup.procs", strconv.Itoa(os.Getpid()))
		}
		if err != nil {
			return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
		}
		return RemoveEmpty(aside)
	}
	if err := RemoveEmpty(aside); err != nil || len(pids) > 0 {
		return err
	}
	// Its rkt was killed. Nobody could be in dir as long as controllers are on in
	// it, and if other cgroups are there by now they are whose they are.
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
	}
	if slices.ContainsFunc(entries, os.DirEntry.IsDir) {
		return nil
	}
	if err := disableAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
	}
	return nil
}

// disableAll takes the controllers of dir from the cgroups below it.
func disableAll(dir string) error {
	text, err := os.ReadFile(dir + "/cgroup.subtree_control")
	if err != nil {
		return err
	}
	on := strings.Fields(string(text))
	if len(on) == 0 {
		return nil
	}
	return write(dir+"/cgroup.subtree_control", "-"+strings.Join(on, " -"))
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

// Delegate is the command by which a systemd gives the caller's rkt a cgroup.
func Delegate() string {
	if userns.Initial() {
		return "systemd-run --scope -p Delegate=yes rkt …"
	}
	return "systemd-run --user --scope -p Delegate=yes rkt …"
}

// delegated reports whether dir is ours to change: systemd marks what it gave
// away, and where no systemd runs nobody else decides. What was given to a user's
// systemd is that one's to give away.
func delegated(dir string) bool {
	if _, err := os.Lstat("/run/systemd/system"); errors.Is(err, os.ErrNotExist) {
		return true
	}
	for at := dir; len(at) > 1 && (at == dir || !usersManager(filepath.Base(at))); at = filepath.Dir(at) {
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

// usersManager tells whether a unit is a user's systemd (user@.service(5)).
func usersManager(unit string) bool {
	return strings.HasPrefix(unit, "user@") && strings.HasSuffix(unit, ".service")
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
