// SPDX-License-Identifier: Apache-2.0

package fly

import (
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
)

// Stop is the `stop` entry point: SIGTERM to the pod's `run` process, which asks
// the app to end, or with force SIGKILL to the app, after which `run` kills what
// else there is. A pod that has ended already is fine.
func Stop(force bool) error { return poddir.StopPod(".", force) }

// GC is the `gc` entry point: it kills what a pod left whose `run` was killed, and
// removes its cgroup. Without cgroups of version 2 nobody knows such processes.
func GC() error {
	doc, _, err := document()
	if err != nil {
		return err
	}
	if doc.Cgroup == "" {
		return nil
	}
	return cgroup.Remove(doc.Cgroup)
}
