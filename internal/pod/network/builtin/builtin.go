// SPDX-License-Identifier: Apache-2.0

// Package builtin has the networks that are there without any configuration:
// "default" and "default-restricted".
//
// A pod has one end of a veth pair, the host the other, and both know one way to
// each other: the pod's address on the host, the gateway's in the pod. All that
// pods say to anybody goes through the host's routing and rules; they share no
// wire on which one could answer for another. So nothing of a pod that ended,
// whose interface the kernel takes down in its own time, can be in the way of
// the next that has the address.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/linux/nft"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/forward"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/pod/network/rules"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// DriverName is contract.Attached's Driver of these networks.
const DriverName = "builtin"

// definition is what makes one network differ from another.
type definition struct {
	name       string
	masquerade bool
	route      bool // a default route in the pod
	closed     bool
	first      string   // the subnet it has if nobody else has it
	within     []string // where another of that size is looked for
}

// definitions are rkt's two networks. The first subnets are those they always
// had, though that of "default" was a /24, too small for a thousand pods.
func definitions() []definition {
	return []definition{
		{name: "default", masquerade: true, route: true, first: "172.16.28.0/22", within: []string{"172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16"}},
		{name: "default-restricted", closed: true, first: "172.31.0.0/16", within: []string{"172.16.0.0/12", "10.0.0.0/8"}},
	}
}

// subnets calls yield with those that the network may have, best first.
func (d *definition) subnets(yield func(netip.Prefix) bool) {
	first := netip.MustParsePrefix(d.first)
	if !yield(first) {
		return
	}
	for _, w := range d.within {
		all := netip.MustParsePrefix(w)
		for a := all.Addr(); all.Contains(a); a = offset(a, 1<<(32-first.Bits())) {
			if p := netip.PrefixFrom(a, first.Bits()); p != first && !yield(p) {
				return
			}
		}
	}
}

// Networks is the Source of the built-in networks of a data directory.
type Networks struct {
	DataDir string
	// Warn is told what the user should know though it works.
	Warn func(format string, args ...any)
}

// Dir is where a data directory's leases, subnets and ports are noted.
func Dir(dataDir string) string { return filepath.Join(dataDir, "networks") }

// Find implements network.Source.
func (n *Networks) Find(name string) (network.Driver, error) {
	for _, d := range definitions() {
		if d.name == name {
			return &driver{d, n}, nil
		}
	}
	return nil, network.ErrUnknown
}

// Former implements network.Source.
func (n *Networks) Former(a contract.Attached) (network.Driver, error) {
	if a.Driver != DriverName {
		return nil, network.ErrUnknown
	}
	return n.Find(a.NetName)
}

// Names implements network.Source.
func (n *Networks) Names() (names []string, err error) {
	for _, d := range definitions() {
		names = append(names, d.name)
	}
	return names, nil
}

type driver struct {
	definition
	in *Networks
}

func (d *driver) Traits() network.Traits {
	return network.Traits{Name: DriverName, DefaultRoute: d.route, Masquerade: d.masquerade}
}

// plan is all that is decided before the kernel is asked for anything.
type plan struct {
	record   record
	ip4, ip6 netip.Addr // ip6 may be the zero Addr
}

// Add implements network.Driver.
func (d *driver) Add(_ context.Context, a *network.Attachment) (contract.Attached, error) {
	want, err := parseArgs(a.Network.Args)
	if err != nil {
		return contract.Attached{}, err
	}
	if want.names && a.OwnDNS {
		return contract.Attached{}, errors.New("argument names: it does not go with --dns")
	}
	nl, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return contract.Attached{}, err
	}
	defer nl.Close()
	p, err := d.reserve(a, want, nl)
	if err != nil {
		return contract.Attached{}, err
	}
	failpoint.Hit("network/reserved")
	attached, err := d.connect(a, p, nl)
	if err != nil {
		return contract.Attached{}, errors.Join(err, d.release(a.UUID, p.ip4.String(), addrString(p.ip6)))
	}
	failpoint.Hit("network/connected")
	if want.names {
		if err := d.serveNames(a, &attached); err != nil {
			return contract.Attached{}, errors.Join(err, d.release(a.UUID, attached.IP, attached.IP6))
		}
	}
	return attached, nil
}

// wish are a user's arguments; the zero Addr leaves the choice to us.
type wish struct {
	ip4, ip6 netip.Addr
	names    bool // the pod finds its neighbours by name
}

func parseArgs(args []string) (w wish, err error) {
	for _, s := range args {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return w, fmt.Errorf("argument %q is not NAME=VALUE", s)
		}
		a, err := netip.ParseAddr(value)
		switch strings.ToUpper(name) {
		case "IP":
			if err != nil || !a.Is4() {
				return w, fmt.Errorf("argument IP: %q is not an IPv4 address", value)
			}
			w.ip4 = a
		case "IP6":
			if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
				return w, fmt.Errorf("argument IP6: %q is not an IPv6 address", value)
			}
			w.ip6 = a
		case "NAMES":
			if value != "on" && value != "off" {
				return w, fmt.Errorf("argument names: %q is neither on nor off", value)
			}
			w.names = value == "on"
		default:
			return w, fmt.Errorf("argument %q is not known: there are IP, IP6 and names", name)
		}
	}
	return w, nil
}

