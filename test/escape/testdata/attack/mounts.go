// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

var mounts = map[string]attempt{
	"mount": func(a []string) error { // type, place, data
		if err := os.MkdirAll(a[1], 0o755); err != nil {
			return err
		}
		data := ""
		if len(a) > 2 {
			data = a[2]
		}
		err := unix.Mount("none", a[1], a[0], 0, data)
		if err == nil {
			err = unix.Unmount(a[1], unix.MNT_DETACH)
		}
		return err
	},
	"mount-stays": func(a []string) error { // and is left to the end of the namespace
		_ = os.MkdirAll(a[1], 0o755)
		return unix.Mount("none", a[1], a[0], 0, "")
	},
	"bind": func(a []string) error { return unix.Mount(a[0], a[1], "", unix.MS_BIND, "") },
	"remount": func(a []string) error {
		return unix.Mount("", a[0], "", unix.MS_BIND|unix.MS_REMOUNT, "")
	},
	"umount": func(a []string) error { return unix.Unmount(a[0], unix.MNT_DETACH) },
	"setattr": func(a []string) error {
		return unix.MountSetattr(unix.AT_FDCWD, a[0], 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV})
	},
	"open-tree": func(a []string) error {
		_, err := unix.OpenTree(unix.AT_FDCWD, a[0], unix.OPEN_TREE_CLONE)
		return err
	},
	"pivot": func([]string) error { return unix.PivotRoot("/", "/") },
	"move-mount": func(a []string) error {
		return unix.MoveMount(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0)
	},
	"fsopen": func(a []string) error {
		fd, err := unix.Fsopen(a[0], 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	},
	// fsconfig-long sends what overflowed legacy_parse_param (CVE-2022-0185); the
	// kernels of today refuse the last of it.
	"fsconfig-long": func([]string) error {
		fd, err := unix.Fsopen("ramfs", 0)
		if err != nil {
			return err
		}
		if err := unix.FsconfigSetString(fd, "mode", "700"); err != nil {
			return err
		}
		return nil
	},
	"unshare": func([]string) error {
		runtime.LockOSThread()
		return unix.Unshare(unix.CLONE_NEWNS)
	},
	// release-agent mounts a version 1 hierarchy of its own, and has the kernel
	// agree to run a program of the host. It never lets it.
	"release-agent": func(a []string) error {
		if err := os.MkdirAll(a[0], 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", a[0], "cgroup", 0, "none,name=rkt-escape"); err != nil {
			return err
		}
		defer func() { _ = unix.Unmount(a[0], 0) }()
		if err := os.WriteFile(a[0]+"/release_agent", []byte("/nonexistent/rkt-escape"), 0); err != nil {
			return err
		}
		b, err := os.ReadFile(a[0] + "/release_agent")
		if err == nil && !strings.Contains(string(b), "rkt-escape") {
			err = errNothing
		}
		return err
	},
	// cgroup-write takes write protection away first, if it may.
	"cgroup-write": func(a []string) error {
		_ = unix.Mount("", "/sys/fs/cgroup", "", unix.MS_BIND|unix.MS_REMOUNT, "")
		return files["open-write"]([]string{"/sys/fs/cgroup/" + a[0]})
	},
	// cgroup-mount mounts the version 2 tree anew, to see more of it.
	"cgroup-mount": func([]string) error {
		_ = os.MkdirAll("/tmp/cg", 0o755)
		if err := unix.Mount("none", "/tmp/cg", "cgroup2", 0, ""); err != nil {
			return err
		}
		return unix.Unmount("/tmp/cg", unix.MNT_DETACH)
	},
	"cgroup-path": func([]string) error { // tells the host's names
		b, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[2] != "/" && !strings.HasPrefix(f[2], "/..") {
				os.Stdout.WriteString(line)
				return nil
			}
		}
		return errNothing
	},
}
