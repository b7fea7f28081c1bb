// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
)

// Stop is the `stop` entry point: SIGTERM to the pod's `run` process, which asks the
// apps to end, or with force SIGKILL to the keeper, with which the machine ends. A
// pod that has ended already is fine.
func Stop(force bool) error { return poddir.StopPod(".", force) }

// GC is the `gc` entry point: it removes the pod's cgroups, with what is left in
// them.
func GC() error {
	doc, err := poddir.Document(".")
	if err != nil {
		return err
	}
	return cgroup.RemoveAll(doc.CgroupDirs(), doc.Aside())
}
