// SPDX-License-Identifier: Apache-2.0

package seccomp

import "golang.org/x/sys/unix"

// The default profile. Its facts (which calls containers need, which have let
// containers out) were compared with Docker's profile (moby/profiles/seccomp
// v0.3.0, October 2026), podman's (containers-common) and systemd's sets
// (systemd 252) and brought up to Linux 7.0. docs/seccomp.md has the
// differences and the reasons for what is not here.

// Allowed for everyone: the kernel checks each of them against the caller's
// own credentials, namespaces and limits.
var (
	// Reading, writing and polling what is open already.
	ioCalls = []Call{
		sysRead, sysReadv, sysPread64, sysPreadv, sysPreadv2,
		sysWrite, sysWritev, sysPwrite64, sysPwritev, sysPwritev2,
		sysLseek, sysLlseek, sysClose, sysCloseRange, sysDup, sysDup2, sysDup3,
		sysFcntl, sysFcntl64, sysFlock, sysFsync, sysFdatasync, sysSync, sysSyncfs,
		sysSyncFileRange, sysSyncFileRange2, sysArmSyncFileRange,
		sysFadvise64, sysFadvise6464, sysArmFadvise6464, sysReadahead, sysCachestat,
		sysFallocate, sysFtruncate, sysFtruncate64, sysTruncate, sysTruncate64,
		sysSendfile, sysSendfile64, sysSplice, sysTee, sysVmsplice, sysCopyFileRange,
		sysPipe, sysPipe2, sysEventfd, sysEventfd2, sysSignalfd, sysSignalfd4,
		sysTimerfdCreate, sysTimerfdGettime, sysTimerfdGettime64, sysTimerfdSettime, sysTimerfdSettime64,
		sysPoll, sysPpoll, sysPpollTime64, sysSelect, sysNewselect, sysPselect6, sysPselect6Time64,
		sysEpollCreate, sysEpollCreate1, sysEpollCtl, sysEpollCtlOld, sysEpollPwait, sysEpollPwait2,
		sysEpollWait, sysEpollWaitOld,
		sysInotifyInit, sysInotifyInit1, sysInotifyAddWatch, sysInotifyRmWatch, sysFanotifyMark,
		// The old asynchronous I/O. io_uring is not here: new operations come
		// with every kernel, bypass filters, and many have been exploited.
		sysIoSetup, sysIoDestroy, sysIoSubmit, sysIoCancel, sysIoGetevents, sysIoPgetevents, sysIoPgeteventsTime64,
	}
	// Files by name, and their attributes. file_getattr and file_setattr do
	// what ioctl(FS_IOC_FSGETXATTR) does.
	fileCalls = []Call{
		sysOpen, sysOpenat, sysOpenat2, sysCreat, sysAccess, sysFaccessat, sysFaccessat2,
		sysStat, sysStat64, sysFstat, sysFstat64, sysLstat, sysLstat64, sysFstatat64, sysNewfstatat, sysStatx,
		sysStatfs, sysStatfs64, sysFstatfs, sysFstatfs64, sysStatmount, sysListmount,
		sysGetdents, sysGetdents64, sysGetcwd, sysChdir, sysFchdir,
		sysChmod, sysFchmod, sysFchmodat, sysFchmodat2,
		sysChown, sysChown32, sysFchown, sysFchown32, sysFchownat, sysLchown, sysLchown32, sysUmask,
		sysLink, sysLinkat, sysSymlink, sysSymlinkat, sysReadlink, sysReadlinkat,
		sysUnlink, sysUnlinkat, sysRename, sysRenameat, sysRenameat2, sysMkdir, sysMkdirat, sysRmdir,
		sysMknod, sysMknodat, // devices need CAP_MKNOD and the device cgroup
		sysUtime, sysUtimes, sysFutimesat, sysUtimensat, sysUtimensatTime64,
		sysGetxattr, sysLgetxattr, sysFgetxattr, sysGetxattrat,
		sysSetxattr, sysLsetxattr, sysFsetxattr, sysSetxattrat,
		sysListxattr, sysLlistxattr, sysFlistxattr, sysListxattrat,
		sysRemovexattr, sysLremovexattr, sysFremovexattr, sysRemovexattrat,
		sysFileGetattr, sysFileSetattr,
		sysNameToHandleAt, // harmless without open_by_handle_at
	}
	// Memory. userfaultfd is not here: it makes kernel races winnable.
	memoryCalls = []Call{
		sysBrk, sysMmap, sysMmap2, sysMunmap, sysMremap, sysMprotect, sysMadvise, sysMsync, sysMincore,
		sysMlock, sysMlock2, sysMlockall, sysMunlock, sysMunlockall, sysMseal, sysRemapFilePages,
		sysMemfdCreate, sysMemfdSecret, sysMapShadowStack,
		sysPkeyAlloc, sysPkeyFree, sysPkeyMprotect, sysMembarrier, sysProcessMrelease,
	}
	// Processes, threads, signals and scheduling. clone, clone3, unshare and
	// personality have rules of their own.
	processCalls = []Call{
		sysFork, sysVfork, sysExecve, sysExecveat, sysExit, sysExitGroup, sysRestartSyscall,
		sysWait4, sysWaitid, sysWaitpid, sysPidfdOpen, sysPidfdSendSignal,
		sysKill, sysTkill, sysTgkill, sysRtSigqueueinfo, sysRtTgsigqueueinfo,
		sysRtSigaction, sysRtSigpending, sysRtSigprocmask, sysRtSigreturn, sysRtSigsuspend,
		sysRtSigtimedwait, sysRtSigtimedwaitTime64, sysSigaltstack,
		sysSigprocmask, sysSigreturn, sysSigaction, sysSignal, sysSigpending, sysSigsuspend, sysPause, sysAlarm,
		sysGetpid, sysGetppid, sysGettid, sysGetpgid, sysGetpgrp, sysSetpgid, sysGetsid, sysSetsid,
		sysSetTidAddress, sysSetRobustList, sysGetRobustList, sysRseq, sysRseqSliceYield,
		sysFutex, sysFutexTime64, sysFutexWaitv, sysFutexWait, sysFutexWake, sysFutexRequeue,
		sysPrctl, sysPrlimit64, sysGetrlimit, sysUgetrlimit, sysSetrlimit, sysGetrusage, sysTimes,
		sysGetpriority, sysSetpriority, sysNice, sysIoprioGet, sysIoprioSet,
		sysSchedGetaffinity, sysSchedSetaffinity, sysSchedGetattr, sysSchedSetattr,
		sysSchedGetparam, sysSchedSetparam, sysSchedGetscheduler, sysSchedSetscheduler,
		sysSchedGetPriorityMax, sysSchedGetPriorityMin,
		sysSchedRrGetInterval, sysSchedRrGetIntervalTime64, sysSchedYield,
		sysGetThreadArea, sysSetThreadArea, sysGetcpu,
		// Debuggers; the kernel (4.8 and newer) filters what a tracer changes.
		sysPtrace, sysProcessVmReadv, sysProcessVmWritev,
		// Made by the kernel itself in a probed process.
		sysUprobe, sysUretprobe,
		// Confining oneself further.
		sysSeccomp, sysLandlockCreateRuleset, sysLandlockAddRule, sysLandlockRestrictSelf,
	}
	// Credentials.
	credentialCalls = []Call{
		sysGetuid, sysGetuid32, sysGeteuid, sysGeteuid32, sysGetgid, sysGetgid32, sysGetegid, sysGetegid32,
		sysGetresuid, sysGetresuid32, sysGetresgid, sysGetresgid32, sysGetgroups, sysGetgroups32,
		sysSetuid, sysSetuid32, sysSetgid, sysSetgid32, sysSetreuid, sysSetreuid32, sysSetregid, sysSetregid32,
		sysSetresuid, sysSetresuid32, sysSetresgid, sysSetresgid32, sysSetfsuid, sysSetfsuid32,
		sysSetfsgid, sysSetfsgid32, sysSetgroups, sysSetgroups32, sysCapget, sysCapset,
	}
	// Sockets; socket itself has a rule of its own. socketcall hides the
	// address family behind a pointer, but 32-bit glibc needs it: Docker forbade
	// it in April 2026 and had to take that back within a week.
	socketCalls = []Call{
		sysSocketpair, sysBind, sysConnect, sysListen, sysAccept, sysAccept4, sysShutdown,
		sysGetsockname, sysGetpeername, sysGetsockopt, sysSetsockopt,
		sysSend, sysSendto, sysSendmsg, sysSendmmsg, sysRecv, sysRecvfrom, sysRecvmsg, sysRecvmmsg, sysRecvmmsgTime64,
		sysSocketcall,
	}
	// System V IPC and POSIX queues: of the pod's IPC namespace.
	ipcCalls = []Call{
		sysIpc, sysMsgctl, sysMsgget, sysMsgrcv, sysMsgsnd,
		sysSemctl, sysSemget, sysSemop, sysSemtimedop, sysSemtimedopTime64,
		sysShmat, sysShmctl, sysShmdt, sysShmget,
		sysMqOpen, sysMqUnlink, sysMqNotify, sysMqGetsetattr,
		sysMqTimedreceive, sysMqTimedreceiveTime64, sysMqTimedsend, sysMqTimedsendTime64,
	}
	// Clocks and timers. adjtimex only reads without CAP_SYS_TIME.
	clockCalls = []Call{
		sysTime, sysGettimeofday, sysClockGettime, sysClockGettime64, sysClockGetres, sysClockGetresTime64,
		sysNanosleep, sysClockNanosleep, sysClockNanosleepTime64, sysAdjtimex, sysClockAdjtime, sysClockAdjtime64,
		sysGetitimer, sysSetitimer, sysTimerCreate, sysTimerDelete, sysTimerGetoverrun,
		sysTimerGettime, sysTimerGettime64, sysTimerSettime, sysTimerSettime64,
	}
	// The machine.
	machineCalls = []Call{
		sysUname, sysSysinfo, sysGetrandom,
		sysArchPrctl, sysModifyLdt, // thread pointers; 16-bit segments for Wine
		sysBreakpoint, sysCacheflush, sysSetTls, sysGetTls,
	}
)

