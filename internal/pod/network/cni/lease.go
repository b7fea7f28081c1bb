// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
)

// hostLocalDir is where the plugin host-local keeps its leases, unless its
// configuration says dataDir.
const hostLocalDir = "/var/lib/cni/networks"

// A Lease is an address that the plugin host-local has given away.
type Lease struct {
	Address     netip.Addr
	ContainerID string
	IfName      string // "": not said; the plugin did not always write it
}

// ipam is what is known of the configurations of the usual address plugins.
type ipam struct {
	Type    string `json:"type"`
	DataDir string `json:"dataDir"`
	Subnet  string `json:"subnet"`
	Ranges  [][]struct {
		Subnet string `json:"subnet"`
	} `json:"ranges"`
	Addresses []struct {
		Address string `json:"address"`
	} `json:"addresses"`
}

func (p *Plugin) ipam() (i ipam, ok bool) {
	raw, ok := p.conf["ipam"]
	return i, ok && json.Unmarshal(raw, &i) == nil
}

// Subnets are those that the configuration names, as it spells them.
func (n *Network) Subnets() []string {
	var list []string
	for _, p := range n.Plugins {
		i, ok := p.ipam()
		if !ok {
			continue
		}
		if i.Subnet != "" {
			list = append(list, i.Subnet)
		}
		for _, set := range i.Ranges {
			for _, r := range set {
				list = append(list, r.Subnet)
			}
		}
		for _, a := range i.Addresses {
			list = append(list, a.Address)
		}
	}
	return list
}

// Leases are the network's addresses that host-local has given away, to
// whomever. Other address plugins keep theirs for themselves.
func (n *Network) Leases() ([]Lease, error) {
	var list []Lease
	seen := map[string]bool{}
	for _, p := range n.Plugins {
		i, ok := p.ipam()
		if !ok || i.Type != "host-local" {
			continue
		}
		dir := i.DataDir
		if dir == "" {
			dir = hostLocalDir
		}
		dir = filepath.Join(dir, n.Name)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		here, err := leasesIn(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot list the leases of network %q: %w", n.Name, err)
		}
		list = append(list, here...)
	}
	slices.SortFunc(list, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return list, nil
}

// leasesIn reads a directory of host-local's: a file for each address, named
// for it, with the container's ID and the interface in two lines.
func leasesIn(dir string) ([]Lease, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []Lease
	for _, name := range names {
		address, err := netip.ParseAddr(name)
		if err != nil {
			continue // its lock, and where it will go on
		}
		text, err := config.ReadRegular(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && text == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, ifName, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		l := Lease{address, strings.TrimSpace(id), strings.TrimSpace(ifName)}
		if !ValidName(l.ContainerID) || l.IfName != "" && !validInterface(l.IfName) {
			continue // nobody's that could be asked to give it back
		}
		list = append(list, l)
	}
	return list, nil
}
