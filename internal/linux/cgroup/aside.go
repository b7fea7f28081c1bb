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
	pids, err := Processes(dir)
	if err != nil {
		return err
	}
	if why := inTheWay(dir, pids); why != "" {
		return hint.Wrap(fmt.Errorf("cannot enable controllers %q in cgroup %s: %s", strings.Join(controllers, " "), dir, why),
			"give rkt a cgroup of its own: "+remedy(dir))
	}
	if err := Create(aside); err != nil {
		return err
	}
	if err := moveTo(aside, pids); err != nil {
		return fmt.Errorf("cannot move into cgroup %s: %w", aside, err)
	}
	return nil
}

// moveTo moves processes, but for those that have ended.
func moveTo(dir string, pids []int) error {
	for _, pid := range pids {
		if err := write(dir+"/cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// stranger tells whether a process, if it has not ended, is neither the caller nor a
// child of it. One of an outer pid namespace is 0.
func stranger(pid int) bool {
	if pid == os.Getpid() || pidfd.Parent(pid) == os.Getpid() {
		return false
	}
	return pid == 0 || unix.Kill(pid, 0) != unix.ESRCH
}

// inTheWay is why the caller may not step aside in dir, where pids are, or "".
func inTheWay(dir string, pids []int) string {
	if slices.ContainsFunc(pids, stranger) {
		return "other processes than rkt are in it"
	}
	if !delegated(dir) {
		return "systemd manages it and has not delegated it"
	}
	return ""
}

// Divisible tells whether cgroups below the caller's own of version 2, dir, can have
// controllers: they are enabled for them, or the caller may step aside.
func Divisible(dir string, controllers []string) bool {
	text, err := os.ReadFile(dir + "/cgroup.subtree_control")
	if err != nil || unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		return false
	}
	on := strings.Fields(string(text))
	if !slices.ContainsFunc(controllers, func(c string) bool { return !slices.Contains(on, c) }) {
		return true
	}
	if _, err := os.Lstat(dir + "/cgroup.type"); errors.Is(err, os.ErrNotExist) {
		return true // the hierarchy's root
	}
	pids, err := Processes(dir)
	return err == nil && inTheWay(dir, pids) == ""
}

// remedy is how rkt comes to a cgroup of its own instead of dir.
func remedy(dir string) string {
	if strings.HasSuffix(Unit(dir), ".service") {
		return "Delegate=yes in the unit " + Unit(dir) + ", as rkt generate systemd writes it"
	}
	return Delegate()
}

// Unit is systemd's unit that a cgroup is in, by its path: the last part that is the
// name of a service or a scope; "" if none is.
func Unit(dir string) (unit string) {
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			unit = part
		}
	}
	return unit
}

// StepBack undoes StepAside, once no other cgroup is left in dir, for the caller
// if it is the process in aside, with children or without, and for one that has
// died. An aside that is not there is fine.
func StepBack(dir, aside string) error {
	pids, err := Processes(aside)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if slices.Contains(pids, os.Getpid()) && !slices.ContainsFunc(pids, stranger) {
		if err = disableAll(dir); err == nil {
			err = moveTo(dir, pids)
		}
		if err == nil {
			err = RemoveEmpty(aside)
		}
		if err != nil {
			return fmt.Errorf("cannot leave cgroup %s: %w", aside, err)
		}
		return nil
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

// Processes are those in the cgroup itself.
func Processes(dir string) ([]int, error) {
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
