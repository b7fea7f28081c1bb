// SPDX-License-Identifier: Apache-2.0

// Package contract is what stage0 and every flavor of stage1 agree on: one
// versioned JSON document in the pod directory, a few descriptors, and entry
// points. It holds types and their decoding, nothing else, so that a flavor
// written elsewhere can be built from this page (docs/stage1-contract.md).
//
// # How a pod starts
//
// stage0 writes the document (File) into the pod directory, renames that to
// pods/run/<uuid>, and executes the flavor's `run` entry point in its own place:
// same pid, so that the caller's signals, cgroup and exit status are the pod's.
//
// If the flavor's manifest has an `init` entry point, stage0 assembles the pod
// first (package assemble): the namespaces, the apps' roots with all that is
// mounted in them, and the pod's first process, which starts an only app itself
// and becomes `init` when that has lived for a moment, or at once. `init` finds
// what Inherited describes.
//
// # Entry points
//
// All start with the pod directory as working directory and no environment but
// what is named here and TERM.
//
//	run                              replaces stage0; exits with the pod's status
//	init                             executed by the pod's first process, in the pod
//	enter --app=NAME -- CMD [ARG…]   replaces `rkt enter`; exits with CMD's status
//	stop [--force]                   asks the pod to end (SIGTERM), or kills it; returns at once
//	pause, resume                    have the apps stand still, and go on; each may be run again
//	gc                               gives back what a pod that ended without `run` left
//	                                 outside its directory (cgroups); may be run again
package contract

// Version of the document. A flavor refuses a document whose version it does
// not know.
const Version = 1

// File is the name of the document in the pod directory.
const File = "contract.json"

// Environment variables from stage0 to `run` and `init`. Descriptors are named
// by their numbers; all others but stdio are closed on exec.
const (
	// EnvLockFD, for `run`, is the descriptor that holds the flock on the pod directory's
	// lock file. As long as any process keeps it, the pod is running. Never
	// handed to apps.
	EnvLockFD = "RKT_LOCK_FD"
	// EnvControlFD, for `run`, is stage0's end of a SOCK_SEQPACKET pair, whose
	// other end `init` has (Inherited). What they say there once `run` is there is
	// the flavor's own affair.
	EnvControlFD = "RKT_CONTROL_FD"
	// EnvInherited, for `init`, is an encoded Inherited.
	EnvInherited = "RKT_INHERITED"
	// EnvInit is the pid of `init`, seen from the host, for `run`.
	EnvInit = "RKT_INIT_PID"
	// EnvCgroup is the document's Cgroup, for `run`, which then needs no more
	// of the document, unless EnvLimited is set.
	EnvCgroup = "RKT_CGROUP"
	// EnvNetwork, for `run`, is the program that gives the pod's networks back:
	// it is run with the argument NetworkRelease, in the pod's directory,
	// when the pod's processes have ended, before the lock is given up. Absent:
	// the pod has none.
	EnvNetwork = "RKT_NETWORK"
	// EnvNetworkFD, for `run`, is a descriptor to keep open as long as the pod
	// lives, closed on exec (NetworkStays). Absent: there is none.
	EnvNetworkFD = "RKT_NETWORK_FD"
	// EnvNetNS, for the `run` of a flavor without `init`, is a descriptor of the pod's
	// network namespace, attached to Pod.Networks, with only loopback under
	// NetworkNone. Absent: the pod's network is the host's.
	EnvNetNS = "RKT_NETNS_FD"
	// EnvResolv, beside EnvNetNS, is what the networks want in resolv.conf(5) of
	// all apps. Absent: nothing.
	EnvResolv = "RKT_RESOLV"
	// EnvHeld, for `run`, are descriptors to keep open as long as the pod lives,
	// closed on exec, with commas between them: what the pod has of the host's is
	// the pod's until they are closed. Absent: there are none.
	EnvHeld = "RKT_HELD_FDS"
	// EnvMachine, for `run`, is the program that has systemd-machined forget the pod:
	// it is run with the argument MachineUnregister in the pod's directory when the
	// pod's processes have ended. For a flavor without `init`, which starts the pod
	// itself, it is to be run with MachineRegister, the pid of the pod's first
	// process and "container" or "vm" before. Absent: the pod is not to be known.
	EnvMachine = "RKT_MACHINE"
	// EnvNotify, for `run`, is an encoded notify.Relay, or for a flavor without
	// `init` that has the feature Notify one that has nothing said yet: whom to tell
	// that the pod is ready, and that it is stopping. Absent: nobody is to be told.
	EnvNotify = "RKT_NOTIFY"
	// EnvLimited, for `run`, is set if the pod has cgroups beyond Cgroup; the
	// document has them.
	EnvLimited = "RKT_LIMITED"
)

