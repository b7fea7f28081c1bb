// SPDX-License-Identifier: Apache-2.0

// Package kvm is the flavor whose pods are virtual machines: a kernel of their own,
// in which the pod is a native one (package guest).
//
// `run` is rkt's pid and stands for the pod: it speaks to the guest (package wire),
// carries the apps' streams, and serves `enter` at a socket in the pod's private
// directory. Its child, the keeper, is the first process of a pid namespace with the
// machine's programs (package vmm) in it, so that none outlives it, and it does not
// outlive `run`. A reader finds the machine's life in this order: run.go, keeper.go,
// share.go, link.go, session.go, enter.go.
//
// What the guest says is never trusted: its frames are bounded, whatever does not
// keep to the protocol ends the machine, and it names no path and no pid of the
// host's.
package kvm

import "github.com/rkt/rkt/internal/stage1/contract"

// Manifest declares the flavor; `stage1-kvm manifest` prints it.
func Manifest() contract.Manifest {
	return contract.Manifest{
		ContractVersion: contract.Version,
		Name:            "kvm",
		Entrypoints: map[string][]string{
			"run":   {"stage1-kvm", "run"},
			"enter": {"stage1-kvm", "enter"},
			"stop":  {"stage1-kvm", "stop"},
			"gc":    {"stage1-kvm", "gc"},
		},
		Features: []contract.Feature{
			contract.MultipleApps, contract.Interactive, contract.ReadOnlyRoot, contract.Volumes,
			contract.Hostname, contract.DNS, contract.NetNone, contract.NetContained, contract.Ports,
			contract.Capabilities, contract.Ambient, contract.Seccomp, contract.NoNewPrivs, contract.OOMScoreAdj,
			contract.ProtectedPaths, contract.EventHandlers, contract.Logs,
			contract.LimitCPU, contract.LimitMemory, contract.LimitPIDs, contract.Rlimits, contract.Sysctls,
		},
	}
}
