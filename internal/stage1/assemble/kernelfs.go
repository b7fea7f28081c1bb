// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/forkexec"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/userns"
)

// Paths of proc and sys that tell or change what is not the pod's: what Docker,
// containerd and podman protect, what rkt always did (hypervisor, module, power),
// and what else takes what root writes, on kernels that have it (driver,
// dynamic_debug, lock_stat, mtrr).
var (
	procReadOnly    = []string{"bus", "driver", "fs", "irq", "mtrr", "sys", "sysrq-trigger"}
	procHiddenDirs  = []string{"acpi", "asound", "dynamic_debug", "scsi"}
	procHiddenFiles = []string{"interrupts", "kcore", "kallsyms", "keys", "latency_stats", "lock_stat", "sched_debug", "timer_list", "timer_stats"}
	sysHidden       = []string{"dev/block", "firmware", "fs/selinux", "hypervisor", "module", "power", "devices/virtual/powercap"}
	// Where other file systems are mounted in the host's /sys.
	sysMounts = []string{"fs/cgroup", "fs/bpf", "fs/pstore", "fs/fuse/connections", "kernel/config", "kernel/debug", "kernel/security", "kernel/tracing"}
)

// procPlace is where the pod's first process mounts its /proc on the shelf.
const procPlace = ".proc"

// proc has the first process mount /proc, which shows the pid namespace of who
// mounts it, and protect it unless bare. Everything goes by path: the shelf is
// the pod's own, and no image is in sight there. A name that this kernel does
// not have needs no protection.
func proc(c *forkexec.Child, bare bool) error { return procAt(c, shelfPlace, bare) }

// procAt is proc for another place than the shelf that has the same things.
func procAt(c *forkexec.Child, shelf string, bare bool) error {
	place := shelf + "/" + procPlace
	at, err := c.String(place)
	if err != nil {
		return err
	}
	fstype, _ := c.String("proc")
	c.Call("mount /proc", unix.SYS_MOUNT, fstype, at, fstype, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	if bare {
		return nil
	}
	const readOnly = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	none, _ := c.String("")
	for _, name := range procReadOnly {
		path, _ := c.String(place + "/" + name)
		c.Unless(unix.ENOENT, "bind /proc/"+name, unix.SYS_MOUNT, path, path, none, unix.MS_BIND)
		c.Unless(unix.ENOENT, "make /proc/"+name+" read-only", unix.SYS_MOUNT, none, path, none, readOnly)
	}
	for source, names := range map[string][]string{"/.empty": procHiddenDirs, "/.null": procHiddenFiles} {
		over, _ := c.String(shelf + source)
		for _, name := range names {
			path, _ := c.String(place + "/" + name)
			c.Unless(unix.ENOENT, "hide /proc/"+name, unix.SYS_MOUNT, over, path, none, unix.MS_BIND)
		}
	}
	return nil
}

// newSys makes a /sys, detached. Only the owner of a network namespace may mount
// one that shows it: in a user namespace, the host's is the host's own mount,
// with what is mounted in it hidden by maskSys.
func newSys(attr int, hostNetwork bool) (fd int, bound bool, err error) {
	fd, err = mount.New("sysfs", dataOnly|attr)
	if !hostNetwork || !errors.Is(err, unix.EPERM) || userns.Initial() {
		return fd, false, err
	}
	if fd, err = mount.Clone(unix.AT_FDCWD, "/sys", true); err != nil {
		return -1, true, err
	}
	if err := mount.SetAttr(fd, uint64(dataOnly|attr), 0, true); err != nil {
		unix.Close(fd)
		return -1, true, err
	}
	return fd, true, nil
}

// cpus is where each processor has a directory; one that counts its thermal
// throttling tells what others of the machine do.
const cpus, throttle = "devices/system/cpu", "/thermal_throttle"

func maskSys(bound bool) error {
	if bound {
		if err := hide(".sys", sysMounts); err != nil {
			return err
		}
	}
	if err := hide(".sys", sysHidden); err != nil {
		return err
	}
	// Of Intel's own machines only: all processors have it, or none.
	if unix.Access(shelfPlace+"/.sys/"+cpus+"/cpu0"+throttle, unix.F_OK) != nil {
		return nil
	}
	entries, err := os.ReadDir(shelfPlace + "/.sys/" + cpus)
	if err != nil {
		return fmt.Errorf("cannot list processors: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, cpus+"/"+e.Name()+throttle)
	}
	return hide(".sys", names)
}

// hide puts an empty directory, or /dev/null where that does not go, over names
// in a part of the shelf. Both are read-only, and so what is bound from them.
func hide(part string, names []string) error {
	for _, name := range names {
		path := shelfPlace + "/" + part + "/" + name
		err := unix.Mount(shelfPlace+"/.empty", path, "", unix.MS_BIND, "")
		if err == unix.ENOTDIR {
			err = unix.Mount(shelfPlace+"/.null", path, "", unix.MS_BIND, "")
		}
		if err == unix.ENOTDIR { // a part of the path is no directory
			continue
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
