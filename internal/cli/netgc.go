// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func newNetGC(c *cli) *command {
	return &command{
		usage: "",
		short: "give back what networks hold for nobody",
		long: `Gives back addresses, rules and ports of pods that were killed before they could,
and of pods that are gone; takes down built-in networks that no pod uses. Plugins
of configured networks that can collect garbage (CNI's GC, since version 1.1.0)
are asked to. Each address that was given back is told.

Networks of directories that rkt shares with others, and those that say disableGC,
are left alone, and so is whatever has the ID of no pod: it is not rkt's.

rkt gc does the first when it removes a pod. It may run at any time, beside
anything else of rkt.`,
		example: "  rkt net gc",
		args:    noArgs,
		run: func([]string) error {
			if c.global.user {
				return errors.New("cannot collect networks as an unprivileged user: they are root's; those of a user's pods end with them")
			}
			dir, before, err := c.networks(false)
			if err != nil {
				return err
			}
			places, err := c.places()
			if err != nil {
				return err
			}
			err = errors.Join(c.releaseEnded(dir), launch.Networks(dir, places))
			_, after, lerr := c.networks(false)
			if lerr != nil {
				return errors.Join(err, lerr)
			}
			c.tellGone(before, after)
			return err
		},
	}
}

// releaseEnded gives back what pods hold that have ended.
func (c *cli) releaseEnded(dir string) error {
	pods, err := lifecycle.List(dir, lifecycle.Run, lifecycle.ExitedGarbage)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods {
		switch err := p.Lock(); {
		case errors.Is(err, lifecycle.ErrBusy), errors.Is(err, lifecycle.ErrNotFound):
			continue // it runs, or somebody removes it
		case err != nil:
			errs = append(errs, err)
			continue
		}
		if err := launch.ReleaseNetworks(p); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", p.ID(), err))
		}
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// tellGone prints the leases that were nobody's, or of pods that had ended, and
// are no more.
func (c *cli) tellGone(before, after *contract.NetworkListing) {
	type key struct{ network, address, holder string }
	left := map[key]bool{}
	for _, n := range after.Networks {
		for _, l := range n.Leases {
			left[key{n.Name, l.Address, l.Holder}] = true
		}
	}
	for _, n := range before.Networks {
		for _, l := range n.Leases {
			gone := !left[key{n.Name, l.Address, l.Holder}] && !n.Hidden
			if gone && (l.State == contract.LeaseNobody || l.State == contract.LeaseEnded) {
				fmt.Fprintf(c.Out, "gave back %s of network %q: pod %s\n", dash(l.Address), n.Name, l.Holder)
			}
		}
	}
}
