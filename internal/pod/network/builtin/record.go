// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/plainjson"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/pod/network/rules"
)

// record is what was chosen for a network, in its file network.json. It holds
// while a pod has an address of the network; when none has, and in another
// network namespace or after a boot, it is looked at anew.
type record struct {
	subnet4, subnet6 netip.Prefix // subnet6 is not valid where the host has no IPv6
	mtu              int          // 0: the kernel's choice
	where            string       // the boot and the network namespace it was chosen in
	renumbered       bool         // it replaces another; not stored
}

func (r record) gateway4() netip.Addr { return r.subnet4.Masked().Addr().Next() }
func (r record) gateway6() netip.Addr { return r.subnet6.Masked().Addr().Next() }

func (d *driver) file() string { return filepath.Join(Dir(d.in.DataDir), d.name, "network.json") }

// errNone: nothing was chosen yet, or it cannot be read.
var errNone = errors.New("the network has no subnet yet")

func (d *driver) load() (record, error) {
	b, err := os.ReadFile(d.file())
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, errNone
	}
	if err != nil {
		return record{}, fmt.Errorf("cannot read the network's subnet: %w", err)
	}
	return parseRecord(b)
}

func parseRecord(b []byte) (r record, err error) {
	rd := plainjson.NewReader(b)
	var four, six string
	for name := range rd.Object() {
		switch name {
		case "subnet4":
			four = rd.String()
		case "subnet6":
			six = rd.String()
		case "mtu":
			r.mtu = rd.Int()
		case "where":
			r.where = rd.String()
		}
	}
	if rd.End() != nil {
		return r, errNone
	}
	r.subnet4, err = netip.ParsePrefix(four)
	if err != nil || !r.subnet4.Addr().Is4() || r.subnet4.Bits() > 30 || r.mtu < 0 || r.mtu > 65535 {
		return record{}, errNone
	}
	if six != "" {
		r.subnet6, err = netip.ParsePrefix(six)
		if err != nil || !r.subnet6.Addr().Is6() || r.subnet6.Addr().Is4In6() || r.subnet6.Bits() != 64 {
			return record{}, errNone
		}
	}
	return r, nil
}

func (r record) encode() []byte {
	w := plainjson.NewWriter(256)
	w.Begin('{')
	w.Key("subnet4").String(r.subnet4.String())
	if r.subnet6.IsValid() {
		w.Key("subnet6").String(r.subnet6.String())
	}
	w.Key("mtu").Int(int64(r.mtu))
	w.Key("where").String(r.where)
	w.End('}')
	b, _ := w.Bytes()
	return append(b, '\n')
}

// ready gives the network's record, chosen or looked at anew if need be; changed
// tells whether it is another than before.
func (d *driver) ready(l *lease.Lock, kind lease.Kind, nl *netlink.Conn, alive func(pod.UUID) bool, r *record) (changed bool, err error) {
	here, err := place()
	if err != nil {
		return false, err
	}
	old, err := d.load()
	if err != nil && !errors.Is(err, errNone) {
		return false, err
	}
	known := err == nil
	empty, err := kind.Empty()
	if err != nil {
		return false, err
	}
	if known && old.where == here && !empty {
		*r = old
		return false, nil
	}
	if !empty {
		held, err := kind.Held()
		if err != nil {
			return false, err
		}
		for _, h := range held {
			if alive(h.UUID) { // in another network namespace
				if !known {
					return false, fmt.Errorf("pod %s holds an address, and %s, which says of which subnet, cannot be read", h.UUID, d.file())
				}
				*r = old
				r.where = here
				return true, d.store(*r)
			}
		}
	}
	var before *record
	if known {
		before = &old
	}
	if *r, err = d.choose(nl, before); err != nil {
		return false, err
	}
	r.where = here
	if known && old == *r {
		return false, nil
	}
	r.renumbered = known && (old.subnet4 != r.subnet4 || old.subnet6 != r.subnet6)
	return true, d.store(*r)
}

func (d *driver) store(r record) error {
	if err := atomicfile.WriteFast(d.file(), r.encode(), 0o644); err != nil {
		return fmt.Errorf("cannot note the network's subnet: %w", err)
	}
	return nil
}

// place names the running kernel and the network namespace.
func place() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell one boot from another: %w", err)
	}
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", fmt.Errorf("cannot tell the network namespace: %w", err)
	}
	return strings.TrimSpace(string(boot)) + " " + ns, nil
}

// choose finds subnets that nothing else on the host is routed to, those of
// before if possible.
func (d *driver) choose(nl *netlink.Conn, before *record) (r record, err error) {
	links, err := nl.Links()
	if err != nil {
		return r, fmt.Errorf("cannot list the host's interfaces: %w", err)
	}
	ours, mtus := map[int]bool{}, map[int]int{}
	for _, l := range links {
		// What is left of pods that ended goes in the kernel's own time.
		ours[l.Index] = strings.HasPrefix(l.Name, rules.InterfacePrefix) && l.Group == rules.Group(d.in.DataDir)
		mtus[l.Index] = l.MTU
	}
	four, err := nl.Routes(false)
	if err != nil {
		return r, err
	}
	for _, route := range four {
		if m := mtus[route.Index]; route.Destination.Bits() == 0 && route.Type == unix.RTN_UNICAST && m >= 1280 && m < 1500 {
			r.mtu = m
		}
	}
	taken := d.othersSubnets()
	if before != nil && free(before.subnet4, four, ours, taken) {
		r.subnet4 = before.subnet4
	} else {
		for p := range d.subnets {
			if free(p, four, ours, taken) {
				r.subnet4 = p
				break
			}
		}
	}
	if !r.subnet4.IsValid() {
		return r, errors.New("every subnet that it could have is in use on this host")
	}
	if !hasIPv6() {
		return r, nil
	}
	six, err := nl.Routes(true)
	if err != nil {
		return r, err
	}
	if before != nil && before.subnet6.IsValid() && free(before.subnet6, six, ours, taken) {
		r.subnet6 = before.subnet6
		return r, nil
	}
	// A unique local address (RFC 4193): 40 random bits.
	var a [16]byte
	a[0] = 0xfd
	if _, err := rand.Read(a[1:6]); err != nil {
		return r, err
	}
	r.subnet6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	return r, nil
}

// othersSubnets are those of this data directory's other networks.
func (d *driver) othersSubnets() (list []netip.Prefix) {
	for _, def := range definitions() {
		if def.name == d.name {
			continue
		}
		if r, err := (&driver{def, d.in}).load(); err == nil {
			list = append(list, r.subnet4)
			if r.subnet6.IsValid() {
				list = append(list, r.subnet6)
			}
		}
	}
	return list
}

// free reports whether no route but rkt's own leads into p. Routes to (nearly)
// everything, and those that lead nowhere, do not count.
func free(p netip.Prefix, routes []netlink.Route, ours map[int]bool, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Overlaps(p) {
			return false
		}
	}
	for _, r := range routes {
		switch r.Type {
		case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST:
		default:
			continue
		}
		if r.Destination.Bits() >= 7 && !ours[r.Index] && r.Destination.Overlaps(p) {
			return false
		}
	}
	return true
}
