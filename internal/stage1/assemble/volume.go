// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// source is a volume's source: a detached mount of what is at its path.
type source struct {
	mount     int // 0 for a Keep mount
	directory bool
	rule      devcgroup.Rule // that lets a volume which is a device be opened
}

// openVolumes opens the sources of the app's mounts, in the document's order.
// users is the pod's user namespace, or 0.
func openVolumes(app *contract.App, users int) ([]source, error) {
	list := make([]source, 0, len(app.Mounts))
	for i := range app.Mounts {
		v, err := openVolume(&app.Mounts[i], users)
		if err != nil {
			closeVolumes(list)
			return nil, fmt.Errorf("cannot set up app %q: %w", app.Name, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func closeVolumes(list []source) {
	for _, v := range list {
		if v.mount > 0 {
			unix.Close(v.mount)
		}
	}
}

// openVolume takes a detached copy of the source's mount, with the volume's
// flags on it.
func openVolume(v *contract.Mount, users int) (source, error) {
	if v.Keep {
		return source{directory: true}, nil
	}
	s, err := cloneVolume(v, users)
	if err != nil {
		return source{}, fmt.Errorf("cannot open volume %q: %w", v.Volume, err)
	}
	return s, nil
}

func cloneVolume(v *contract.Mount, users int) (source, error) {
	fd, err := unix.Open(v.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return source{}, &os.PathError{Op: "open", Path: v.Source, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return source{}, os.NewSyscallError("fstat", err)
	}
	m, err := mount.Clone(fd, "", v.Recursive)
	if errors.Is(err, unix.EINVAL) && !v.Recursive && !userns.Initial() {
		// mount_namespaces(7): what a mount of the host's covers stays covered.
		return source{}, hint.Wrap(fmt.Errorf("something else is mounted in %s, and only root may leave it out", v.Source), "say recursive=true")
	}
	if err != nil {
		return source{}, err
	}
	var set uint64
	s := source{mount: m, directory: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		set |= noDevices // a device itself may be a volume, one inside may not
	} else if v.ReadOnly {
		s.rule = devcgroup.Of(&st, devcgroup.Read)
	} else {
		s.rule = devcgroup.Of(&st, devcgroup.Read|devcgroup.Write)
	}
	err = appinit.ConfineVolume(m, v, set)
	if err == nil && users > 0 {
		err = mount.MapOwners(m, users, fd, v.Recursive)
	}
	if err != nil {
		unix.Close(m)
		return source{}, err
	}
	return s, nil
}

// attachVolumes attaches the app's volumes in the order of the document.
func attachVolumes(root int, app *contract.App, sources []source) error {
	for i := range app.Mounts {
		v := &app.Mounts[i]
		if err := attachVolume(root, v, sources[i]); err != nil {
			return fmt.Errorf("cannot mount volume %q at %s: %w", v.Volume, v.Target, err)
		}
	}
	return nil
}

func attachVolume(root int, v *contract.Mount, src source) error {
	target := filepath.Clean("/" + v.Target)
	for _, own := range []string{"/", "/proc", "/sys", "/dev"} {
		if target == own || own == "/proc" && strings.HasPrefix(target, "/proc/") {
			return errors.New("this place is the pod's own")
		}
	}
	var at int
	var err error
	if src.directory {
		at, err = safepath.MkdirAllInRoot(root, target, 0o755)
	} else {
		at, err = safepath.CreateInRoot(root, target, 0o644)
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	own, err := ownPlace(root, at)
	if err != nil {
		return err
	}
	m := src.mount
	if v.Keep {
		if !own {
			return nil // another volume, or what hides a part of /proc, lies there
		}
		// What the image has there, as a mount of its own that stays writable
		// when the root's is made read-only.
		if m, err = mount.Clone(at, "", false); err != nil {
			return err
		}
		defer unix.Close(m)
	}
	return mount.Attach(m, at)
}

// ownPlace tells whether at is the image's own content, and not of another
// mount. A target that a link in the image makes the root itself is refused.
func ownPlace(root, at int) (bool, error) {
	var r, a unix.Stat_t
	if err := unix.Fstat(root, &r); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstat(at, &a); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if r.Dev == a.Dev && r.Ino == a.Ino {
		return false, errors.New("a link in the image makes it the app's root")
	}
	return r.Dev == a.Dev, nil
}
