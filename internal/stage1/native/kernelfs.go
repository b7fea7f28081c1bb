// SPDX-License-Identifier: Apache-2.0

package native

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/mount"
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

// What is mounted below goes by path: the shelf is the supervisor's own, and no
// image is in sight yet. That takes a third of the system calls.

func maskProc() error {
	for _, name := range procReadOnly {
		path := shelfPlace + "/.proc/" + name
		err := unix.Mount(path, path, "", unix.MS_BIND, "")
		if err == unix.ENOENT {
			continue // not in this kernel
		}
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
		if err != nil {
			return fmt.Errorf("cannot make /proc/%s read-only: %w", name, err)
		}
	}
	return hide(".proc", procHidden)
}

func maskSys() error { return hide(".sys", sysHidden) }

// hide puts an empty directory, or /dev/null where that does not go, over names
// in a part of the shelf. Both are read-only, and so what is bound from them.
func hide(part string, names []string) error {
	for _, name := range names {
		path := shelfPlace + "/" + part + "/" + name
		err := unix.Mount(shelfPlace+"/.empty", path, "", unix.MS_BIND, "")
		if err == unix.ENOTDIR {
			err = unix.Mount(shelfPlace+"/.null", path, "", unix.MS_BIND, "")
		}
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("cannot hide %s: %w", name, err)
		}
	}
	return nil
}

// Nodes of /dev that every Linux program may expect, bound from the host's; and
// links (as in systemd's and Docker's containers).
var (
	devNodes = []string{"null", "zero", "full", "random", "urandom", "tty"}
	devLinks = [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}}
)

// fillDev makes what all apps have in /dev.
func fillDev() error {
	for _, name := range devNodes {
		if err := bindDevice("/dev/"+name, shelfPlace+"/.dev/"+name); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlink(l[0], shelfPlace+"/.dev/"+l[1]); err != nil {
			return os.NewSyscallError("symlink", err)
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := unix.Mkdir(shelfPlace+"/.dev/"+name, 0o755); err != nil {
			return os.NewSyscallError("mkdir", err)
		}
	}
	return nil
}

// bindDevice puts the host's device over an empty file: the bind mount's own
// flags let it be opened, the tmpfs below lets no other node. Read-only: the
// device can be written to all the same, but the node, which is the host's,
// keeps its mode and owner.
func bindDevice(source, target string) error {
	if err := unix.Mknod(target, unix.S_IFREG|0o666, 0); err != nil {
		return os.NewSyscallError("mknod", err)
	}
	err := unix.Mount(source, target, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, "")
	}
	if err != nil {
		return fmt.Errorf("cannot bind %s: %w", source, err)
	}
	return nil
}
