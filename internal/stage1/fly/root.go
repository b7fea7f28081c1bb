// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/overlay"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// place is where the app's root is attached in the pod's mount namespace: a
// directory that is on every machine, below a mount of its own.
const (
	place      = "/proc/fs"
	placeMount = "/proc"
)

// hostDirs are the host's own, in the app's root.
var hostDirs = []string{"/proc", "/sys", "/dev"}

// enterRoot puts the app's root together and makes it the calling thread's, which
// is in a mount namespace of its own from then on, and has to end with the pod. It
// returns a descriptor of the root.
func enterRoot(doc *contract.Pod, app *contract.App) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return -1, os.NewSyscallError("unshare", err)
	}
	root, err := overlay.Stack(app.Layers, app.Upper, app.Work, unix.MOUNT_ATTR_NODEV, "volatile")
	if err != nil {
		return -1, fmt.Errorf("cannot mount the root of app %q: %w", app.Name, err)
	}
	// Copied while they still share their mounts with the host's.
	var host []int
	for _, dir := range hostDirs {
		m, err := mount.Clone(unix.AT_FDCWD, dir, true)
		if err != nil {
			return -1, err
		}
		host = append(host, m)
	}
	// What is attached below must not show on the host.
	if err := unix.Mount("", placeMount, "", unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("cannot detach from the host's %s: %w", placeMount, err)
	}
	at, err := unix.Open(place, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: place, Err: err}
	}
	if err := mount.Attach(root, at); err != nil {
		return -1, err
	}
	failpoint.Hit("fly/root")
	// Before the host's directories: nothing that the image names may be made there.
	if err := fill(doc, app, root); err != nil {
		return -1, fmt.Errorf("cannot set up app %q: %w", app.Name, err)
	}
	for i, dir := range hostDirs {
		if err := attachHost(root, dir, host[i]); err != nil {
			return -1, fmt.Errorf("cannot set up %s of app %q: %w", dir, app.Name, err)
		}
	}
	if app.ReadOnlyRoot {
		if err := mount.SetAttr(root, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
			return -1, fmt.Errorf("cannot make the root of app %q read-only: %w", app.Name, err)
		}
	}
	if err := unix.Fchdir(root); err != nil {
		return -1, os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return -1, os.NewSyscallError("chroot", err)
	}
	return root, nil
}

// fill mounts in the root what the app sees beside its image and hostDirs.
func fill(doc *contract.Pod, app *contract.App, root int) error {
	tmp, err := mount.New("tmpfs", unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID, "mode=1777")
	if err != nil {
		return err
	}
	defer unix.Close(tmp)
	own := []int{root, tmp}
	if err := attach(own, "tmp", tmp, safepath.MkdirAllInRoot, 0o755); err != nil {
		return err
	}
	if err := etc(doc, own); err != nil {
		return err
	}
	if dir := app.WorkingDir; dir != "" && dir != "/" {
		fd, err := safepath.MkdirAllInRoot(root, dir, 0o755)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	for i := range app.Mounts {
		if err := volume(own, &app.Mounts[i]); err != nil {
			return fmt.Errorf("cannot mount volume %q at %s: %w", app.Mounts[i].Volume, app.Mounts[i].Target, err)
		}
	}
	return nil
}

// etc puts resolv.conf and hosts over the image's.
func etc(doc *contract.Pod, own []int) error {
	files := map[string]*string{"etc/resolv.conf": doc.Resolv, "etc/hosts": doc.Hosts}
	if doc.HostsIfMissing {
		if exists, empty := appinit.LookAt(own[0], "etc/hosts"); exists && !empty {
			delete(files, "etc/hosts")
		}
	}
	for target, content := range files {
		if content == nil {
			continue
		}
		if err := bindContent(own, target, *content); err != nil {
			return fmt.Errorf("cannot write /%s: %w", target, err)
		}
	}
	return nil
}

// bindContent mounts a file that is nowhere else.
func bindContent(own []int, target, content string) error {
	fs, err := mount.New("tmpfs", unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode=0755", "size=64k")
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	fd, err := unix.Openat(fs, "file", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return os.NewSyscallError("write", err)
	}
	m, err := mount.Clone(fd, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	return attach(own, target, m, safepath.CreateInRoot, 0o644)
}

// volume mounts one of the app's volumes. What is mounted in it later, on either
// side, shows on both, if the host shares the mount it lies on.
func volume(own []int, v *contract.Mount) error {
	target := filepath.Clean("/" + v.Target)
	if target == "/" {
		return errors.New("this place is the pod's own")
	}
	if v.Keep {
		at, err := safepath.MkdirAllInRoot(own[0], target, 0o755)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		if ownPlace(own, at) != nil {
			return nil // another volume lies there
		}
		m, err := mount.Clone(at, "", false)
		if err != nil {
			return err
		}
		defer unix.Close(m)
		return mount.Attach(m, at)
	}
	m, err := mount.Clone(unix.AT_FDCWD, v.Source, v.Recursive)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if v.ReadOnly {
		if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY, 0, v.Recursive); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(m, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return attach(own, target, m, safepath.MkdirAllInRoot, 0o755)
	}
	return attach(own, target, m, safepath.CreateInRoot, 0o644)
}

// attachHost attaches a copy of one of hostDirs, and closes it.
func attachHost(root int, dir string, m int) error {
	defer unix.Close(m)
	at, err := safepath.MkdirAllInRoot(root, dir, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if path, err := pathInRoot(at); err != nil || path != dir {
		return errors.Join(errors.New("the image makes it a link"), err)
	}
	return mount.Attach(m, at)
}

// attach attaches a detached mount at a place of the root, which is made if the
// image has none. own are the root and what of the pod's is mounted in it.
func attach(own []int, target string, m int, make func(int, string, uint32) (int, error), mode uint32) error {
	at, err := make(own[0], target, mode)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := ownPlace(own, at); err != nil {
		return err
	}
	return mount.Attach(m, at)
}

// ownPlace refuses what is mounted, or will be, from the host: what is attached
// there would show on the host, or be hidden.
func ownPlace(own []int, at int) error {
	path, err := pathInRoot(at)
	if err != nil {
		return err
	}
	if path == "" {
		return errors.New("it is the app's root")
	}
	for _, dir := range hostDirs {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return fmt.Errorf("%s is the host's own in this flavor", dir)
		}
	}
	there, err := mountID(at)
	if err != nil {
		return err
	}
	for _, fd := range own {
		if id, err := mountID(fd); err != nil || id == there {
			return err
		}
	}
	return errors.New("it lies in another volume, and would show on the host")
}

func pathInRoot(fd int) (string, error) {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return strings.TrimPrefix(path, place), err
}

func mountID(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, os.NewSyscallError("statx", err)
	}
	return st.Mnt_id, nil
}
