// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return path, nil
}

// descendants are the processes below pid.
func descendants(pid int) []int {
	var all []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(s); err == nil {
				all = append(all, child)
				all = append(all, descendants(child)...)
			}
		}
	}
	return all
}

// conmonOf finds the conmons of all containers in the storage that the podman
// pid works on: they have left its process tree, but have the storage's path
// among their arguments.
func conmonOf(pid int) []int {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(cmdline), "\x00")
	i := slices.Index(args, "--root")
	if i < 0 || filepath.Base(args[0]) != "podman" {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	var all []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || comm(n) != "conmon" {
			continue
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n))
		if strings.Contains(string(text), args[i+1]) {
			all = append(all, n)
		}
	}
	return all
}

func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

// pss is a process's proportional set size in KiB (proc(5), smaps_rollup).
func pss(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			n, _ := strconv.ParseFloat(f[1], 64)
			return n
		}
	}
	return 0
}

// sleeping waits until the app of the pod that pid holds runs.
func sleeping(pid int) error {
	for range 1000 {
		below := descendants(pid)
		for _, c := range conmonOf(pid) {
			below = append(below, descendants(c)...)
		}
		if slices.ContainsFunc(below, func(p int) bool { return comm(p) == "sleep" }) {
			return nil
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
			return errors.New("ended instead of sleeping")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("no app appeared in 10 s")
}
