// SPDX-License-Identifier: Apache-2.0

// Package rules is rkt's one nftables table in a network namespace: what pods'
// packets may do on the host, and where the host's ports lead. The rules are the
// same for any number of networks and pods; what differs stands in sets and
// maps, so that a start adds an element at most, and deletes nothing.
//
// The table is a function of files in the data directory and may vanish at any
// time (`nft flush ruleset`): whoever starts a pod makes it again.
package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/nft"
)

// InterfacePrefix begins the names of the host's ends of pods' interfaces, by
// which the rules know them.
const InterfacePrefix = "rktv"

// DefaultDataDir is the one whose table is called "rkt"; others' names have
// something of their path in it.
const DefaultDataDir = "/var/lib/rkt"

// TablePrefix begins the names of the tables of all data directories.
const TablePrefix = "rkt"

// edition changes with the rules below: a table of another edition is replaced.
const edition = "rkt rules 2"

// Table is the table of a data directory.
func Table(dataDir string) nft.Table {
	if dataDir == DefaultDataDir {
		return TablePrefix
	}
	sum := sha256.Sum256([]byte(dataDir))
	return nft.Table(TablePrefix + "-" + hex.EncodeToString(sum[:4]))
}

// Group is the interface group (ip-link(8)) of the host's ends that belong to a
// data directory.
func Group(dataDir string) uint32 {
	sum := sha256.Sum256([]byte(dataDir))
	return binary.BigEndian.Uint32(sum[4:]) | 1<<31
}

// Network is one of rkt's own networks, as the rules see it.
type Network struct {
	Subnets    []netip.Prefix // of either version of IP
	Masquerade bool           // what leaves it bears the host's address
	Closed     bool           // nothing is forwarded in or out, but by forwarded ports
}

// Forward leads from a port of the host to a pod's.
type Forward struct {
	Protocol uint8      // unix.IPPROTO_TCP …
	HostIP   netip.Addr // unspecified: every address of that version
	HostPort uint16
	PodIP    netip.Addr // of HostIP's version
	PodPort  uint16
	Holder   string // the pod's UUID, for people
	// Loopback6: ::1 leads there, too, if it is one of HostIP's. The pod's interface
	// must be ready for that (netlink.Loopback6).
	Loopback6 bool
}

// The sets and maps.
const (
	setNets       = "networks" // subnets of all networks
	setMasquerade = "masquerade"
	setClosed     = "closed"
	setTargets    = "targets"   // pods' addresses that ports are forwarded to
	setLoopback6  = "loopback6" // protocol . port, of those that are reached over ::1
	mapAny        = "any"       // protocol . port: address . port
	mapOne        = "one"       // address . protocol . port: address . port
)

type version struct {
	suffix         string
	nfproto        byte
	address        nft.Type
	source, target uint32 // offsets in the header
	size           uint32
}

var versions = []version{
	{"4", unix.NFPROTO_IPV4, nft.IPv4, 12, 16, 4},
	{"6", unix.NFPROTO_IPV6, nft.IPv6, 8, 24, 16},
}

func versionOf(a netip.Addr) version {
	if a.Is4() {
		return versions[0]
	}
	return versions[1]
}

// Ensure makes the table if it is not there, or is of another edition, with all
// networks and forwards that list tells of. made tells whether it had to.
func Ensure(c *nft.Conn, t nft.Table, list func() ([]Network, []Forward, error)) (made bool, err error) {
	info, err := c.Find(t)
	switch {
	case err == nil && info.Comment == edition:
		return false, nil
	case err != nil && !errors.Is(err, unix.ENOENT):
		return false, fmt.Errorf("cannot look for nftables' table %s: %w", t, err)
	}
	networks, forwards, lerr := list()
	if lerr != nil {
		return false, lerr
	}
	b := nft.NewBatch(t)
	if err == nil {
		b.DeleteTable()
	}
	build(b)
	for _, n := range networks {
		addNetwork(b, n)
	}
	addForwards(b, forwards)
	if err := c.Commit(b); err != nil {
		return false, fmt.Errorf("cannot make nftables' table %s: %w", t, err)
	}
	return true, nil
}

// AddNetwork tells the rules of a network; one that they know is fine.
func AddNetwork(c *nft.Conn, t nft.Table, n Network) error {
	b := nft.NewBatch(t)
	addNetwork(b, n)
	if err := c.Commit(b); err != nil {
		return fmt.Errorf("cannot add a network to nftables' table %s: %w", t, err)
	}
	return nil
}

func addNetwork(b *nft.Batch, n Network) {
	for _, p := range n.Subnets {
		v := versionOf(p.Addr())
		sets := []string{setNets}
		if n.Masquerade {
			sets = append(sets, setMasquerade)
		}
		if n.Closed {
			sets = append(sets, setClosed)
		}
		elements := interval(p)
		for _, s := range sets {
			b.AddElements(s+v.suffix, elements...)
		}
	}
}

