// SPDX-License-Identifier: Apache-2.0

package native

import (
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/networks"
)

// LeaveNetworks has the program (contract.EnvNetwork) give back what the pod held
// of networks, and returns when that is done, which is before the program ends.
// fd leads to one that is there already, or is negative.
func LeaveNetworks(program string, fd int) error {
	if program == "" {
		return nil
	}
	if fd >= 0 && unix.Send(fd, []byte(contract.NetworkRelease), unix.MSG_NOSIGNAL) == nil {
		if word, err := networks.Hear(fd); word != "" {
			return networks.Released(word, err)
		}
	}
	// It is not there, or no more.
	return networks.Release(program, "", []string{"GOMAXPROCS=1"})
}