// alwaysAllowed are the groups above.
var alwaysAllowed = [...][]Call{
	ioCalls, fileCalls, memoryCalls, processCalls, credentialCalls, socketCalls, ipcCalls, clockCalls, machineCalls,
}

// withCapability are calls that are only useful, or only safe, for an app that
// was given a capability.
var withCapability = [...]struct {
	capability int
	calls      []Call
}{
	// Namespaces, mounts and what else the kernel gives to administrators.
	{unix.CAP_SYS_ADMIN, []Call{
		sysClone, sysClone3, sysUnshare, sysSetns, sysListns,
		sysMount, sysUmount, sysUmount2, sysPivotRoot, sysFsopen, sysFsconfig, sysFsmount, sysFspick,
		sysMoveMount, sysOpenTree, sysOpenTreeAttr, sysMountSetattr,
		sysSethostname, sysSetdomainname, sysQuotactl, sysQuotactlFd, sysFanotifyInit,
		sysLsmGetSelfAttr, sysLsmSetSelfAttr, sysLsmListModules,
		sysBpf, sysPerfEventOpen, sysLookupDcookie, sysSyslog,
	}},
	{unix.CAP_BPF, []Call{sysBpf}},
	{unix.CAP_PERFMON, []Call{sysPerfEventOpen}},
	{unix.CAP_SYSLOG, []Call{sysSyslog}},
	// Opens any file of a filesystem, mounted or not (the "Shocker" way out).
	{unix.CAP_DAC_READ_SEARCH, []Call{sysOpenByHandleAt}},
	{unix.CAP_SYS_BOOT, []Call{sysReboot}},
	{unix.CAP_SYS_CHROOT, []Call{sysChroot}},
	{unix.CAP_SYS_MODULE, []Call{sysInitModule, sysFinitModule, sysDeleteModule}},
	{unix.CAP_SYS_NICE, []Call{sysGetMempolicy, sysSetMempolicy, sysSetMempolicyHomeNode, sysMbind}},
	{unix.CAP_SYS_PACCT, []Call{sysAcct}},
	{unix.CAP_SYS_PTRACE, []Call{sysKcmp, sysPidfdGetfd, sysProcessMadvise}},
	{unix.CAP_SYS_RAWIO, []Call{sysIopl, sysIoperm}},
	{unix.CAP_SYS_TIME, []Call{sysSettimeofday, sysStime, sysClockSettime, sysClockSettime64}},
	{unix.CAP_SYS_TTY_CONFIG, []Call{sysVhangup}},
}

