// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/pod"
)

// Collect is network.Source's: it gives back what the networks of rkt's own
// directories hold for nobody. Attachments that have a record are not its
// affair, dead as their pods may be: they end by Del.
//
//   - Plugins that speak version 1.1.0 are asked to collect (GC).
//   - For others DEL is run for each lease of host-local's whose holder has the
//     form of a pod's UUID, and is none.
//
// Networks of other directories are shared with others, whose attachments rkt
// does not know: they are left alone, and so are those that say disableGC.
func (s *Source) Collect(ctx context.Context, alive func(pod.UUID) bool) error {
	all, err := s.Networks()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range all.List {
		if n.Foreign {
			continue
		}
		if err := s.collect(ctx, n, alive); err != nil {
			errs = append(errs, fmt.Errorf("cannot collect garbage of network %q: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Source) collect(ctx context.Context, n *Network, alive func(pod.UUID) bool) error {
	reg := registry(s.Register)
	unlock, err := reg.lock(n.Name, flock.Exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	valid, err := reg.valid(n.Name)
	if err != nil {
		return err
	}
	_, err = s.GC(ctx, n, valid)
	orphans, oerr := n.orphans(valid, alive)
	err = errors.Join(err, oerr)
	for _, l := range orphans {
		err = errors.Join(err, s.giveBack(ctx, n, l))
	}
	return err
}

// Orphans are the leases that belong to nobody.
func (s *Source) Orphans(n *Network, alive func(pod.UUID) bool) ([]Lease, error) {
	members, err := registry(s.Register).members(n.Name)
	if err != nil {
		return nil, err
	}
	var valid []ValidAttachment
	for _, m := range members {
		if m.record() != "" {
			valid = append(valid, ValidAttachment{m.UUID, m.IfName})
		}
	}
	return n.orphans(valid, alive)
}

// orphans are the leases of pods that are neither attached nor alive.
func (n *Network) orphans(valid []ValidAttachment, alive func(pod.UUID) bool) ([]Lease, error) {
	if n.Foreign || n.DisableGC {
		return nil, nil
	}
	leases, err := n.Leases()
	if err != nil {
		return nil, err
	}
	attached := map[string]bool{}
	for _, v := range valid {
		attached[v.ContainerID] = true
	}
	var list []Lease
	for _, l := range leases {
		uuid, err := pod.ParseUUID(l.ContainerID)
		if err == nil && !attached[l.ContainerID] && !alive(uuid) {
			list = append(list, l)
		}
	}
	return list, nil
}

// giveBack runs DEL for what has left nothing but a lease.
func (s *Source) giveBack(ctx context.Context, n *Network, l Lease) error {
	version, err := s.negotiate(ctx, n)
	if err != nil {
		return err
	}
	rec := &Record{Network: n, Version: version, ContainerID: l.ContainerID, IfName: l.IfName, Path: s.Path}
	if rec.IfName == "" {
		rec.IfName = "eth0" // host-local did not write it when it did not look at it
	}
	return s.Del(ctx, rec, "")
}
