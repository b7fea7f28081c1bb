// SPDX-License-Identifier: Apache-2.0

// Package nspawn is two flavors of stage1, in which systemd is the pod's first
// process and systemd-nspawn makes its container: "host", with the host's own
// systemd, and "coreos", with that of the flavor's tree.
//
// stage0's part is done here, too: `run` has package assemble lay the apps' roots
// in a mount namespace, builds the machine around them (machine.go), a small tree
// with one unit an app, and starts systemd-nspawn on it. Each unit runs this
// program again, inside (service.go), which gets from `run` what belongs to its
// app and then is to that app what the native flavor's first process is to all.
// So nothing that an image says is ever read by systemd, and what an app may do is
// enforced by the same code in all flavors.
//
// A reader finds the pod's life in this order: run.go, machine.go, units.go,
// attend.go, service.go, stop.go.
package nspawn

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// A Flavor is one of the two.
type Flavor struct {
	Name string
}

// The flavors.
var (
	Host   = Flavor{"host"}
	CoreOS = Flavor{"coreos"}
)

// TreeProgram is where the program lies in the coreos flavor's tree.
const TreeProgram = "usr/lib/rkt/stage1-nspawn"

// Manifest declares the flavor; `stage1-nspawn manifest NAME` prints it.
func (f Flavor) Manifest() contract.Manifest {
	program := "stage1-nspawn"
	if f == CoreOS {
		program = TreeProgram
	}
	m := contract.Manifest{
		ContractVersion: contract.Version,
		Name:            f.Name,
		Entrypoints:     map[string][]string{},
		Features: []contract.Feature{
			contract.MultipleApps, contract.Interactive, contract.ReadOnlyRoot, contract.Volumes,
			contract.Hostname, contract.DNS, contract.NetHost, contract.NetNone, contract.NetContained, contract.Ports,
			contract.Capabilities, contract.Ambient, contract.Seccomp, contract.NoNewPrivs, contract.OOMScoreAdj,
			contract.ProtectedPaths, contract.EventHandlers, contract.Logs, contract.HostIPC,
			contract.LimitCPU, contract.LimitMemory, contract.LimitPIDs, contract.LimitBlockIO,
			contract.Rlimits, contract.Sysctls, contract.Devices, contract.AppArmor, contract.SELinux, contract.Notify,
		},
	}
	if f == CoreOS {
		m.Code = []string{"/"}
	}
	for _, name := range []string{"run", "enter", "stop", "gc", "pause", "resume"} {
		m.Entrypoints[name] = []string{program, f.Name, name}
	}
	return m
}

// tree is the root of the flavor's own tree, "" for the host's.
func (f Flavor) tree() (string, error) {
	if f == Host {
		return "", nil
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", err
	}
	tree := exe[:max(0, len(exe)-len("/"+TreeProgram))]
	if filepath.Join(tree, TreeProgram) != exe {
		return "", fmt.Errorf("cannot find the tree of flavor %s: this program is not its %s", f.Name, TreeProgram)
	}
	return tree, nil
}