// What the program in EnvMachine can do.
const (
	MachineRegister   = "register"
	MachineUnregister = "unregister"
)

// TreeManifest is the name of the manifest at the root of a flavor that comes as a
// tree of its own: an image's, or a directory. Paths of programs in it, absolute
// ones too, are that tree's.
const TreeManifest = "stage1.json"

// MaxManifest bounds a manifest, bytes.
const MaxManifest = 64 << 10

// Manifest describes a flavor; it lies beside the program as stage1-NAME.json, or
// as TreeManifest.
type Manifest struct {
	ContractVersion int    `json:"contractVersion"`
	Name            string `json:"name"`
	Version         string `json:"version,omitempty"` // of the flavor; "" is any
	// Entrypoints maps run, init, enter, stop, gc … to the argument vector's
	// first words; a relative program path is relative to the manifest.
	Entrypoints map[string][]string `json:"entrypoints"`
	// Features the flavor can do. prepare refuses a pod that needs one that is
	// not listed.
	Features []Feature `json:"features"`
	// Code are directories of a tree in which lies what its programs load or execute
	// beside themselves: nobody else may change anything there.
	Code []string `json:"code,omitempty"`
}

// Feature is one thing a pod may ask of a flavor.
type Feature string

// The features known to this version.
const (
	MultipleApps   Feature = "multiple-apps"
	Interactive    Feature = "interactive"
	ReadOnlyRoot   Feature = "read-only-root"
	Volumes        Feature = "volumes"
	Hostname       Feature = "hostname"
	DNS            Feature = "dns"
	NetHost        Feature = "net-host"
	NetNone        Feature = "net-none"
	NetContained   Feature = "net-contained" // Pod.Networks
	Ports          Feature = "ports"         // Pod.Ports
	Sockets        Feature = "socket-activation"
	Capabilities   Feature = "capabilities"
	Ambient        Feature = "ambient-capabilities" // App.Ambient
	Seccomp        Feature = "seccomp"
	NoNewPrivs     Feature = "no-new-privileges"
	OOMScoreAdj    Feature = "oom-score-adj"
	ProtectedPaths Feature = "protected-paths"
	EventHandlers  Feature = "event-handlers"
	Logs           Feature = "logs"
	HostIPC        Feature = "host-ipc"
	LimitCPU       Feature = "limit-cpu" // limit, shares and set of processors
	LimitMemory    Feature = "limit-memory"
	LimitPIDs      Feature = "limit-pids"
	LimitBlockIO   Feature = "limit-block-io"
	Rlimits        Feature = "rlimits"
	Sysctls        Feature = "sysctls"
	AppArmor       Feature = "apparmor"
	SELinux        Feature = "selinux"
	Notify         Feature = "notify"        // Pod.Notify, App.Notify
	Devices        Feature = "devices"       // App.Devices, App.DeviceRules, Pod.ConfineDevices
	PrivateUsers   Feature = "private-users" // Pod.Users
)

