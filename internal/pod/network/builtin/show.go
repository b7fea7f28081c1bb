// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/linux/nft"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Show implements network.Shower. There is nobody to be asked.
func (n *Networks) Show(_ context.Context, pods map[pod.UUID]*lifecycle.Pod, check bool) (list []contract.ListedNetwork, broken []string, err error) {
	var own []netip.Prefix
	for _, r := range n.Rules() {
		own = append(own, r.Subnets...)
	}
	var blocked []string
	if c, err := nft.Dial(); err == nil { // others than root cannot see
		blocked = obstacles(c, own)
		c.Close()
	}
	for _, def := range definitions() {
		d := driver{def, n}
		shown := contract.ListedNetwork{Name: d.name, Driver: DriverName, Kind: DriverName, Subnets: []string{}, Leases: []contract.ListedLease{}, Blocked: blocked}
		if check {
			shown.Status = "ready"
		}
		switch r, err := d.load(); {
		case err == nil:
			shown.Subnets = append(shown.Subnets, r.subnet4.String())
			if r.subnet6.IsValid() {
				shown.Subnets = append(shown.Subnets, r.subnet6.String())
			}
		case !errors.Is(err, errNone):
			return nil, nil, err
		}
		held, err := d.held()
		if err != nil {
			return nil, nil, err
		}
		for address, h := range held {
			l := contract.ListedLease{Address: address, Holder: string(h.UUID), IfName: h.Note}
			if l.State, err = network.StateOf(pods, h.UUID); err != nil {
				return nil, nil, err
			}
			shown.Leases = append(shown.Leases, l)
		}
		slices.SortFunc(shown.Leases, func(a, b contract.ListedLease) int {
			return strings.Compare(a.Holder+a.IfName+a.Address, b.Holder+b.IfName+b.Address)
		})
		list = append(list, shown)
	}
	return list, nil, nil
}

// held are the leases; before the first pod there is nothing to look at, and it
// is not made by looking.
func (d *driver) held() (map[string]lease.Holder, error) {
	if _, err := os.Stat(Dir(d.in.DataDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	l, err := lease.Open(Dir(d.in.DataDir))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	kind, err := d.leases(l)
	if err != nil {
		return nil, err
	}
	return kind.Held()
}
