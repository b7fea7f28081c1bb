// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
)

// Homes returns, for each of the named controllers, the absolute directory of
// the caller's own cgroup in the hierarchy that has it: the version 2 hierarchy
// if the controller is available to the caller's cgroup there, else its version
// 1 hierarchy. Controllers are named as in version 2 ("io" is version 1's
// blkio). One that no hierarchy has is an error that names it.
func Homes(controllers []string) (map[string]string, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("cannot read own cgroup: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find cgroup hierarchies: %w", err)
	}
	return homes(string(own), string(mounts), controllers)
}

// V1Name is a controller's name in version 1.
func V1Name(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

func homes(own, mounts string, controllers []string) (map[string]string, error) {
	found := map[string]string{}
	v2, v2err := ownDir(own, mounts, "")
	if v2err != nil && !errors.Is(v2err, ErrNone) {
		return nil, v2err
	}
	var available []string
	if v2 != "" {
		text, err := os.ReadFile(v2 + "/cgroup.controllers")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the controllers of cgroup %s: %w", v2, err)
		}
		available = strings.Fields(string(text))
	}
	for _, c := range controllers {
		if slices.Contains(available, c) {
			found[c] = v2
			continue
		}
		dir, err := ownDir(own, mounts, V1Name(c))
		if errors.Is(err, ErrNone) {
			err := fmt.Errorf("no cgroup hierarchy has the controller %q", c)
			if v2 != "" {
				return nil, hint.Wrap(err, "cgroup "+v2+" has only "+listed(available)+
					": the kernel lacks it, or it is not enabled in the cgroup above (cgroup.subtree_control)")
			}
			return nil, hint.Wrap(err, "see /proc/cgroups for what this kernel has")
		}
		if err != nil {
			return nil, err
		}
		found[c] = dir
	}
	return found, nil
}

func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

// ownDir finds the caller's cgroup in the hierarchy of a version 1 controller,
// or in the version 2 hierarchy for "". own and mounts are the contents of
// /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc(5)).
func ownDir(own, mounts, controller string) (string, error) {
	path, ok := ownPath(own, controller)
	if !ok {
		return "", ErrNone
	}
	if strings.HasPrefix(path, "/..") {
		return "", ErrNone // outside of this cgroup namespace
	}
	fstype := "cgroup"
	if controller == "" {
		fstype = "cgroup2"
	}
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(super) < 3 || super[0] != fstype {
			continue
		}
		if controller != "" && !slices.Contains(strings.Split(super[2], ","), controller) {
			continue
		}
		// The mount may show only a part of the hierarchy, in a container.
		root, at := unescape(f[3]), unescape(f[4])
		below, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
		if !ok || below != "" && below[0] != '/' {
			continue
		}
		return strings.TrimSuffix(at+below, "/"), nil
	}
	return "", ErrNone
}

// ownPath is the caller's path in a hierarchy, from its root.
func ownPath(own, controller string) (string, bool) {
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if controller == "" && f[0] == "0" && f[1] == "" ||
			controller != "" && slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2], strings.HasPrefix(f[2], "/")
		}
	}
	return "", false
}

// unescape undoes what the kernel does to white space in mountinfo.
func unescape(s string) string {
	if !strings.ContainsRune(s, '\\') {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