// reserve takes the addresses, with the network and the rules in place.
func (d *driver) reserve(a *network.Attachment, want wish, nl *netlink.Conn) (p plan, err error) {
	l, err := lease.Open(Dir(d.in.DataDir))
	if err != nil {
		return p, err
	}
	defer l.Close()
	kind, err := d.leases(l)
	if err != nil {
		return p, err
	}
	alive := network.Alive(d.in.DataDir)
	changed, err := d.ready(l, kind, nl, alive, &p.record)
	if err != nil {
		return p, err
	}
	if err := d.inForce(l, p.record, changed); err != nil {
		return p, err
	}
	pool := pool{kind, lease.Holder{UUID: a.UUID, Note: a.Network.IfName}, alive}
	p.ip4, p.ip6, err = pool.take(p.record, want)
	return p, err
}

func (d *driver) leases(l *lease.Lock) (lease.Kind, error) { return l.Kind(d.name, "leases") }

// inForce sees to it that the rules know the network.
func (d *driver) inForce(l *lease.Lock, r record, changed bool) error {
	c, err := nft.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	t := rules.Table(d.in.DataDir)
	if changed && r.renumbered {
		if err := rules.Remove(c, t); err != nil {
			return err
		}
	}
	made, err := rules.Ensure(c, t, func() ([]rules.Network, []rules.Forward, error) {
		own := d.in.Rules()
		forwards, err := forward.Claimed(l, own)
		return own, forwards, err
	})
	if err != nil || made {
		if err == nil {
			d.in.warnOfOthers(c)
		}
		return err
	}
	if changed {
		return rules.AddNetwork(c, t, d.rules(r))
	}
	return nil
}

func (d *driver) rules(r record) rules.Network {
	n := rules.Network{Subnets: []netip.Prefix{r.subnet4}, Masquerade: d.masquerade, Closed: d.closed}
	if r.subnet6.IsValid() {
		n.Subnets = append(n.Subnets, r.subnet6)
	}
	return n
}

// Rules are the networks that have a subnet, as the rules see them.
func (n *Networks) Rules() (list []rules.Network) {
	for _, def := range definitions() {
		d := driver{def, n}
		if r, err := d.load(); err == nil {
			list = append(list, d.rules(r))
		}
	}
	return list
}

// connect makes the interfaces and routes.
func (d *driver) connect(a *network.Attachment, p plan, nl *netlink.Conn) (contract.Attached, error) {
	attached := contract.Attached{NetName: d.name, IfName: a.Network.IfName, Driver: DriverName, Args: strings.Join(a.Network.Args, ";"),
		IP: p.ip4.String(), Mask: mask(p.record.subnet4), Gateway: p.record.gateway4().String()}
	if p.ip6.IsValid() {
		attached.IP6, attached.Prefix6, attached.Gateway6 = p.ip6.String(), p.record.subnet6.Bits(), p.record.gateway6().String()
	}
	if err := d.in.forwarding(p.ip6.IsValid()); err != nil {
		return attached, err
	}
	var err error
	if attached.HostIfName, err = d.makeVeth(a, p, nl); err != nil {
		return attached, err
	}
	failpoint.Hit("network/veth")
	host, err := nl.Link(attached.HostIfName)
	if err != nil {
		return attached, err
	}
	messages := []*netlink.Message{
		netlink.Settings(host.Index, map[uint16]uint32{netlink.SendRedirects: 0}),
		netlink.Address(host.Index, netip.PrefixFrom(p.record.gateway4(), 32)),
		netlink.Route{Destination: netip.PrefixFrom(p.ip4, 32), Index: host.Index}.Message(),
	}
	if p.ip6.IsValid() {
		messages = append(messages, netlink.Address(host.Index, netip.PrefixFrom(p.record.gateway6(), 128)),
			netlink.Route{Destination: netip.PrefixFrom(p.ip6, 128), Index: host.Index}.Message())
	}
	if a.Bandwidth > 0 { // to the pod
		messages = append(messages, netlink.Bandwidth(host.Index, uint64(a.Bandwidth)))
	}
	if err := nl.Do(messages...); err != nil {
		return attached, fmt.Errorf("cannot set up interface %s: %w", attached.HostIfName, err)
	}
	inside, err := netlink.DialIn(a.NetNS, unix.NETLINK_ROUTE)
	if err != nil {
		return attached, err
	}
	defer inside.Close()
	eth, err := inside.Link(a.Network.IfName)
	if err != nil {
		return attached, err
	}
	attached.MAC = net.HardwareAddr(eth.MAC[:]).String()
	if err := inside.Do(d.inside(a, p, eth.Index)...); err != nil {
		return attached, fmt.Errorf("cannot set up the pod's interface %s: %w", a.Network.IfName, err)
	}
	return attached, nil
}

