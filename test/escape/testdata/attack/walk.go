// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// writable prints what below the trees takes what is written, by writing nothing
// to it. Directories of processes are left out, they are the pod's own; and what
// is named with a minus.
func writable(args []string) error {
	found := false
	for _, tree := range args {
		if strings.HasPrefix(tree, "-") {
			continue
		}
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if slices.Contains(args, "-"+path) {
				return fs.SkipDir
			}
			if d.IsDir() {
				if name, ok := strings.CutPrefix(path, "/proc/"); ok && (strings.Trim(name, "0123456789") == "" || name == "self" || name == "thread-self") {
					return fs.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() {
				return nil
			}
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				return nil // the null device, as a mask
			}
			// EIO: root may open everything, but this has nobody who listens.
			if _, err := unix.Write(fd, nil); err != unix.EIO {
				found = true
				fmt.Println("writable", path)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return errNothing
	}
	return nil
}
