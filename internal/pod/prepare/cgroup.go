// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// placeCgroup puts the pod's cgroup below that of this process, so that the
// caller's limits and accounting hold for the pod. It is chosen here, before
// stage1 makes it, so that gc finds it whatever is killed when.
func placeCgroup(c *contract.Pod) error {
	own, err := cgroup.Own()
	if errors.Is(err, cgroup.ErrNone) {
		c.Cgroup = ""
		return nil
	}
	c.Cgroup = own + "/rkt-" + c.UUID
	return err
}
