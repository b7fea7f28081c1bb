// SPDX-License-Identifier: Apache-2.0

// Package cni attaches pods to networks that an administrator described for the
// Container Network Interface: it reads the configurations, runs their plugins,
// keeps what it takes to undo them, and undoes them. It follows the CNI
// specification 1.1 (SPEC.md, CONVENTIONS.md) and speaks every version since
// 0.1.0, rkt's own.
//
// A plugin is somebody else's program that runs with all of rkt's privileges.
// It cannot be contained, but it is kept short: a bounded time, a bounded
// output, an environment of what the specification names, and no descriptor but
// its standard streams. What it prints is read as a stranger's text.
//
// # What is undone, and when
//
// Before the first plugin of a network runs, a Record is written: all it takes
// to run DEL, without the configuration's file, in another process, after a
// crash. It goes when DEL has succeeded, and not before. So a plugin may see a
// DEL for an ADD that never came, or two, as the specification demands of it.
package cni

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// Versions of the specification that rkt speaks, rising.
func Versions() []string {
	return []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
}

// atLeast compares two of Versions.
func atLeast(v, least string) bool {
	all := Versions()
	return slices.Index(all, v) >= slices.Index(all, least)
}

// known refuses a version that rkt does not speak.
func known(v string) error {
	all := Versions()
	if slices.Contains(all, v) {
		return nil
	}
	return fmt.Errorf("cniVersion %q is not known (want %s to %s)", v, all[0], all[len(all)-1])
}

// ValidName tells whether s may name a network or a container: it is part of
// paths and of other programs' rules.
func ValidName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return true
}

// validInterface: of what the kernel takes, no "%", which it expands.
func validInterface(s string) bool {
	return netlink.ValidName(s) && !strings.ContainsAny(s, "%\x00")
}

// validType: a plugin is a file's name in one of the plugin directories.
func validType(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) < 256 && !strings.ContainsAny(s, "/\\\x00")
}
