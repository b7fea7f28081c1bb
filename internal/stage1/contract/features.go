// SPDX-License-Identifier: Apache-2.0

package contract

import "slices"

// FeatureInfo tells what a feature is.
type FeatureInfo struct {
	Feature Feature
	Means   string // in one line
	// Promised: nothing in a document asks for it; it says what the flavor does
	// anyway.
	Promised bool
}

// Features are all that this version knows, in the order in which they are shown.
// A new one is a line here, a case in Needs, and a request in stage1test.
func Features() []FeatureInfo {
	return []FeatureInfo{
		{Feature: MultipleApps, Means: "a pod of several apps"},
		{Feature: Interactive, Means: "the caller's terminal for the pod's only app (--interactive)"},
		{Feature: ReadOnlyRoot, Means: "an app's root that it cannot write to (--readonly-rootfs)"},
		{Feature: Volumes, Means: "directories and files of the host, and empty directories, in an app's root (--volume, --mount)"},
		{Feature: Hostname, Means: "a host name of the pod's own (--hostname)"},
		{Feature: DNS, Means: "/etc/resolv.conf and /etc/hosts as asked for (--dns, --hosts-entry)"},
		{Feature: NetHost, Means: "the host's network (--net=host)"},
		{Feature: NetNone, Means: "a network of loopback alone (--net=none)"},
		{Feature: NetContained, Means: "a network namespace attached to networks (--net=NETWORK, the default)"},
		{Feature: Ports, Means: "ports of the host that lead into the pod (--port)"},
		{Feature: Sockets, Means: "sockets that the caller of rkt has opened, for apps (--port=NAME:socket)"},
		{Feature: Notify, Means: "the service manager is told when the pod is ready (Type=notify)"},
		{Feature: HostIPC, Means: "the host's IPC namespace (--ipc=parent)"},
		{Feature: PrivateUsers, Means: "users and groups of the pod's own (--private-users)"},
		{Feature: Capabilities, Means: "an app's capabilities as asked for (--caps-retain, --caps-remove)"},
		{Feature: Ambient, Means: "capabilities for an app of another user than root"},
		{Feature: Seccomp, Means: "a filter of system calls as asked for (--seccomp)"},
		{Feature: NoNewPrivs, Means: "no privileges by executing programs (--no-new-privs)"},
		{Feature: AppArmor, Means: "a profile of AppArmor's"},
		{Feature: SELinux, Means: "a context of SELinux's"},
		{Feature: Devices, Means: "devices of the host in an app's /dev, and rules for others (--device)"},
		{Feature: ProtectedPaths, Means: "what of /proc and /sys is the host's is hidden or read-only", Promised: true},
		{Feature: EventHandlers, Means: "an image's pre-start and post-stop programs"},
		{Feature: Logs, Means: "an app's output in the pod's directory, for rkt logs (--stdout=log)"},
		{Feature: LimitCPU, Means: "limits, shares and sets of processors (--cpu, --cpu-shares)"},
		{Feature: LimitMemory, Means: "limits of memory (--memory)"},
		{Feature: LimitPIDs, Means: "limits of processes and threads (--pids)"},
		{Feature: LimitBlockIO, Means: "limits of block I/O"},
		{Feature: Rlimits, Means: "an app's resource limits of setrlimit(2)"},
		{Feature: OOMScoreAdj, Means: "how soon the OOM killer chooses an app (--oom-score-adj)"},
		{Feature: Sysctls, Means: "kernel parameters of the pod's own (--sysctl)"},
	}
}

// Needs are the features that a flavor must have to run the pod, in the order of
// Features.
func (p *Pod) Needs() []Feature {
	list := make([]Feature, 0, 8)
	need := func(asked bool, f Feature) {
		if asked {
			list = append(list, f)
		}
	}
	// any tells whether an app asks.
	any := func(asks func(*App) bool) bool {
		for i := range p.Apps {
			if asks(&p.Apps[i]) {
				return true
			}
		}
		return false
	}
	// limited tells whether the pod, or an app, has such limits.
	limited := func(has func(*Limits) bool) bool {
		return has(&p.Limits) || any(func(a *App) bool { return has(&a.Limits) })
	}
	need(len(p.Apps) > 1, MultipleApps)
	need(p.Interactive, Interactive)
	need(any(func(a *App) bool { return a.ReadOnlyRoot }), ReadOnlyRoot)
	need(any(func(a *App) bool { return len(a.Mounts) > 0 }), Volumes)
	need(p.Hostname != "" && p.Hostname != "rkt-"+p.UUID, Hostname)
	need(p.Resolv != nil || p.Hosts != nil && !p.HostsIfMissing, DNS)
	need(p.Network == NetworkHost, NetHost)
	need(p.Network == NetworkNone, NetNone)
	need(p.Network == NetworkContained, NetContained)
	need(len(p.Ports) > 0, Ports)
	need(any(func(a *App) bool { return len(a.Sockets) > 0 }), Sockets)
	need(p.Notify, Notify)
	need(p.HostIPC, HostIPC)
	need(p.Users.Private(), PrivateUsers)
	need(any(func(a *App) bool { return a.Capabilities != nil }), Capabilities)
	need(any(func(a *App) bool { return len(a.Ambient) > 0 && a.User != "" && a.User != "0" && a.User != "root" }), Ambient)
	need(any(func(a *App) bool { return a.Seccomp.Mode != "" }), Seccomp)
	need(any(func(a *App) bool { return a.NoNewPrivs }), NoNewPrivs)
	need(any(func(a *App) bool { return a.AppArmor != "" }), AppArmor)
	need(any(func(a *App) bool { return a.SELinux != "" }), SELinux)
	need(any(func(a *App) bool { return len(a.Devices) > 0 || len(a.DeviceRules) > 0 }), Devices)
	need(any(func(a *App) bool { return len(a.PreStart) > 0 || len(a.PostStop) > 0 }), EventHandlers)
	need(any(func(a *App) bool { return a.Stdin == Log || a.Stdout == Log || a.Stderr == Log }), Logs)
	need(limited(func(l *Limits) bool { return l.CPU > 0 || l.CPUShares > 0 || l.CPUSet != "" }), LimitCPU)
	need(limited(func(l *Limits) bool { return l.Memory > 0 || l.MemoryRequest > 0 || l.MemoryHigh > 0 }), LimitMemory)
	need(limited(func(l *Limits) bool { return l.PIDs > 0 }), LimitPIDs)
	need(limited(func(l *Limits) bool { return l.BlockBandwidth > 0 || l.BlockIOPS > 0 }), LimitBlockIO)
	need(any(func(a *App) bool { return len(a.Rlimits) > 0 }), Rlimits)
	need(any(func(a *App) bool { return a.OOMScoreAdj != nil }), OOMScoreAdj)
	need(len(p.Sysctls) > 0, Sysctls)
	return list
}

// Lacking is the first of the document's Features that is not in have; "" if
// there is none.
func (p *Pod) Lacking(have []Feature) Feature {
	for _, f := range p.Features {
		if !slices.Contains(have, f) {
			return f
		}
	}
	return ""
}
