// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/overlay"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Handed is what belongs to one app of a pod whose first process is another
// program's. The descriptors are the caller's.
type Handed struct {
	// Root is a copy of the app's root with all that is mounted in it but /proc,
	// attached nowhere.
	Root int
	// Groups are files by which a process enters the app's cgroups, that of version
	// 2 among them.
	Groups []int
	Log    *os.File // nil for none
	Notify int      // a socket by which the app says how it is; 0 for none
}

// Roots mounts the root of each app, attached nowhere yet, for flavors that
// assemble their pods themselves. The calling thread is in an Assembly.
func Roots(doc *contract.Pod) (roots []int, err error) {
	for i := range doc.Apps {
		app := &doc.Apps[i]
		root, err := overlay.Stack(app.Layers, app.Upper, app.Work, unix.MOUNT_ATTR_NODEV, append([]string{"volatile"}, doc.OverlayOptions...)...)
		if err != nil {
			closeAll(roots)
			return nil, fmt.Errorf("cannot mount the root of app %q: %w", app.Name, err)
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// Hand finishes an assembly that was begun for a Machine, after Lay: cgroups,
// limits and logs. The thread stays where it is: in the pod's namespaces but for
// that of its processes.
func (a *Assembly) Hand() ([]Handed, error) {
	if !a.laid {
		if err := a.setUp(); err != nil {
			return nil, err
		}
	}
	if a.doc.Cgroup == "" {
		return nil, errors.New("this host has no cgroup hierarchy of version 2")
	}
	if err := a.openApps(false); err != nil {
		return nil, err
	}
	var list []Handed
	for _, app := range a.apps {
		if app.cgroup <= 0 {
			return nil, fmt.Errorf("cgroups of version 2 cannot be made at %s", a.doc.Cgroup)
		}
		procs, err := cgroup.OpenProcs(a.doc.Cgroup + "/" + app.Name)
		if err != nil {
			return nil, err
		}
		root, err := mount.Clone(app.root, "", true)
		if err != nil {
			return nil, err
		}
		list = append(list, Handed{Root: root, Groups: append(app.groups, procs), Log: app.log, Notify: app.notify})
	}
	return list, nil
}

// Proc mounts a /proc of the calling thread's pid namespace in root, protected as
// in every pod unless bare. place is a directory of the thread's mount namespace,
// which is its own, that no app can reach.
func Proc(root int, place string, bare bool) (err error) {
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=16k"); err != nil {
		return fmt.Errorf("cannot mount a place for /proc: %w", err)
	}
	defer func() {
		if uerr := unix.Unmount(place, unix.MNT_DETACH); err == nil {
			err = os.NewSyscallError("umount2", uerr)
		}
	}()
	for _, dir := range []string{procPlace, ".empty"} {
		if err := unix.Mkdir(place+"/"+dir, 0o555); err != nil {
			return os.NewSyscallError("mkdir", err)
		}
	}
	if err := bindDevice("/dev/null", place+"/.null"); err != nil {
		return err
	}
	empty := place + "/.empty"
	if err := unix.Mount("tmpfs", empty, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0555,size=4k"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	c := &forkexec.Child{}
	if err := procAt(c, place, bare); err != nil {
		return err
	}
	if err := c.Do(); err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	m, err := mount.Clone(unix.AT_FDCWD, place+"/"+procPlace, true)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	at, err := safepath.MkdirAllInRoot(root, "proc", 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}
