// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/landlock"
)

// A row is one technique.
type row struct {
	name string
	try  []string
	// with makes the wall thinner, to show that what is behind it holds alone.
	with flags
	// The same works: in a pod with these flags,
	free flags
	// or on the host in namespaces of its own; freeTry is then how, if not the same.
	host    bool
	spaces  uintptr
	freeTry []string
	// hostNet: with --net=host it is allowed, as docs/security.md says.
	hostNet bool
	// assumes is what an app must not have for the wall to hold.
	assumes string
}

var (
	noPaths  = flags{global: []string{"--insecure-options=image,paths"}}
	noFilter = flags{global: []string{"--insecure-options=image,seccomp"}}
	noWalls  = flags{global: []string{"--insecure-options=image,seccomp,paths,capabilities"}}
	mayTrace = flags{app: []string{"--caps-retain=CAP_SYS_PTRACE"}}
	// Where the kernel has Landlock that alone holds who may trace.
	traced = func() flags {
		if landlock.ABI() < 2 {
			return flags{}
		}
		return mayTrace
	}()
	mayAdmin  = flags{app: []string{"--caps-retain=CAP_SYS_ADMIN,CAP_DAC_OVERRIDE"}}
	hostNet   = flags{pod: []string{"--net=host"}}
	ownMounts = uintptr(unix.CLONE_NEWNS)
)

func retain(caps string) flags { return flags{app: []string{"--caps-retain=" + caps}} }

