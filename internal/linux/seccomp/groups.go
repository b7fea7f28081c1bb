// SPDX-License-Identifier: Apache-2.0

package seccomp

// systemdGroup is one of systemd's sets of calls that rkt's users know, as
// systemd 252 has it, with the newer calls of the same kind; nil if there is no
// such group.
func systemdGroup(name string) [][]Call {
	switch name {
	case "clock":
		return [][]Call{setClock}
	case "default-whitelist":
		return [][]Call{essential}
	case "mount":
		return [][]Call{mounting}
	case "network-io":
		return [][]Call{networkIO}
	case "obsolete":
		return [][]Call{obsolete}
	case "privileged":
		return [][]Call{privileged, setClock, rawIO}
	case "process":
		return [][]Call{processControl}
	case "raw-io":
		return [][]Call{rawIO}
	}
	return nil
}

var (
	// essential is systemd's @default: what a program needs to start, to wait
	// and to end. A retain set implies it, as it does under systemd.
	essential = []Call{
		sysArchPrctl, sysBrk, sysCacheflush, sysClockGetres, sysClockGetresTime64, sysClockGettime, sysClockGettime64,
		sysClockNanosleep, sysClockNanosleepTime64, sysExecve, sysExit, sysExitGroup,
		sysFutex, sysFutexTime64, sysFutexWait, sysFutexWaitv, sysFutexWake, sysFutexRequeue,
		sysGetRobustList, sysGetThreadArea, sysGetTls, sysGetegid, sysGetegid32, sysGeteuid, sysGeteuid32,
		sysGetgid, sysGetgid32, sysGetgroups, sysGetgroups32, sysGetpgid, sysGetpgrp, sysGetpid, sysGetppid,
		sysGetrandom, sysGetresgid, sysGetresgid32, sysGetresuid, sysGetresuid32, sysGetrlimit, sysGetsid,
		sysGettid, sysGettimeofday, sysGetuid, sysGetuid32, sysMapShadowStack, sysMembarrier,
		sysMmap, sysMmap2, sysMprotect, sysMseal, sysMunmap, sysNanosleep, sysPause, sysPrlimit64,
		sysRestartSyscall, sysRiscvFlushIcache, sysRiscvHwprobe, sysRseq, sysRseqSliceYield, sysRtSigreturn,
		sysSchedGetaffinity, sysSchedYield, sysSetRobustList, sysSetThreadArea, sysSetTidAddress, sysSetTls,
		sysSigreturn, sysTime, sysUgetrlimit, sysUprobe, sysUretprobe,
	}
	setClock = []Call{
		sysAdjtimex, sysClockAdjtime, sysClockAdjtime64, sysClockSettime, sysClockSettime64, sysSettimeofday,
	}
	mounting = []Call{
		sysChroot, sysFsconfig, sysFsmount, sysFsopen, sysFspick, sysMount, sysMountSetattr, sysMoveMount,
		sysOpenTree, sysOpenTreeAttr, sysPivotRoot, sysUmount, sysUmount2,
	}
	networkIO = []Call{
		sysAccept, sysAccept4, sysBind, sysConnect, sysGetpeername, sysGetsockname, sysGetsockopt, sysListen,
		sysRecv, sysRecvfrom, sysRecvmmsg, sysRecvmmsgTime64, sysRecvmsg, sysSend, sysSendmmsg, sysSendmsg,
		sysSendto, sysSetsockopt, sysShutdown, sysSocket, sysSocketcall, sysSocketpair,
	}
	obsolete = []Call{
		sysSysctl, sysAfsSyscall, sysBdflush, sysBreak, sysCreateModule, sysFtime, sysGetKernelSyms, sysGetpmsg,
		sysGtty, sysIdle, sysLock, sysMpx, sysProf, sysProfil, sysPutpmsg, sysQueryModule, sysSecurity, sysSgetmask,
		sysSsetmask, sysStime, sysStty, sysSysfs, sysTuxcall, sysUlimit, sysUselib, sysUstat, sysVserver,
	}
	// privileged holds @chown, @module, @reboot and @swap; @clock and @raw-io
	// come with it.
	privileged = []Call{
		sysChown, sysChown32, sysFchown, sysFchown32, sysFchownat, sysLchown, sysLchown32,
		sysDeleteModule, sysFinitModule, sysInitModule,
		sysKexecFileLoad, sysKexecLoad, sysReboot, sysSwapoff, sysSwapon,
		sysSysctl, sysAcct, sysBpf, sysCapset, sysChroot, sysFanotifyInit, sysFanotifyMark, sysNfsservctl,
		sysOpenByHandleAt, sysPivotRoot, sysQuotactl, sysQuotactlFd, sysSetdomainname, sysSetfsuid, sysSetfsuid32,
		sysSetgroups, sysSetgroups32, sysSethostname, sysSetresuid, sysSetresuid32, sysSetreuid, sysSetreuid32,
		sysSetuid, sysSetuid32, sysVhangup,
	}
	processControl = []Call{
		sysCapget, sysClone, sysClone3, sysExecveat, sysFork, sysGetrusage, sysKill, sysPidfdOpen,
		sysPidfdSendSignal, sysPrctl, sysRtSigqueueinfo, sysRtTgsigqueueinfo, sysSetns, sysSwapcontext, sysTgkill,
		sysTimes, sysTkill, sysUnshare, sysVfork, sysWait4, sysWaitid, sysWaitpid,
	}
	rawIO = []Call{
		sysIoperm, sysIopl, sysPciconfigIobase, sysPciconfigRead, sysPciconfigWrite,
		sysS390PciMmioRead, sysS390PciMmioWrite,
	}
)
