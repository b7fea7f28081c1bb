// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/overlay"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// place, in the pod's directory, is where the keeper puts together what the machine
// is given, in a mount namespace of its own. (Not in /proc, as others do: the server
// of files mounts one of its own.)
const place = contract.PrivateDir + "/machine"

// Below place: what is shared with the guest, an empty directory, and the socket of
// the server of files.
const (
	shareDir    = place + "/share"
	emptyDir    = place + "/empty"
	shareSocket = place + "/socket"
)

// layShare mounts what the guest is to see of the host: the apps' roots, their
// volumes by number, and the directory of their logs. The calling thread is in a
// mount namespace of its own.
func layShare(doc *contract.Pod) error {
	// What the host mounts later reaches volumes; nothing flows back.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot detach from the host's mounts: %w", err)
	}
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0711,size=1m"); err != nil {
		return fmt.Errorf("cannot mount the machine's own tmpfs: %w", err)
	}
	for _, dir := range []string{emptyDir, shareDir, shareDir + "/" + wire.Roots, shareDir + "/" + wire.Volumes, shareDir + "/" + wire.Logs} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	number := 0
	for i := range doc.Apps {
		app := &doc.Apps[i]
		root, err := overlay.Stack(app.Layers, app.Upper, app.Work, unix.MOUNT_ATTR_NODEV, "volatile")
		if err == nil {
			err = attach(root, filepath.Join(shareDir, wire.Roots, app.Name), true)
		}
		if err != nil {
			return fmt.Errorf("cannot mount the root of app %q: %w", app.Name, err)
		}
		for j := range app.Mounts {
			if m := &app.Mounts[j]; !m.Keep {
				if !vmm.ServesFiles() {
					return needsServer(fmt.Sprintf("share volume %q", m.Volume))
				}
				if err := layVolume(m, volumePath(shareDir, number)); err != nil {
					return fmt.Errorf("cannot open volume %q: %w", m.Volume, err)
				}
				number++
			}
		}
	}
	if !logged(doc) {
		return nil
	}
	if !vmm.ServesFiles() {
		return needsServer("write the apps' logs")
	}
	if err := os.MkdirAll(contract.LogDir, 0o700); err != nil {
		return fmt.Errorf("cannot open the apps' logs: %w", err)
	}
	logs, err := mount.Clone(unix.AT_FDCWD, contract.LogDir, false)
	if err == nil {
		err = mount.SetAttr(logs, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0, false)
	}
	if err == nil {
		err = attach(logs, filepath.Join(shareDir, wire.Logs), true)
	}
	if err != nil {
		return fmt.Errorf("cannot open the apps' logs: %w", err)
	}
	return nil
}

// needsServer refuses what takes a server of files.
func needsServer(what string) error {
	return hint.Wrap(fmt.Errorf("cannot %s with the virtual machine: there is no virtiofsd", what), "install it: Debian 12 has it in qemu-system-common, later ones in virtiofsd")
}

// maxDisks is how many apps a machine without a server of files may have.
const maxDisks = 16

// makeDisks makes a disk of each app's root, for a host without a server of files.
// What an app writes is then in the guest's memory, and lost with it.
func makeDisks(doc *contract.Pod, dir string) (disks []vmm.Disk, err error) {
	if len(doc.Apps) > maxDisks {
		return nil, fmt.Errorf("cannot run pod %s: without virtiofsd a virtual machine has %d apps at most", doc.UUID, maxDisks)
	}
	for i := range doc.Apps {
		name := doc.Apps[i].Name
		f, err := vmm.MakeDisk(filepath.Join(dir, shareDir, wire.Roots, name), filepath.Join(dir, contract.PrivateDir, wire.Disk(i)))
		if err != nil {
			return nil, fmt.Errorf("cannot give app %q its root: %w", name, err)
		}
		disks = append(disks, vmm.Disk{File: f, Serial: wire.Disk(i)})
	}
	return disks, nil
}

func volumePath(share string, number int) string {
	return filepath.Join(share, wire.Volumes, strconv.Itoa(number))
}

func logged(doc *contract.Pod) bool {
	for i := range doc.Apps {
		if doc.Apps[i].Stdout == contract.Log || doc.Apps[i].Stderr == contract.Log {
			return true
		}
	}
	return false
}

// renew lets the apps' overlays, of which nothing was used, be mounted once more: a
// volatile one says in its work directory that it was (overlayfs.rst, "Volatile
// mount").
func renew(doc *contract.Pod) error {
	for i := range doc.Apps {
		if err := os.RemoveAll(filepath.Join(doc.Apps[i].Work, "work", "incompat")); err != nil {
			return fmt.Errorf("cannot mount the root of app %q once more: %w", doc.Apps[i].Name, err)
		}
	}
	return nil
}

// layVolume mounts a volume's source at a new place. What the guest may not do with
// it the host does not let it.
func layVolume(m *contract.Mount, at string) error {
	fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: m.Source, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return errors.New("flavor kvm shares directories and regular files, and its source is neither")
	}
	v, err := mount.Clone(fd, "", m.Recursive)
	if err != nil {
		return err
	}
	if err := appinit.ConfineVolume(v, m, unix.MOUNT_ATTR_NODEV); err != nil {
		unix.Close(v)
		return err
	}
	return attach(v, at, kind == unix.S_IFDIR)
}

// attach attaches a detached mount at a place that is made for it, and closes it.
func attach(m int, path string, directory bool) error {
	defer unix.Close(m)
	if !directory {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	} else if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}

// guestDocument is the document as the guest knows it: its own paths, none of the
// host's.
func guestDocument(doc *contract.Pod) *contract.Pod {
	g := *doc
	g.Network, g.Networks, g.Ports = contract.NetworkNone, nil, nil
	g.NetworkConfig, g.NetworkShared, g.NetworkPlugins, g.NetworkProgram = nil, nil, nil, ""
	g.Flavor, g.OverlayOptions = "", nil
	g.Cgroup = "/sys/fs/cgroup/pod"
	g.Controllers = nil
	for c := range doc.Controllers {
		if c == "devices" { // of version 1; the guest's kernel has its program for it
			continue
		}
		if g.Controllers == nil {
			g.Controllers = map[string]string{}
		}
		g.Controllers[c] = g.Cgroup
	}
	g.Apps = append([]contract.App(nil), doc.Apps...)
	number := 0
	for i := range g.Apps {
		a := &g.Apps[i]
		a.Layers, a.Upper, a.Work = nil, "", ""
		a.Mounts = append([]contract.Mount(nil), a.Mounts...)
		for j := range a.Mounts {
			if m := &a.Mounts[j]; !m.Keep {
				file := false
				if info, err := os.Stat(m.Source); err == nil {
					file = !info.IsDir()
				}
				// By a directory's own ".": the host's mount there has to be met first.
				if m.Source = volumePath(wire.Share, number); !file {
					m.Source += "/."
				}
				number++
			}
		}
	}
	return &g
}
