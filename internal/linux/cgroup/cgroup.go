// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes, limits, reads and removes cgroups, in the version 2
// hierarchy, which is at /sys/fs/cgroup on a unified host and at
// /sys/fs/cgroup/unified on a hybrid one, and in those of version 1 for the
// controllers that they have (Linux, Documentation/admin-guide/cgroup-v2.rst and
// cgroup-v1).
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNone says that this process sees no version 2 hierarchy, or none that
// reaches its own cgroup.
var ErrNone = errors.New("no cgroup version 2 hierarchy")

// Own returns the absolute directory of the caller's cgroup.
func Own() (string, error) {
	root, err := mountPoint()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot read own cgroup: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "/..") {
			return "", ErrNone // outside of this cgroup namespace
		}
		return strings.TrimSuffix(root+path, "/"), nil
	}
	return "", ErrNone
}

// Unified tells whether version 2 is all there is, in its usual place.
func Unified() bool {
	dir, err := mountPoint()
	return err == nil && dir == "/sys/fs/cgroup"
}

func mountPoint() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", ErrNone
}

// Create makes the cgroup dir, whose parent must be there; one that is there
// already is fine.
func Create(dir string) error {
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot create cgroup %s: %w", dir, err)
	}
	return nil
}

// Open returns a descriptor of the cgroup for clone3's CLONE_INTO_CGROUP.
func Open(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open cgroup %s: %w", dir, err)
	}
	return fd, nil
}

// OpenTasks returns a descriptor of a version 1 cgroup's tasks, to which a process
// of a single thread writes "0" to move there: in version 1 nothing is born in a
// cgroup. Writing to cgroup.procs would do, and wait until all processors have
// been through the scheduler (the kernel's cgroup_threadgroup_rwsem: some 10 ms);
// for a thread that moves itself alone Linux 5.5 and later need not.
func OpenTasks(dir string) (int, error) {
	fd, err := unix.Open(dir+"/tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open cgroup %s: %w", dir, err)
	}
	return fd, nil
}

// OpenProcs returns a descriptor of the cgroup's cgroup.procs, to which a process
// writes "0" to move there, in version 2 as well.
func OpenProcs(dir string) (int, error) {
	fd, err := unix.Open(dir+"/cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open cgroup %s: %w", dir, err)
	}
	return fd, nil
}

// Remove kills what is left in the cgroup and in those below it, and removes
// them. One that is gone already is fine. It waits up to five seconds for
// processes to leave.
func Remove(dir string) error {
	err := RemoveEmpty(dir)
	if err == nil {
		return nil
	}
	kerr := write(dir+"/cgroup.kill", "1")
	if kerr != nil && !errors.Is(kerr, fs.ErrNotExist) {
		return fmt.Errorf("cannot kill cgroup %s: %w", dir, kerr)
	}
	for wait := time.Millisecond; wait < 3*time.Second; wait *= 2 {
		if kerr != nil { // version 1, or Linux before 5.14
			killEach(dir)
		}
		if err = RemoveEmpty(dir); err == nil {
			return nil
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
}

// Kill kills all processes in the cgroup and in those below it (Linux 5.14).
func Kill(dir string) error { return write(dir+"/cgroup.kill", "1") }

// Populated tells whether a process is in the version 2 cgroup or in one below it.
func Populated(dir string) bool {
	n, ok := value(dir+"/cgroup.events", "populated")
	return ok && n != 0
}

// killEach kills the processes in dir and below it, one by one.
func killEach(dir string) {
	pids, _ := Processes(dir)
	for _, pid := range pids {
		if pid > 1 && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			killEach(dir + "/" + e.Name())
		}
	}
}

// RemoveEmpty removes dir and the cgroups below it, deepest first, unless a
// process is in one: then it fails. One that is gone already is fine.
func RemoveEmpty(dir string) error {
	if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // rmdir(2) on a read-only mount says EROFS before ENOENT
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := RemoveEmpty(dir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}