// Pod is the document.
type Pod struct {
	Version int    `json:"version"`
	UUID    string `json:"uuid"`
	// Flavor is the path of the manifest of the flavor this was prepared for.
	Flavor string `json:"flavor"`
	// Stage1Image is the ID of the image that the flavor came from; "" for an
	// installed one.
	Stage1Image string `json:"stage1Image,omitempty"`
	// Features are what the pod asks for (Needs). A flavor refuses a pod that asks
	// for one that it does not have.
	Features []Feature `json:"features,omitempty"`
	Hostname string    `json:"hostname"`
	Apps     []App     `json:"apps"`
	// Cgroup is the absolute directory of the pod's cgroup (version 2), which
	// stage1 makes and removes; "" where the host has no such hierarchy.
	Cgroup string `json:"cgroup,omitempty"`
	// Controllers are the cgroup controllers that the pod's limits need: for each,
	// by its version 2 name, the pod's directory in the hierarchy that has it. That
	// is Cgroup itself in version 2; else stage1 makes and removes it likewise.
	Controllers map[string]string `json:"controllers,omitempty"`
	// Limits hold for all apps together.
	Limits Limits `json:"limits,omitzero"`
	// ConfineDevices: each app can open the devices that every app may (devcgroup.
	// Default), its own Devices, and what its DeviceRules say, whatever capabilities
	// it has, and no others: by the controller "devices" of version 1, if
	// Controllers has it, else by a program at Cgroup. Without it the flavor sees to
	// it that an app without CAP_SYS_ADMIN can open no others.
	ConfineDevices bool `json:"confineDevices,omitempty"`
	// Sysctls are kernel parameters of the pod's namespaces, by their dotted names.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Users, if it counts any, are the users and groups of the pod's own: they
	// are others on the host.
	Users Users `json:"users,omitzero"`
	// Network is NetworkHost, NetworkNone or NetworkContained.
	Network string `json:"network"`
	// Networks are what the pod is attached to under NetworkContained, in order.
	// stage0 has that done, before the pod is handed over, in the network
	// namespace that init was born in.
	Networks []Network `json:"networks,omitempty"`
	// NetworkBandwidth is how many bytes a second each of the Networks passes, each
	// way; 0 limits nothing. stage0 has that done with the attachment.
	NetworkBandwidth int64 `json:"networkBandwidth,omitempty"`
	// Ports lead from the host into the pod; only under NetworkContained.
	Ports []Port `json:"ports,omitempty"`
	// NetworkConfig are directories with configurations of networks, absolute;
	// what an earlier one has goes before what a later one has.
	NetworkConfig []string `json:"networkConfig,omitempty"`
	// NetworkShared are such directories that others read and write as well, as
	// /etc/cni/net.d, looked into last; NetworkPlugins are directories of
	// plugins, before the usual ones.
	NetworkShared  []string `json:"networkShared,omitempty"`
	NetworkPlugins []string `json:"networkPlugins,omitempty"`
	// NetworkProgram is the absolute path of pasta or slirp4netns, which carries the
	// network "default" of an ordinary user's pod; "" is rkt's own.
	NetworkProgram string `json:"networkProgram,omitempty"`
	// HostIPC: the pod keeps the host's IPC namespace (--ipc=parent).
	HostIPC bool `json:"hostIPC,omitempty"`
	// Resolv and Hosts are the files' contents, put over each app's
	// /etc/resolv.conf and /etc/hosts; nil leaves the image's own alone.
	Resolv *string `json:"resolv,omitempty"`
	Hosts  *string `json:"hosts,omitempty"`
	// NoNetworkDNS: what networks say of DNS is not for this pod. Else it is put in
	// place of a nil Resolv.
	NoNetworkDNS bool `json:"noNetworkDNS,omitempty"`
	// HostsIfMissing: Hosts is only used for images without /etc/hosts.
	HostsIfMissing bool `json:"hostsIfMissing,omitempty"`
	// Notify: whoever starts the pod waits to be told that it is ready, by the
	// protocol of sd_notify(3).
	Notify bool `json:"notify,omitempty"`
	// Interactive: the (one) app is connected to the caller's terminal.
	Interactive bool `json:"interactive,omitempty"`
	// Insecure switches protections off, as --insecure-options asked.
	Insecure Insecure `json:"insecure,omitzero"`
	// StopSeconds is how long apps have between their stop signal and SIGKILL.
	StopSeconds int `json:"stopSeconds"`
	// OverlayOptions are appended to every overlay mount ("userxattr" …).
	OverlayOptions []string `json:"overlayOptions,omitempty"`
	// KeepGroups: the pod's user namespace has one group, and a process in it
	// cannot change its supplementary groups (user_namespaces(7), setgroups).
	KeepGroups bool `json:"keepGroups,omitempty"`
}

// Insecure lists protections that the user switched off.
type Insecure struct {
	Capabilities bool `json:"capabilities,omitempty"`
	Paths        bool `json:"paths,omitempty"`
	Seccomp      bool `json:"seccomp,omitempty"`
}