// attempts are the techniques that are one program's affair. $WORDS are the
// world's (world_test.go).
var attempts = []row{
	// Switches of the kernel that make it run a program on the host.
	{name: "core_pattern", try: w("open-write", "/proc/sys/kernel/core_pattern"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "modprobe path", try: w("open-write", "/proc/sys/kernel/modprobe"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "hotplug", try: w("open-write", "/proc/sys/kernel/hotplug"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "uevent_helper", try: w("open-write", "/sys/kernel/uevent_helper"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "binfmt_misc", try: w("mount", "binfmt_misc", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "release_agent", try: w("release-agent", "/tmp/m"), host: true, spaces: ownMounts, freeTry: w("release-agent", "$DIR"), assumes: "CAP_SYS_ADMIN"},
	// Other switches of the machine's.
	{name: "sysrq-trigger", try: w("open-write", "/proc/sysrq-trigger"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "sysctl of the machine", try: w("open-write", "/proc/sys/vm/overcommit_memory"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "interrupts' affinity", try: w("open-write", "/proc/irq/default_smp_affinity"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "sysfs", try: w("open-write", "/sys/kernel/mm/transparent_hugepage/enabled"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "sysctl by /proc/self/root", try: w("open-write", "/proc/self/root/proc/sys/kernel/core_pattern"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "anything writable in /proc and /sys", try: w("writable", "/proc", "/sys", "-/proc/pressure"), free: noPaths, freeTry: w("writable", "/proc/sys/kernel/keys"), assumes: "CAP_SYS_ADMIN"},
	// What the kernel tells.
	{name: "kcore", try: w("read", "/proc/kcore"), free: noWalls, assumes: "CAP_SYS_ADMIN"},
	{name: "kallsyms", try: w("read", "/proc/kallsyms"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "keys of the host", try: w("read", "/proc/keys"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "timer_list", try: w("read", "/proc/timer_list"), free: noWalls, assumes: "CAP_SYS_ADMIN"},
	{name: "firmware", try: w("list", "/sys/firmware"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "modules", try: w("list", "/sys/module"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "messages of the kernel", try: w("messages"), free: retain("CAP_SYSLOG"), assumes: "CAP_SYSLOG"},
	// Around the masks.
	{name: "masked by /proc/self/root", try: w("read", "/proc/self/root/proc/kallsyms"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "masked by /proc/thread-self", try: w("read", "/proc/thread-self/root/proc/kallsyms"), free: noPaths, assumes: "CAP_SYS_ADMIN"},
	{name: "masked, unmounted", try: w("umount", "/proc/kallsyms"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "read-only, remounted", try: w("remount", "/proc/sys"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "read-only, by mount_setattr", try: w("setattr", "/proc/sys"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "masked, bound over", try: w("bind", "/tmp", "/sys/firmware"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "masked, moved away", try: w("rename", "/proc/kallsyms", "/proc/kallsyms.away"), host: true, freeTry: w("rename", "$DIR/a", "$DIR/b")},
	{name: "a second /proc", try: w("mount", "proc", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "a second /sys", try: w("mount", "sysfs", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "debugfs", try: w("mount", "debugfs", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "devtmpfs", try: w("mount", "devtmpfs", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "open_tree", try: w("open-tree", "/"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "move_mount", try: w("move-mount", "/dev/shm", "/tmp"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "fsopen (CVE-2022-0185)", try: w("fsopen", "tmpfs"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "a mount namespace", try: w("unshare"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "read-only volume, remounted", try: w("remount", "/v"), with: readOnlyVolume, free: mayAdmin.and(readOnlyVolume), assumes: "CAP_SYS_ADMIN"},
	{name: "nodev volume, by mount_setattr", try: w("setattr", "/v"), with: volume, free: mayAdmin.and(volume), assumes: "CAP_SYS_ADMIN"},
	// Device nodes.
	{name: "mknod in the root", try: w("device", "/attack.node"), host: true, freeTry: w("device", "$DIR/node0")},
	{name: "mknod in /dev", try: w("device", "/dev/attack.node"), host: true, freeTry: w("device", "$DIR/node1")},
	{name: "mknod in /dev/shm", try: w("device", "/dev/shm/node"), host: true, freeTry: w("device", "$DIR/node2")},
	{name: "mknod in a volume", try: w("device", "/v/node"), with: volume, host: true, freeTry: w("device", "$DIR/node3")},
	{name: "a node in the image", try: w("open-device", "/node"), host: true, freeTry: w("open-device", "$VOLUME/made")},
	{name: "a node in a volume", try: w("open-device", "/v/made"), with: volume, host: true, freeTry: w("open-device", "$VOLUME/made")},
	// Files of the host.
	{name: "a handle (shocker)", try: w("handle", "/v", "$HANDLETYPE", "$HANDLE"), with: volume, free: retain("CAP_DAC_READ_SEARCH").and(volume), assumes: "CAP_DAC_READ_SEARCH"},
	{name: "a chroot in a chroot", try: w("chroot-out", "$SECRET"), host: true, freeTry: w("chroot-out", "$SECRET")},
	{name: "the host's files", try: w("exists", "$SECRET"), host: true},
	// Processes.
	{name: "pid 1: ptrace", try: w("ptrace", "1"), with: traced, free: noWalls},
	{name: "pid 1: memory by /proc", try: w("memory", "1"), with: traced, free: noWalls},
	{name: "pid 1: memory by process_vm_readv", try: w("read-memory", "1"), with: traced, free: noWalls},
	{name: "pid 1: root", try: w("process-root", "1"), with: traced, free: noWalls},
	{name: "pid 1: cwd", try: w("process-cwd", "1"), with: traced, free: noWalls},
	{name: "pid 1: descriptors", try: w("process-fds", "1"), with: traced, free: noWalls},
	{name: "pid 1: exe", try: w("process-exe", "1"), with: traced, free: noWalls},
	{name: "pid 1: environ", try: w("read", "/proc/1/environ"), with: traced, free: noWalls},
	{name: "pid 1: namespaces", try: w("process-namespace", "1"), with: traced, free: noWalls},
	{name: "pid 1: pidfd_getfd", try: w("steal-descriptor", "1"), with: traced, free: noWalls},
	{name: "pid 1: kcmp", try: w("kcmp", "1"), with: traced, free: noWalls},
	{name: "pid 1: namespaces by a pidfd", try: w("pidfd-namespace", "1"), with: traced, free: noWalls},
	{name: "other mount namespaces", try: w("next-namespace"), host: true},
	{name: "a namespace by a handle", try: w("namespace-handle"), free: retain("CAP_DAC_READ_SEARCH"), assumes: "CAP_DAC_READ_SEARCH"},
	{name: "a signal to the host", try: w("kill", "$PID"), host: true},
	{name: "setns, by a pidfd", try: w("setns-pidfd", "1"), free: noWalls},
	{name: "setns", try: w("setns", "/proc/self/ns/uts"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	// cgroups.
	{name: "cgroup v1 mounted", try: w("mount", "cgroup", "/tmp/m", "none,name=rkt-escape"), host: true, spaces: ownMounts, freeTry: w("mount", "cgroup", "$DIR", "none,name=rkt-escape"), assumes: "CAP_SYS_ADMIN"},
	{name: "cgroup v2 mounted", try: w("mount", "cgroup2", "/tmp/m"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "out of the cgroup", try: w("cgroup-write", "cgroup.procs"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "limits of one's own", try: w("cgroup-write", "cgroup.max.depth"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "the host's cgroup names", try: w("cgroup-path"), host: true},
	// User namespaces, and what they open where the filter is gone.
	{name: "a user namespace", try: w("user-namespace"), free: noFilter, assumes: "CAP_SYS_ADMIN"},
	{name: "a user namespace, by clone3", try: w("clone3"), free: noFilter, assumes: "CAP_SYS_ADMIN"},
	{name: "CVE-2022-0492", try: w("user-namespace-release-agent"), with: noFilter, host: true, spaces: ownMounts, freeTry: w("release-agent", "$DIR")},
	{name: "CVE-2022-0185", try: w("user-namespace-fsconfig"), free: noFilter, assumes: "CAP_SYS_ADMIN"},
	{name: "an unmasked /proc in a user namespace", try: w("user-namespace-proc"), with: noFilter, free: noFilter.and(flags{global: noWalls.global})},
	{name: "a mask taken off in a user namespace", try: w("user-namespace-umount", "/proc/kallsyms"), with: noFilter, free: mayAdmin, freeTry: w("umount", "/proc/kallsyms")},
	{name: "a read-only mount written in a user namespace", try: w("user-namespace-remount", "/proc/sys"), with: noFilter, free: mayAdmin, freeTry: w("remount", "/proc/sys")},
	// Doors to the kernel.
	{name: "bpf", try: w("bpf"), free: mayAdmin, assumes: "CAP_SYS_ADMIN, CAP_BPF"},
	{name: "perf_event_open", try: w("perf"), free: mayAdmin, assumes: "CAP_SYS_ADMIN, CAP_PERFMON"},
	{name: "userfaultfd", try: w("userfaultfd"), free: noWalls},
	{name: "io_uring", try: w("io_uring"), free: noFilter},
	{name: "a key", try: w("add_key"), free: noFilter},
	{name: "a key of the host's user", try: w("user-key", "$KEY"), free: noFilter},
	{name: "AF_ALG (CVE-2026-31431)", try: w("raw-memory-socket"), free: noFilter},
	{name: "AF_VSOCK", try: w("vsock"), free: noFilter},
	{name: "kexec_load", try: w("kexec"), free: noFilter.and(retain("CAP_SYS_BOOT"))},
	{name: "accounting", try: w("account"), free: retain("CAP_SYS_PACCT"), assumes: "CAP_SYS_PACCT"},
	{name: "swapon", try: w("swapon"), free: noFilter.and(mayAdmin)},
	{name: "fanotify, of all files", try: w("fanotify"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "quotactl", try: w("quota"), free: mayAdmin, assumes: "CAP_SYS_ADMIN"},
	{name: "ports of the processor", try: w("ports"), free: retain("CAP_SYS_RAWIO"), assumes: "CAP_SYS_RAWIO"},
	{name: "a module", try: w("module"), free: retain("CAP_SYS_MODULE"), assumes: "CAP_SYS_MODULE"},
	{name: "the clock", try: w("clock"), free: retain("CAP_SYS_TIME"), assumes: "CAP_SYS_TIME"},
	{name: "TIOCSTI", try: w("type"), free: noFilter},
	{name: "TIOCLINUX", try: w("paste"), free: noFilter},
	// Sockets of the host.
	{name: "an abstract socket (CVE-2020-15257)", try: w("connect", "unix", "$SOCKET"), free: hostNet, hostNet: true},
	{name: "the host's loopback", try: w("connect", "tcp", "$TCP"), free: hostNet, hostNet: true},
	{name: "a socket's path", try: w("connect", "unix", "$DIR/socket"), host: true},
}

func w(words ...string) []string { return words }

var (
	volume         = flags{pod: []string{"--volume=v,kind=host,source=$VOLUME"}, app: []string{"--mount=volume=v,target=/v"}}
	readOnlyVolume = flags{pod: []string{"--volume=v,kind=host,source=$VOLUME,readOnly=true"}, app: []string{"--mount=volume=v,target=/v"}}
)
