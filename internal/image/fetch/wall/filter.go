// SPDX-License-Identifier: Apache-2.0

package wall

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/seccomp"
)

// Filter is the system call filter of a row, for the process pid, whose threads
// may signal each other; 0 if it has no say in signals.
//
// A call that no helper makes unless somebody else directs it ends the process,
// so that the user hears of it; other known calls get EPERM, numbers that this
// program does not know ENOSYS, as from a kernel that lacks them.
func (r Row) Filter(pid int) (seccomp.Program, error) {
	rules := []rule{{names: hostile, action: seccomp.KillProcess}, {names: plainCalls}}
	low := func(index uint8, value uint64) seccomp.Arg {
		return seccomp.Arg{Index: index, Op: seccomp.Equal, Value: value, Mask: seccomp.Low32}
	}
	none := func(index uint8, mask uint64) seccomp.Arg {
		return seccomp.Arg{Index: index, Op: seccomp.Equal, Mask: mask}
	}
	add := func(name string, args ...seccomp.Arg) { rules = append(rules, rule{names: []string{name}, args: args}) }

	// Looking at limits, not changing them.
	add("prlimit64", none(2, 0))
	for _, cmd := range []uint64{unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_DUPFD_CLOEXEC,
		unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ} {
		add("fcntl", low(1, cmd))
	}
	// How wide a terminal is; not what would type into it (TIOCSTI).
	for _, req := range []uint64{unix.TCGETS, unix.TIOCGWINSZ} {
		add("ioctl", low(1, req))
	}
	add("prctl", low(0, unix.PR_SET_VMA)) // Go names its memory
	if r.Foreign {
		// Loading libraries takes pages to be executed; starting itself, execve;
		// xz walls itself in further.
		rules = append(rules, rule{names: []string{"mmap", "mprotect", "execveat", "execve", "arch_prctl", "access", "faccessat",
			"open", "stat", "fadvise64", "set_tid_address", "poll", "readlink", "sysinfo", "pipe",
			"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}})
		add("prctl", low(0, unix.PR_SET_NO_NEW_PRIVS))
	} else {
		add("mmap", none(2, unix.PROT_EXEC))
		add("mprotect", none(2, unix.PROT_EXEC))
		add("tgkill", low(0, uint64(pid)))
		add("prctl", low(0, unix.PR_SET_DUMPABLE), low(1, 0))
	}
	// Threads; no processes.
	add("clone", seccomp.Arg{Index: 0, Op: seccomp.Equal, Value: unix.CLONE_THREAD, Mask: unix.CLONE_THREAD})
	if r.Connects {
		for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
			for _, kind := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
				add("socket", low(0, family), seccomp.Arg{Index: 1, Op: seccomp.Equal, Value: kind, Mask: 0xf})
			}
		}
		rules = append(rules, rule{names: connecting})
	}
	if r.Asks {
		rules = append(rules, rule{names: []string{"sendmsg", "recvmsg"}})
	}
	if r.Fills {
		rules = append(rules, rule{names: filling})
	}
	p := seccomp.Policy{
		Arches:    seccomp.Native()[:1],
		Default:   seccomp.Errno(unix.EPERM),
		Unknown:   seccomp.Errno(unix.ENOSYS),
		WrongArch: seccomp.KillProcess,
	}
	p.Rules = append(p.Rules, seccomp.Rule{Calls: calls("clone3"), Action: seccomp.Errno(unix.ENOSYS)})
	for _, r := range rules {
		if r.action == 0 {
			r.action = seccomp.Allow
		}
		c := calls(r.names...)
		if len(c) == 0 {
			return nil, fmt.Errorf("cannot make system call filter: no call of the name %q", r.names)
		}
		p.Rules = append(p.Rules, seccomp.Rule{Calls: c, Args: r.args, Action: r.action})
	}
	return seccomp.Compile(&p)
}

type rule struct {
	names  []string
	args   []seccomp.Arg
	action seccomp.Action // Allow if 0, which is KillThread and never wanted
}

// calls are those of the names that the table has; a name of another
// architecture's does nothing here.
func calls(names ...string) []seccomp.Call {
	list := make([]seccomp.Call, 0, len(names))
	for _, n := range names {
		if c, ok := seccomp.Lookup(n); ok {
			list = append(list, c)
		}
	}
	return list
}

// The lists.
var (
	// hostile calls are made by nobody but an attacker.
	hostile = []string{
		"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
		"mount", "umount2", "pivot_root", "chroot", "fsopen", "fspick", "fsconfig", "fsmount", "move_mount",
		"open_tree", "open_tree_attr", "mount_setattr", "swapon", "swapoff",
		"setns", "unshare", "open_by_handle_at", "name_to_handle_at",
		"io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf", "perf_event_open",
		"keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module",
		"kexec_load", "kexec_file_load", "reboot", "acct", "syslog", "quotactl", "quotactl_fd",
		"settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
		"iopl", "ioperm", "personality", "fanotify_init", "lookup_dcookie", "modify_ldt", "vhangup",
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
	}
	// plainCalls are what any Go program makes, on what it has.
	plainCalls = []string{
		"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close",
		"fstat", "newfstatat", "statx", "fstatfs", "openat", "getdents64", "readlinkat", "faccessat2", "getcwd",
		"splice", "tee", "sendfile", "copy_file_range", "pipe2", "dup3", "fsync", "fdatasync",
		"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "ppoll", "pselect6",
		"brk", "munmap", "mremap", "madvise", "mincore", "membarrier",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack", "restart_syscall",
		"futex", "futex_waitv", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity",
		"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom",
		"getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "getrusage", "uname",
		"exit", "exit_group",
	}
	// connecting is what a client does with a socket; it never listens.
	connecting = []string{
		"connect", "bind", "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown",
		"sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
	}
	// filling is what making a tree takes.
	filling = []string{
		"openat2", "mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat", "renameat2",
		"fchown", "fchownat", "fchmod", "fchmodat", "fchmodat2", "ftruncate", "fallocate", "utimensat", "fchdir",
		"setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr",
		"listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr", "umask",
	}
)