// App is one app of the pod, everything resolved that can be resolved without
// looking into its root: only user names, the program's path and mount targets
// are left to stage1.
type App struct {
	Name string `json:"name"`
	// Layers are absolute paths of read-only trees, lowest first.
	Layers []string `json:"layers"`
	// Upper and Work are the overlay's writable directories, absolute.
	Upper        string `json:"upper"`
	Work         string `json:"work"`
	ReadOnlyRoot bool   `json:"readOnlyRoot,omitempty"`

	Exec              []string `json:"exec"`
	Environment       []string `json:"environment"` // complete: defaults and AC_APP_NAME included
	WorkingDir        string   `json:"workingDir"`  // absolute; "/" if the image has none
	User              string   `json:"user"`        // name, number or /path; "" is 0
	Group             string   `json:"group"`       // the same; "" is the user's own group
	SupplementaryGIDs []int    `json:"supplementaryGIDs,omitempty"`

	Mounts []Mount `json:"mounts,omitempty"`
	// Devices are nodes of the host's, or made for the app.
	Devices []Device `json:"devices,omitempty"`
	// DeviceRules allow devices beside those, as "c 189:* rwm" (devcgroup.ParseRule).
	DeviceRules []string `json:"deviceRules,omitempty"`
	// Sockets are the ports that the caller of rkt opens (sd_listen_fds(3)). The
	// app finds them from descriptor 3 on, with LISTEN_FDS, LISTEN_FDNAMES (the
	// ports' names) and LISTEN_PID (its pid as itself sees it) in its environment.
	Sockets []Socket `json:"sockets,omitempty"`

	// Notify is where, in its root, the app finds a socket by which it says itself
	// when it is ready (sd_notify(3)); its Environment says so, too. "": it does not,
	// and is ready when it has started.
	Notify string `json:"notify,omitempty"`

	// Capabilities is the bounding set, by name ("CAP_CHOWN"); nil is the
	// flavor's default set, empty is none.
	Capabilities []string `json:"capabilities"`
	// Ambient are those of them that an app of another user than 0 starts with;
	// such an app starts with no others.
	Ambient    []string      `json:"ambient,omitempty"`
	Seccomp    SeccompFilter `json:"seccomp,omitzero"`
	NoNewPrivs bool          `json:"noNewPrivileges,omitempty"`
	// AppArmor is the profile and SELinux the context that the app is confined by;
	// "" leaves that to the kernel.
	AppArmor    string   `json:"appArmor,omitempty"`
	SELinux     string   `json:"seLinux,omitempty"`
	OOMScoreAdj *int     `json:"oomScoreAdj,omitempty"`
	Limits      Limits   `json:"limits,omitzero"`
	Rlimits     []Rlimit `json:"rlimits,omitempty"`

	StopSignal string   `json:"stopSignal,omitempty"` // a number; SIGTERM if empty
	PreStart   []string `json:"preStart,omitempty"`   // run as root of the app's root, before Exec
	PostStop   []string `json:"postStop,omitempty"`

	Stdin  Stream `json:"stdin,omitempty"`
	Stdout Stream `json:"stdout,omitempty"`
	Stderr Stream `json:"stderr,omitempty"`
}

// App is the app of that name; nil if the pod has none.
func (p *Pod) App(name string) *App {
	for i := range p.Apps {
		if p.Apps[i].Name == name {
			return &p.Apps[i]
		}
	}
	return nil
}

// Stream says where one of an app's standard streams goes.
type Stream string

// The streams. "" is Null for stdin and Inherit for the others.
const (
	Null    Stream = "null"
	Inherit Stream = "inherit" // the caller's own descriptor
	Log     Stream = "log"     // to a file in LogDir, and to the caller
)

// PrivateDir, in the pod directory, is for what only its owner may reach: the
// apps' writable directories, volumes and logs. Whoever may read the rest of the
// pod's directory must not come to a set-user-id program that an app has made.
const PrivateDir = "private"

// LogDir is where an app's output goes under Stream Log, below the pod
// directory, to a file of the app's name. Lines are in the CRI's format: RFC 3339 time with
// nanoseconds, stream, F or P, text (kubernetes cri-api, "container logs").
const LogDir = PrivateDir + "/log"

// SeccompFilter chooses a filter. Mode "" is the flavor's default.
type SeccompFilter struct {
	Mode  string   `json:"mode,omitempty"`  // "", "retain", "remove", "unconfined", SeccompProfile
	Names []string `json:"names,omitempty"` // system calls and @groups
	Errno string   `json:"errno,omitempty"` // "EPERM" …; "" is the mode's default
	// Profile is the text of a profile in Docker's or the OCI's form, for
	// SeccompProfile alone.
	Profile string `json:"profile,omitempty"`
}

// SeccompProfile is the mode in which Profile says all. A flavor that does not
// know it refuses the document, as any other mode.
const SeccompProfile = "profile"

// Mount is one mount in an app's root.
type Mount struct {
	Volume string `json:"volume"` // its name, for messages and status
	// Source is an absolute host path of a directory, file or device; or "" for
	// Keep mounts.
	Source    string `json:"source,omitempty"`
	Target    string `json:"target"` // resolved inside the app's root
	ReadOnly  bool   `json:"readOnly,omitempty"`
	Recursive bool   `json:"recursive,omitempty"`
	NoSUID    bool   `json:"noSUID,omitempty"`
	NoExec    bool   `json:"noExec,omitempty"`
	// Private: what the host mounts or unmounts there later does not show.
	Private bool `json:"private,omitempty"`
	// Keep: no source; the image's own content at Target stays writable though
	// the root is read-only.
	Keep bool `json:"keep,omitempty"`
}
