// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Show implements network.Shower. With check it asks the networks' plugins for
// STATUS, and about each attachment of a running pod for CHECK.
func (s *Source) Show(ctx context.Context, pods map[pod.UUID]*lifecycle.Pod, check bool) ([]contract.ListedNetwork, []string, error) {
	all, err := s.Networks()
	if err != nil {
		return nil, nil, err
	}
	kept, err := keptOf(pods)
	if err != nil {
		return nil, nil, err
	}
	var list []contract.ListedNetwork
	for i, n := range slices.Concat(all.List, all.Hidden) {
		shown := contract.ListedNetwork{Name: n.Name, Driver: DriverName, Kind: n.Kind(), CNIVersions: n.Versions, File: n.File, Shared: n.Foreign,
			Hidden: i >= len(all.List), Subnets: append([]string{}, n.Subnets()...), Leases: []contract.ListedLease{}}
		for _, p := range n.Plugins {
			shown.Plugins = append(shown.Plugins, p.Type)
		}
		if check && !shown.Hidden {
			shown.Status = s.status(ctx, n)
		}
		if !shown.Hidden {
			if shown.Leases, err = s.leases(ctx, n, pods, kept, check); err != nil {
				return nil, nil, err
			}
		}
		list = append(list, shown)
	}
	var broken []string
	for _, err := range all.Broken {
		broken = append(broken, err.Error())
	}
	return list, broken, nil
}

func (s *Source) status(ctx context.Context, n *Network) string {
	for _, p := range n.Plugins {
		if _, err := s.find(p.Type); err != nil {
			return err.Error()
		}
	}
	asked, err := s.Status(ctx, n)
	return answer(asked, "ready", err)
}

// answer is how a listing says what came of a question.
func answer(asked bool, good string, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case asked:
		return good
	}
	return "unknown"
}

// held is an attachment that has a record in a pod of the data directory.
type held struct {
	pod *lifecycle.Pod
	rec *Record
}

// keptOf reads the records of pods.
func keptOf(pods map[pod.UUID]*lifecycle.Pod) ([]held, error) {
	var list []held
	for _, p := range pods {
		names, err := configFiles(filepath.Join(p.Dir(), recordDir), ".json")
		if err != nil {
			return nil, fmt.Errorf("cannot list the attachments of pod %s: %w", p.ID(), err)
		}
		for _, name := range names {
			rec, err := readRecord(filepath.Join(p.Dir(), recordDir, name))
			switch {
			case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			case err != nil:
				return nil, err
			default:
				list = append(list, held{p, rec})
			}
		}
	}
	return list, nil
}

// leases are the attachments to a network that are on record, and what
// host-local has given away beside them.
func (s *Source) leases(ctx context.Context, n *Network, pods map[pod.UUID]*lifecycle.Pod, kept []held, check bool) ([]contract.ListedLease, error) {
	list := []contract.ListedLease{}
	told := map[string]bool{}
	for _, k := range kept {
		if k.rec.Network.Name != n.Name {
			continue
		}
		some, err := s.attachment(ctx, k, pods, check)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
		told[k.rec.ContainerID] = true
	}
	leases, err := n.Leases()
	if err != nil {
		return nil, err
	}
	orphans, err := s.Orphans(n, func(id pod.UUID) bool { _, ok := pods[id]; return ok })
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if told[l.ContainerID] {
			continue
		}
		state := contract.LeaseOther
		if slices.Contains(orphans, l) {
			state = contract.LeaseNobody
		}
		list = append(list, contract.ListedLease{Address: l.Address.String(), Holder: l.ContainerID, IfName: l.IfName, State: state})
	}
	slices.SortFunc(list, func(a, b contract.ListedLease) int {
		return strings.Compare(a.Holder+a.IfName+a.Address, b.Holder+b.IfName+b.Address)
	})
	return list, nil
}

// attachment lists an attachment: a lease for each address, or one without.
func (s *Source) attachment(ctx context.Context, k held, pods map[pod.UUID]*lifecycle.Pod, check bool) ([]contract.ListedLease, error) {
	state, err := network.StateOf(pods, k.pod.ID())
	if err != nil {
		return nil, err
	}
	l := contract.ListedLease{Holder: k.rec.ContainerID, IfName: k.rec.IfName, State: state}
	if check && state == contract.LeaseUsed {
		l.Check = s.checkPod(ctx, k)
	}
	res, err := k.rec.Outcome()
	if err != nil || res == nil {
		return []contract.ListedLease{l}, err
	}
	_, ips := res.Of(k.rec.IfName)
	if len(ips) == 0 {
		return []contract.ListedLease{l}, nil
	}
	var list []contract.ListedLease
	for _, ip := range ips {
		l.Address = ip.Address.Addr().String()
		list = append(list, l)
	}
	return list, nil
}

// checkPod asks the plugins of a running pod's attachment.
func (s *Source) checkPod(ctx context.Context, k held) string {
	events, err := k.pod.Events()
	if err != nil {
		return err.Error()
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", events.Init))
	if err != nil {
		return err.Error()
	}
	defer ns.Close()
	a := &network.Attachment{UUID: k.pod.ID(), PodDir: k.pod.Dir(), NetNS: ns, Network: contract.Network{Name: k.rec.Network.Name, IfName: k.rec.IfName}}
	err = s.Check(ctx, a)
	if errors.Is(err, ErrNoCheck) {
		return "unknown"
	}
	return answer(true, "good", err)
}
