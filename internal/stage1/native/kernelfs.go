// SPDX-License-Identifier: Apache-2.0

package native

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// Paths of proc and sys that tell or change what is not the pod's. Of proc,
// what other runtimes protect too; of sys, what rkt always did.
var (
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	procHidden   = []string{"acpi", "asound", "interrupts", "kcore", "kallsyms", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
	sysHidden    = []string{"firmware", "hypervisor", "module", "power", "devices/virtual/powercap"}
)

func newProc() (int, error) { return mount.New("proc", dataOnly) }

func newSys(attr int) (int, error) { return mount.New("sysfs", dataOnly|attr) }

func (s *shelf) maskProc(m int) error {
	for _, name := range procReadOnly {
		if err := readOnly(m, name); err != nil {
			return err
		}
	}
	return s.hide(m, procHidden)
}

func (s *shelf) maskSys(m int) error { return s.hide(m, sysHidden) }

// readOnly mounts name below the filesystem in over itself, read-only. A name
// this kernel does not have is fine.
func readOnly(in int, name string) error {
	at, err := safepath.OpenBeneath(in, name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	m, err := mount.Clone(at, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY, 0, false); err != nil {
		return err
	}
	return mount.Attach(m, at)
}

// hide puts an empty directory or /dev/null over names below the filesystem in.
func (s *shelf) hide(in int, names []string) error {
	for _, name := range names {
		at, err := safepath.OpenBeneath(in, name, unix.O_PATH, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		err = s.hideOne(at)
		unix.Close(at)
		if err != nil {
			return fmt.Errorf("cannot hide %s: %w", name, err)
		}
	}
	return nil
}

func (s *shelf) hideOne(at int) error {
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	var m int
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		m, err = mount.Clone(s.empty, "", false)
	} else {
		m, err = cloneDevice("/dev/null")
	}
	if err != nil {
		return err
	}
	defer unix.Close(m)
	return mount.Attach(m, at)
}

// Nodes of /dev that every Linux program may expect, bound from the host's; and
// links (as in systemd's and Docker's containers).
var (
	devNodes = []string{"null", "zero", "full", "random", "urandom", "tty"}
	devLinks = [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}}
)

// fillDev makes what all apps have in /dev.
func fillDev(m int) error {
	for _, name := range devNodes {
		if err := bindDevice(m, name, "/dev/"+name); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], m, l[1]); err != nil {
			return os.NewSyscallError("symlinkat", err)
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := unix.Mkdirat(m, name, 0o755); err != nil {
			return os.NewSyscallError("mkdirat", err)
		}
	}
	return nil
}

// bindDevice puts the host's device over an empty file: the bind mount's own
// flags let it be opened, the tmpfs below lets no other node.
func bindDevice(dev int, name, source string) error {
	if err := unix.Mknodat(dev, name, unix.S_IFREG|0o666, 0); err != nil {
		return os.NewSyscallError("mknodat", err)
	}
	m, err := cloneDevice(source)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	at, err := unix.Openat(dev, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(at)
	return mount.Attach(m, at)
}

// cloneDevice is a detached mount of the host's device node. Read-only: the
// device can be written to all the same, but the node, which is the host's,
// keeps its mode and owner.
func cloneDevice(source string) (int, error) {
	m, err := mount.Clone(unix.AT_FDCWD, source, false)
	if err != nil {
		return -1, err
	}
	if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, 0, false); err != nil {
		unix.Close(m)
		return -1, err
	}
	return m, nil
}
