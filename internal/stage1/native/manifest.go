// SPDX-License-Identifier: Apache-2.0

// Package native is the default flavor of stage1: kernel namespaces, with a
// supervisor of rkt's own as the pod's first process.
//
// Package assemble has put the pod together before anything here runs. A reader
// finds the pod's life in this order: init.go (the pod's first process, once the
// pod lives on), app.go (an app's start), run.go (outside, in the caller's place),
// enter.go, stop.go.
package native

import "github.com/rkt/rkt/internal/stage1/contract"

// Manifest declares the flavor; `stage1-native manifest` prints it.
func Manifest() contract.Manifest {
	return contract.Manifest{
		ContractVersion: contract.Version,
		Name:            "native",
		Entrypoints: map[string][]string{
			"init":   {"stage1-native", "init"},
			"run":    {"stage1-native", "run"},
			"enter":  {"stage1-native", "enter"},
			"stop":   {"stage1-native", "stop"},
			"gc":     {"stage1-native", "gc"},
			"pause":  {"stage1-native", "pause"},
			"resume": {"stage1-native", "resume"},
		},
		Features: []contract.Feature{
			contract.MultipleApps, contract.Interactive, contract.ReadOnlyRoot, contract.Volumes,
			contract.Hostname, contract.DNS, contract.NetHost, contract.NetNone, contract.NetContained, contract.Ports, contract.Sockets, contract.Notify,
			contract.Capabilities, contract.Ambient, contract.Seccomp, contract.NoNewPrivs, contract.OOMScoreAdj,
			contract.ProtectedPaths, contract.EventHandlers, contract.Logs, contract.HostIPC,
			contract.LimitCPU, contract.LimitMemory, contract.LimitPIDs, contract.LimitBlockIO,
			contract.Rlimits, contract.Sysctls, contract.Devices, contract.PrivateUsers,
			contract.AppArmor, contract.SELinux,
		},
	}
}
