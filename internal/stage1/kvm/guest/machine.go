// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netns"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// Places in the machine.
const (
	podDir    = "/pod"     // the pod's directory
	self      = "/init"    // this program
	moduleDir = "/modules" // in the initramfs: the kernel's modules, to be loaded in the order of their names
	diskDir   = "/disks"   // there as well: those for machines with disks
)

// prepare makes of a kernel with an initramfs what programs expect.
func prepare() error {
	unix.Umask(0)
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// A root that can be left: the kernel's own cannot (pivot_root(2)).
	if err := newRoot(); err != nil {
		return err
	}
	for _, m := range []struct {
		fstype, dir, options string
		flags                uintptr
	}{
		{"proc", "/proc", "", safe},
		{"sysfs", "/sys", "", safe},
		{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"cgroup2", "/sys/fs/cgroup", "", safe},
		{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.options); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.dir, err)
		}
	}
	if err := netns.LoopbackUp(); err != nil {
		return err
	}
	return loadModules("/first" + moduleDir)
}

// newRoot moves to a tmpfs, with this program; the initramfs is at /first.
func newRoot() error {
	const at = "/new"
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot mount the machine's root: %w", err)
	}
	for _, dir := range []string{"/first", wire.Share, podDir, "/tmp"} {
		if err := os.Mkdir(at+dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("/", at+"/first", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot keep the initramfs: %w", err)
	}
	program, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(at+self, program, 0o755)
	}
	if err != nil {
		return err
	}
	if err := unix.Chdir(at); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move to the machine's root: %w", err)
	}
	return os.NewSyscallError("chroot", errors.Join(unix.Chroot("."), unix.Chdir("/")))
}

// loadModules loads all of a directory in the order of their names.
func loadModules(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot list the kernel's modules: %w", err)
	}
	for _, e := range entries {
		fd, err := unix.Open(filepath.Join(dir, e.Name()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: e.Name(), Err: err}
		}
		err = unix.FinitModule(fd, "", 0)
		unix.Close(fd)
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("cannot load module %s: %w", e.Name(), err)
		}
	}
	return nil
}

// patience guards against a device that never comes.
const patience = 20 * time.Second

// openPort opens the port to the host. Devices are found a moment after the module
// was loaded.
func openPort() (*os.File, error) {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, path := range names {
			text, err := os.ReadFile(path)
			if err != nil || strings.TrimSpace(string(text)) != wire.PortName {
				continue
			}
			fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(path)), unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == unix.ENOENT {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot open the port to the host: %w", err)
			}
			return os.NewFile(uintptr(fd), wire.PortName), nil
		}
	}
	return nil, fmt.Errorf("cannot find the port %q to the host", wire.PortName)
}

// setUp makes the machine what it is to be: the share, the pod's directory, the
// network, the time.
func setUp(m *wire.Machine) error {
	t := unix.NsecToTimespec(m.Time)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
		return fmt.Errorf("cannot set the time: %w", err)
	}
	if !m.Disks {
		if err := unix.Mount(wire.ShareTag, wire.Share, "virtiofs", unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("cannot mount what the host shares: %w", err)
		}
	}
	if err := os.WriteFile(podDir+"/"+contract.File, []byte(m.Pod+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(podDir+"/"+contract.EventsFile, nil, 0o644); err != nil {
		return err
	}
	if m.Disks {
		if err := mountDisks(); err != nil {
			return err
		}
	}
	if m.Logs {
		logs := podDir + "/" + contract.LogDir
		if err := os.MkdirAll(logs, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(wire.Share+"/"+wire.Logs, logs, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot bind the logs: %w", err)
		}
	}
	return network(m)
}