// cloneNamespaces are the flags of clone(2) that make namespaces. CLONE_NEWTIME
// is not one: its bit belongs to the signal number there.
const cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// unshareHarmless are flags of unshare(2) that concern nobody else; Samba
// needs CLONE_FS.
const unshareHarmless = unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM

// Errno as constants, so that nothing is computed at program start.
const (
	actEPERM  = unix.SECCOMP_RET_ERRNO | Action(unix.EPERM)
	actENOSYS = unix.SECCOMP_RET_ERRNO | Action(unix.ENOSYS)
)

// conditional are the calls that look at arguments, for everyone. Allowed by
// one of these or by capability; else denied.
var conditional = [...]Rule{
	{[]Call{sysClone}, []Arg{{0, Equal, 0, cloneNamespaces}}, Allow},
	// The flags of clone3 are behind a pointer. ENOSYS makes every libc fall
	// back to clone.
	{[]Call{sysClone3}, nil, actENOSYS},
	{[]Call{sysUnshare}, []Arg{{0, Equal, 0, Low32 &^ unshareHarmless}}, Allow},

	// Execution domains: Linux, 32-bit Linux, both with UNAME26, and "tell me".
	{[]Call{sysPersonality}, []Arg{{0, Equal, 0x0, Low32}}, Allow},
	{[]Call{sysPersonality}, []Arg{{0, Equal, 0x8, Low32}}, Allow},
	{[]Call{sysPersonality}, []Arg{{0, Equal, 0x20000, Low32}}, Allow},
	{[]Call{sysPersonality}, []Arg{{0, Equal, 0x20008, Low32}}, Allow},
	{[]Call{sysPersonality}, []Arg{{0, Equal, 0xffffffff, Low32}}, Allow},

	// These put words into the mouth of whoever sits at the terminal. The
	// command is a 32-bit number: comparing 64 bits let them through elsewhere
	// (CVE-2019-7303, CVE-2019-10063).
	{[]Call{sysIoctl}, []Arg{{1, Equal, unix.TIOCSTI, Low32}}, actEPERM},
	{[]Call{sysIoctl}, []Arg{{1, Equal, 0x541c, Low32}}, actEPERM}, // TIOCLINUX
	{[]Call{sysIoctl}, nil, Allow},

	// The address families that someone may still use, without AF_ALG
	// (CVE-2026-31431), AF_VSOCK (the way to the host of a virtual machine) and
	// those that nobody maintains or that never were.
	{[]Call{sysSocket}, []Arg{{0, LessEqual, unix.AF_INET, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, GreaterEqual, unix.AF_BRIDGE, Low32}, {0, LessEqual, unix.AF_INET6, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, GreaterEqual, unix.AF_KEY, Low32}, {0, LessEqual, unix.AF_PACKET, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, Equal, unix.AF_RDS, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, Equal, unix.AF_PPPOX, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, GreaterEqual, unix.AF_LLC, Low32}, {0, LessEqual, unix.AF_RXRPC, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, GreaterEqual, unix.AF_PHONET, Low32}, {0, LessEqual, unix.AF_IEEE802154, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, Equal, unix.AF_NFC, Low32}}, Allow},
	{[]Call{sysSocket}, []Arg{{0, GreaterEqual, unix.AF_KCM, Low32}, {0, LessEqual, unix.AF_MCTP, Low32}}, Allow},
}

// Default is the profile an app gets that asks for nothing, given the
// capabilities in its bounding set (bit n: capability n). Denied calls get
// EPERM, numbers newer than the tables ENOSYS, so that a libc falls back;
// calls by a foreign architecture kill the process.
func Default(caps uint64, arches ...Arch) Policy {
	return Policy{
		Arches:    arches,
		Rules:     appendDefault(make([]Rule, 0, 48), caps),
		Default:   actEPERM,
		Unknown:   actENOSYS,
		WrongArch: KillProcess,
	}
}

func appendDefault(rules []Rule, caps uint64) []Rule {
	for _, calls := range alwaysAllowed {
		rules = append(rules, Rule{Calls: calls, Action: Allow})
	}
	// Before the conditions, so that capabilities win.
	for i := range withCapability {
		if g := &withCapability[i]; caps>>g.capability&1 != 0 {
			rules = append(rules, Rule{Calls: g.calls, Action: Allow})
		}
	}
	return append(rules, conditional[:]...)
}
