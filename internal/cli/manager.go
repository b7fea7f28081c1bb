// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/spf13/pflag"
)

// manager is what a pod has to do with the system's manager, if that is systemd
// (docs/systemd.md).
type manager struct {
	register bool
}

func (m *manager) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&m.register, "register", true, "make the pod known to systemd-machined, where it has a unit of its own")
}

// tell tells the start of what is asked for.
func (m *manager) tell(c *cli, start *launch.Start) {
	if m.register && !c.global.user { // an ordinary user's pods are not the machine's
		start.Register()
	}
}