// inside are the pod's addresses and routes, and a limit of what it sends. That is
// in reach of an app with CAP_NET_ADMIN, so none has it then (package prepare);
// on the host's end of the wire there would be no queue, only loss.
func (d *driver) inside(a *network.Attachment, p plan, index int) []*netlink.Message {
	one := func(ip netip.Addr, subnet netip.Prefix, gateway netip.Addr, all netip.Prefix) []*netlink.Message {
		m := []*netlink.Message{
			netlink.Address(index, netip.PrefixFrom(ip, subnet.Bits())),
			netlink.Route{Destination: netip.PrefixFrom(gateway, gateway.BitLen()), Index: index, Source: ip}.Message(),
			netlink.Route{Destination: subnet.Masked(), Gateway: gateway, Index: index, Source: ip}.Message(),
		}
		if d.route && a.DefaultRoute {
			m = append(m, netlink.Route{Destination: all, Gateway: gateway, Index: index, Source: ip}.Message())
		}
		return m
	}
	m := []*netlink.Message{netlink.Up(index)}
	if a.Bandwidth > 0 {
		m = append(m, netlink.Bandwidth(index, uint64(a.Bandwidth)))
	}
	m = append(m, one(p.ip4, p.record.subnet4, p.record.gateway4(), netip.PrefixFrom(netip.IPv4Unspecified(), 0))...)
	if p.ip6.IsValid() {
		m = append(m, one(p.ip6, p.record.subnet6, p.record.gateway6(), netip.PrefixFrom(netip.IPv6Unspecified(), 0))...)
	}
	return m
}

// makeVeth makes the pair. The host's end has the first digits of the pod's UUID
// in its name, or others if those are taken.
func (d *driver) makeVeth(a *network.Attachment, p plan, nl *netlink.Conn) (string, error) {
	digits := strings.ReplaceAll(string(a.UUID), "-", "")
	index := strings.TrimLeft(a.Network.IfName, "abcdefghijklmnopqrstuvwxyz")
	if len(index) > 2 {
		index = ""
	}
	const length = 8
	for from := 0; ; from += length {
		name := rules.InterfacePrefix + digits[from:from+length] + "." + index
		err := nl.AddVeth(netlink.Veth{Name: name, Peer: a.Network.IfName, NetNS: int(a.NetNS.Fd()), MTU: p.record.mtu, Group: rules.Group(d.in.DataDir)})
		if err == nil || !errors.Is(err, unix.EEXIST) || from+2*length > len(digits) {
			return name, err
		}
		// The name may also be taken in the pod.
		if _, lerr := nl.Link(name); lerr != nil {
			return name, err
		}
	}
}

// Del implements network.Driver. The interfaces went with the pod's network
// namespace.
func (d *driver) Del(_ context.Context, a *network.Attachment) error {
	if a.Attached.IP == "" && a.Attached.IP6 == "" {
		return d.releaseAll(a.UUID)
	}
	return d.release(a.UUID, a.Attached.IP, a.Attached.IP6)
}

func (d *driver) release(uuid pod.UUID, addresses ...string) error {
	l, err := lease.Open(Dir(d.in.DataDir))
	if err != nil {
		return err
	}
	defer l.Close()
	kind, err := d.leases(l)
	for _, ip := range addresses {
		if ip != "" && err == nil {
			err = kind.GiveBack(ip, uuid)
		}
	}
	return err
}

// releaseAll looks for what the pod may hold.
func (d *driver) releaseAll(uuid pod.UUID) error {
	l, err := lease.Open(Dir(d.in.DataDir))
	if err != nil {
		return err
	}
	defer l.Close()
	kind, err := d.leases(l)
	if err != nil {
		return err
	}
	_, err = kind.Drop(func(other pod.UUID) bool { return other != uuid })
	return err
}

// Collect implements network.Source. The rules go when nobody has an address or
// a port any more; the subnets stay as they are.
func (n *Networks) Collect(_ context.Context, alive func(pod.UUID) bool) error {
	if _, err := os.Stat(Dir(n.DataDir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	l, err := lease.Open(Dir(n.DataDir))
	if err != nil {
		return err
	}
	defer l.Close()
	idle := true
	for _, def := range definitions() {
		d := driver{def, n}
		kind, err := d.leases(l)
		if err != nil {
			return err
		}
		if _, err := kind.Drop(alive); err != nil {
			return err
		}
		empty, err := kind.Empty()
		if err != nil {
			return err
		}
		idle = idle && empty
	}
	c, err := nft.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	left, err := forward.Collect(l, c, rules.Table(n.DataDir), alive)
	if err != nil || !idle || left > 0 {
		return err
	}
	return rules.Remove(c, rules.Table(n.DataDir))
}

func mask(p netip.Prefix) string {
	return net.IP(net.CIDRMask(p.Bits(), 32)).String()
}

func addrString(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
