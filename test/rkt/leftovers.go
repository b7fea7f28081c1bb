// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pods are the UUIDs of all pods in the data directory, in whatever phase.
func (h *Host) Pods() []string {
	dirs, _ := filepath.Glob(filepath.Join(h.Dir, "pods", "*", "*"))
	var uuids []string
	for _, d := range dirs {
		uuids = append(uuids, filepath.Base(d))
	}
	slices.Sort(uuids)
	return uuids
}

// Leftovers lists what the host still has of a data directory's pods:
// processes that see mounts from it, mounts of the host's own, and cgroups
// named after one of pods.
func Leftovers(dataDir string, pods []string) []string {
	var left []string
	for _, pid := range pidsUnder(dataDir) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("process %d (%s)", pid, strings.ReplaceAll(string(cmdline), "\x00", " ")))
	}
	for _, line := range mountsUnder("/proc/self/mountinfo", dataDir) {
		left = append(left, "mount "+line)
	}
	for _, cg := range cgroupsOf(pods) {
		left = append(left, "cgroup "+cg)
	}
	return left
}

// pidsUnder are the processes that have something of the data directory
// mounted or a pod's file open, but in another mount namespace than the test: the
// pods' processes.
func pidsUnder(dataDir string) []int {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if strings.HasPrefix(cwd, dataDir+"/pods/") {
			pids = append(pids, pid)
			continue
		}
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || ns == own {
			continue
		}
		if holds(pid, dataDir+"/pods/") || mountsUnder(fmt.Sprintf("/proc/%d/mountinfo", pid), dataDir) != nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// holds tells whether a process has a file below dir open, such as a pod's lock.
func holds(pid int, dir string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		path, _ := os.Readlink(fd)
		return strings.HasPrefix(path, dir)
	})
}

func mountsUnder(mountinfo, dataDir string) []string {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.Contains(s.Text(), dataDir+"/") {
			lines = append(lines, s.Text())
		}
	}
	return lines
}

func cgroupsOf(pods []string) []string {
	if len(pods) == 0 {
		return nil
	}
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // cgroups come and go while we look
		}
		if slices.ContainsFunc(pods, func(uuid string) bool { return strings.Contains(d.Name(), uuid) }) {
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	return found
}

// killAll kills what pidsUnder finds, until nothing is left.
func (h *Host) killAll() {
	for range 100 {
		pids := pidsUnder(h.Dir)
		if pids == nil {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Gone waits until none of the host's processes belongs to a pod of the data
// directory, and ends the test if that does not come.
func (h *Host) Gone() {
	h.t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		pids := pidsUnder(h.Dir)
		if pids == nil {
			return
		}
		if time.Since(start) > Patience {
			h.t.Fatalf("processes of the pod are left: %v", Leftovers(h.Dir, nil))
		}
	}
}

// removeAll is os.RemoveAll that also takes what is immutable or mounted by a
// test that failed.
func removeAll(dir string) error {
	for _, line := range mountsUnder("/proc/self/mountinfo", dir) {
		if f := strings.Fields(line); len(f) > 4 {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
	return os.RemoveAll(dir)
}
