// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Shower is a Source that can list its networks and who holds what of them.
type Shower interface {
	// Show lists them in the order of --net=all. pods are those of the data
	// directory. With check, whoever can say is asked how networks and
	// attachments are.
	Show(ctx context.Context, pods map[pod.UUID]*lifecycle.Pod, check bool) ([]contract.ListedNetwork, []string, error)
}

// Print writes a contract.NetworkListing, as JSON.
func (h *Host) Print(ctx context.Context, w io.Writer, check bool) error {
	list, err := lifecycle.List(h.DataDir)
	if err != nil {
		return err
	}
	pods := map[pod.UUID]*lifecycle.Pod{}
	for _, p := range list {
		pods[p.ID()] = p
	}
	all := contract.NetworkListing{Networks: []contract.ListedNetwork{}}
	for _, s := range h.Sources {
		shower, ok := s.(Shower)
		if !ok {
			continue
		}
		networks, broken, err := shower.Show(ctx, pods, check)
		if err != nil {
			return err
		}
		for _, n := range networks {
			n.Hidden = n.Hidden || slices.ContainsFunc(all.Networks, func(o contract.ListedNetwork) bool { return o.Name == n.Name })
			all.Networks = append(all.Networks, n)
		}
		all.Broken = append(all.Broken, broken...)
	}
	return json.NewEncoder(w).Encode(all)
}

// StateOf says whose a lease is that a pod of that UUID has.
func StateOf(pods map[pod.UUID]*lifecycle.Pod, id pod.UUID) (contract.LeaseState, error) {
	p, ok := pods[id]
	if !ok {
		return contract.LeaseNobody, nil
	}
	s, err := p.State()
	switch {
	case errors.Is(err, lifecycle.ErrNotFound):
		return contract.LeaseNobody, nil
	case err != nil:
		return "", err
	case s == lifecycle.StateRunning:
		return contract.LeaseUsed, nil
	}
	return contract.LeaseEnded, nil
}
