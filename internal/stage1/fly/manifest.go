// SPDX-License-Identifier: Apache-2.0

// Package fly is the flavor without isolation: a chroot, and the host's own
// namespaces, /dev, /proc and /sys, for agents that manage the host. What an app
// mounts inside a volume shows on the host, and the other way round.
//
// The app's root, /tmp and volumes are mounts in a mount namespace of the pod,
// which shares its mounts with the host, so that nothing has to be unmounted when
// the pod ends, however it ends. A reader finds the pod's life in this order:
// run.go, root.go, enter.go, stop.go.
package fly

import "github.com/rkt/rkt/internal/stage1/contract"

// Manifest declares the flavor; `stage1-fly manifest` prints it.
func Manifest() contract.Manifest {
	return contract.Manifest{
		ContractVersion: contract.Version,
		Name:            "fly",
		Entrypoints: map[string][]string{
			"run":   {"stage1-fly", "run"},
			"enter": {"stage1-fly", "enter"},
			"stop":  {"stage1-fly", "stop"},
			"gc":    {"stage1-fly", "gc"},
		},
		Features: []contract.Feature{
			contract.Interactive, contract.ReadOnlyRoot, contract.Volumes, contract.DNS,
			contract.NetHost, contract.HostIPC, contract.OOMScoreAdj, contract.Rlimits,
		},
	}
}