// interval is a prefix as elements of a set of intervals: its first address, and
// the first behind it.
func interval(p netip.Prefix) []nft.Element {
	p = p.Masked()
	first := p.Addr().AsSlice()
	end := append([]byte(nil), first...)
	for i := p.Bits(); i < len(end)*8; i++ {
		end[i/8] |= 0x80 >> (i % 8)
	}
	elements := []nft.Element{{Key: [][]byte{first}}}
	last, _ := netip.AddrFromSlice(end)
	if behind := last.Next(); behind.IsValid() {
		elements = append(elements, nft.Element{Key: [][]byte{behind.AsSlice()}, End: true})
	}
	return elements
}

// AddForwards adds ports, all or none. A port that leads elsewhere is
// unix.EEXIST or EBUSY.
func AddForwards(c *nft.Conn, t nft.Table, list []Forward) error {
	b := nft.NewBatch(t)
	addForwards(b, list)
	if err := c.Commit(b); err != nil {
		return fmt.Errorf("cannot forward ports in nftables' table %s: %w", t, err)
	}
	return nil
}

func addForwards(b *nft.Batch, list []Forward) {
	for _, s := range sorted(list, true) {
		b.AddElements(s.set, s.elements...)
	}
}

// DeleteForwards removes ports and pods' addresses, as far as they are there.
func DeleteForwards(c *nft.Conn, t nft.Table, list []Forward) error {
	b := nft.NewBatch(t)
	groups := sorted(list, false)
	for _, s := range groups {
		b.DeleteElements(s.set, s.elements...)
	}
	err := c.Commit(b)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// Something is missing: one at a time.
	for _, s := range groups {
		for _, e := range s.elements {
			b := nft.NewBatch(t)
			b.DeleteElements(s.set, e)
			if err := c.Commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	return nil
}

type elementsOf struct {
	set      string
	elements []nft.Element
}

// sorted are the elements of forwards, by set.
func sorted(list []Forward, data bool) (groups []elementsOf) {
	put := func(set string, e nft.Element) {
		for i := range groups {
			if groups[i].set == set {
				groups[i].elements = append(groups[i].elements, e)
				return
			}
		}
		groups = append(groups, elementsOf{set, []nft.Element{e}})
	}
	targets := map[netip.Addr]bool{}
	for _, f := range list {
		v := versionOf(f.PodIP)
		key := [][]byte{{f.Protocol}, binary.BigEndian.AppendUint16(nil, f.HostPort)}
		set := mapAny
		if !f.HostIP.IsUnspecified() {
			set, key = mapOne, append([][]byte{f.HostIP.AsSlice()}, key...)
		}
		e := nft.Element{Key: key}
		if data {
			e.Data = [][]byte{f.PodIP.AsSlice(), binary.BigEndian.AppendUint16(nil, f.PodPort)}
			e.Comment = f.Holder
		}
		put(set+v.suffix, e)
		if f.Loopback6 && f.PodIP.Is6() && (f.HostIP.IsUnspecified() || f.HostIP == netip.IPv6Loopback()) {
			put(setLoopback6, nft.Element{Key: [][]byte{{f.Protocol}, binary.BigEndian.AppendUint16(nil, f.HostPort)}})
		}
		if !targets[f.PodIP] {
			targets[f.PodIP] = true
			put(setTargets+v.suffix, nft.Element{Key: [][]byte{f.PodIP.AsSlice()}})
		}
	}
	return groups
}

// Remove removes the table; one that is not there is fine.
func Remove(c *nft.Conn, t nft.Table) error {
	b := nft.NewBatch(t)
	b.DeleteTable()
	if err := c.Commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove nftables' table %s: %w", t, err)
	}
	return nil
}

// Foreign finds, in the tables of other data directories, who holds a port that
// one of list needs. The zero string: nobody.
func Foreign(c *nft.Conn, own nft.Table, list []Forward) (holder string, which Forward, err error) {
	tables, err := c.Tables()
	if err != nil {
		return "", which, err
	}
	for _, info := range tables {
		t := nft.Table(info.Name)
		if info.Family != unix.NFPROTO_INET || info.Comment != edition || t == own {
			continue
		}
		for _, v := range versions {
			for _, set := range []string{mapAny, mapOne} {
				elements, err := c.Elements(t, set+v.suffix)
				if errors.Is(err, unix.ENOENT) {
					continue
				}
				if err != nil {
					return "", which, err
				}
				for _, e := range elements {
					if i := conflict(list, e, v, set == mapOne); i >= 0 {
						return e.Comment, list[i], nil
					}
				}
			}
		}
	}
	return "", which, nil
}

// conflict is the index of the forward that wants what the element has, or -1.
func conflict(list []Forward, e nft.Element, v version, one bool) int {
	if len(e.Key) != 1 {
		return -1
	}
	key, ip := e.Key[0], netip.Addr{}
	if one {
		if len(key) < int(v.size) {
			return -1
		}
		ip, _ = netip.AddrFromSlice(key[:v.size])
		key = key[v.size:]
	}
	if len(key) < 6 {
		return -1
	}
	for i, f := range list {
		if versionOf(f.PodIP).suffix == v.suffix && f.Protocol == key[0] && f.HostPort == binary.BigEndian.Uint16(key[4:]) &&
			(!one || f.HostIP.IsUnspecified() || f.HostIP == ip) {
			return i
		}
	}
	return -1
}
