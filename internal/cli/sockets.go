// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod/activation"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// sockets are the apps' sockets, of those that rkt's caller has opened.
type sockets [][]contract.InheritedSocket

// takeSockets takes what the caller has opened (sd_listen_fds(3)); once the pod's
// document is decided, to is filled, or the pod refused. It comes before rkt
// looks at its environment or starts a program.
func (c *cli) takeSockets(to *sockets, o *prepare.Options, quiet bool) error {
	given, err := activation.Take()
	if err != nil {
		return err
	}
	o.Decided = func(doc *contract.Pod) (err error) {
		*to, err = given.For(doc)
		if n := len(given.Sockets); err == nil && *to == nil && n > 0 && !quiet {
			c.say(fmt.Sprintf("no port of the pod is socket-activated: it is given none of the caller's sockets (LISTEN_FDS=%d)", n))
		}
		return err
	}
	return nil
}
