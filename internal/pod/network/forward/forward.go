// SPDX-License-Identifier: Apache-2.0

// Package forward leads ports of the host into pods: it finds out whether they
// are free, notes who has them, and tells the rules.
package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/conntrack"
	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/linux/nft"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/pod/network/rules"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// MaxPorts bounds how many ports of the host a pod may have.
const MaxPorts = 8192

// claim is a row of ports that one pod has: the content of one lease, whose name
// is the first half and whose note the second.
type claim struct {
	protocol    string
	ip          netip.Addr // the zero Addr: all of the host's, of both versions
	first, many int

	pod4, pod6 netip.Addr // either may be the zero Addr
	podPort    int
}

func (c claim) name() string {
	ip := "any"
	if c.ip.IsValid() {
		ip = c.ip.String()
	}
	return c.protocol + "-" + strconv.Itoa(c.first) + "-" + strconv.Itoa(c.many) + "-" + ip
}

func (c claim) note() string {
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return "-"
		}
		return a.String()
	}
	return text(c.pod4) + " " + text(c.pod6) + " " + strconv.Itoa(c.podPort)
}

// protocols by name.
func protocolNumber(name string) uint8 {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP
	case "udp":
		return unix.IPPROTO_UDP
	case "sctp":
		return unix.IPPROTO_SCTP
	}
	return 0
}

// parseClaim reads name and note.
func parseClaim(name, note string) (c claim, ok bool) {
	n, t := strings.SplitN(name, "-", 4), strings.Split(note, " ")
	if len(n) != 4 || len(t) != 3 || protocolNumber(n[0]) == 0 {
		return c, false
	}
	c.protocol = n[0]
	var errs [6]error
	c.first, errs[0] = strconv.Atoi(n[1])
	c.many, errs[1] = strconv.Atoi(n[2])
	c.podPort, errs[2] = strconv.Atoi(t[2])
	address := func(s, none string) (a netip.Addr, err error) {
		if s == none {
			return a, nil
		}
		return netip.ParseAddr(s)
	}
	c.ip, errs[3] = address(n[3], "any")
	c.pod4, errs[4] = address(t[0], "-")
	c.pod6, errs[5] = address(t[1], "-")
	in := func(port int) bool { return port >= 1 && c.many >= 1 && c.many <= MaxPorts && port+c.many-1 <= 65535 }
	return c, errors.Join(errs[:]...) == nil && in(c.first) && in(c.podPort) && c.ip.Zone() == "" &&
		(!c.pod4.IsValid() || c.pod4.Is4()) && (!c.pod6.IsValid() || c.pod6.Is6() && c.pod6.Zone() == "")
}

// addresses are those that the claim's ports are of; unspecified ones are all of
// their version.
func (c claim) addresses() []netip.Addr {
	if c.ip.IsValid() {
		return []netip.Addr{c.ip}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// conflicts reports whether no two pods may have both.
func (c claim) conflicts(o claim) bool {
	if c.protocol != o.protocol || c.first+c.many <= o.first || o.first+o.many <= c.first {
		return false
	}
	for _, a := range c.addresses() {
		for _, b := range o.addresses() {
			if a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified() || a == b) {
				return true
			}
		}
	}
	return false
}

// forwards are the rules' words for the claim.
func (c claim) forwards(holder pod.UUID) (list []rules.Forward) {
	for _, ip := range c.addresses() {
		to := c.pod4
		if ip.Is6() {
			to = c.pod6
		}
		if !to.IsValid() {
			continue
		}
		for i := range c.many {
			list = append(list, rules.Forward{Protocol: protocolNumber(c.protocol), HostIP: ip, HostPort: uint16(c.first + i),
				PodIP: to, PodPort: uint16(c.podPort + i), Holder: string(holder)})
		}
	}
	return list
}

func kind(l *lease.Lock) (lease.Kind, error) { return l.Kind("ports") }

// reached marks those that lead into rkt's own networks: there the host's
// loopback reaches pods with IPv6, too.
func reached(list []rules.Forward, own []rules.Network) []rules.Forward {
	for i := range list {
		for _, n := range own {
			for _, p := range n.Subnets {
				list[i].Loopback6 = list[i].Loopback6 || p.Contains(list[i].PodIP)
			}
		}
	}
	return list
}

// Claimed are all ports that pods have; own are rkt's networks.
func Claimed(l *lease.Lock, own []rules.Network) (list []rules.Forward, err error) {
	k, err := kind(l)
	if err != nil {
		return nil, err
	}
	held, err := k.Held()
	if err != nil {
		return nil, err
	}
	for name, h := range held {
		if c, ok := parseClaim(name, h.Note); ok {
			list = append(list, c.forwards(h.UUID)...)
		}
	}
	return reached(list, own), nil
}

// Request is what a pod wants.
type Request struct {
	UUID     pod.UUID
	Ports    []contract.Port
	Attached contract.Attached // the network that they lead through
	Alive    func(pod.UUID) bool
	// Networks are those of rkt's own, for the rules.
	Networks func() []rules.Network
}

// Add takes the ports and forwards them. On error it has taken none.
func Add(l *lease.Lock, t nft.Table, r Request) error {
	claims, err := r.claims()
	if err != nil {
		return err
	}
	k, err := kind(l)
	if err != nil {
		return err
	}
	held, err := k.Held()
	if err != nil {
		return err
	}
	c, err := nft.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := r.yield(k, c, t, held, claims); err != nil {
		return err
	}
	var list []rules.Forward
	for _, cl := range claims {
		list = append(list, cl.forwards(r.UUID)...)
	}
	list = reached(list, r.Networks())
	if len(list) > 2*MaxPorts {
		return fmt.Errorf("a pod has at most %d ports of the host", MaxPorts)
	}
	if holder, f, err := rules.Foreign(c, t, list); err != nil {
		return err
	} else if holder != "" {
		return fmt.Errorf("port %d of the host is held by pod %s of another data directory", f.HostPort, holder)
	}
	for _, cl := range claims {
		if err := cl.free(); err != nil {
			return err
		}
	}
	for i, cl := range claims {
		if _, err := k.Take(cl.name(), lease.Holder{UUID: r.UUID, Note: cl.note()}, nil); err != nil {
			return errors.Join(err, giveBack(k, r.UUID, claims[:i]))
		}
	}
	failpoint.Hit("forward/claimed")
	if err := r.force(l, c, t, list); err != nil {
		return errors.Join(err, giveBack(k, r.UUID, claims))
	}
	failpoint.Hit("forward/done")
	return nil
}

// claims are the request's ports, checked against each other.
func (r Request) claims() (claims []claim, err error) {
	total := 0
	for _, p := range r.Ports {
		cl := claim{protocol: p.Protocol, first: p.HostPort, many: max(p.Count, 1), podPort: p.PodPort}
		if protocolNumber(p.Protocol) == 0 {
			return nil, fmt.Errorf("port %q: protocol %q cannot be forwarded", p.Name, p.Protocol)
		}
		if total += cl.many; total > MaxPorts {
			return nil, fmt.Errorf("port %q: a pod has at most %d ports of the host", p.Name, MaxPorts)
		}
		if p.HostIP != "" {
			if cl.ip, err = netip.ParseAddr(p.HostIP); err != nil {
				return nil, fmt.Errorf("port %q: %q is not an IP address", p.Name, p.HostIP)
			}
			cl.ip = cl.ip.Unmap()
		}
		if r.Attached.IP != "" {
			cl.pod4, _ = netip.ParseAddr(r.Attached.IP)
		}
		if r.Attached.IP6 != "" {
			cl.pod6, _ = netip.ParseAddr(r.Attached.IP6)
		}
		if len(cl.forwards(r.UUID)) == 0 {
			return nil, fmt.Errorf("port %q: the pod has no address on network %q that %s could lead to", p.Name, r.Attached.NetName, cl.addresses()[0])
		}
		for i, o := range claims {
			if cl.conflicts(o) {
				return nil, fmt.Errorf("ports %q and %q want the same port %d of the host", r.Ports[i].Name, p.Name, max(cl.first, o.first))
			}
		}
		claims = append(claims, cl)
	}
	return claims, nil
}

// yield refuses what running pods have, and takes from dead ones what they held.
func (r Request) yield(k lease.Kind, c *nft.Conn, t nft.Table, held map[string]lease.Holder, claims []claim) error {
	for name, h := range held {
		old, ok := parseClaim(name, h.Note)
		if !ok {
			continue
		}
		for i, cl := range claims {
			if !cl.conflicts(old) {
				continue
			}
			if r.Alive(h.UUID) {
				return fmt.Errorf("port %q: port %d of the host is held by pod %s", r.Ports[i].Name, max(cl.first, old.first), h.UUID)
			}
			if err := remove(k, c, t, h.UUID, []claim{old}); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// force tells the rules, and lets the host's own connections over loopback reach
// the pod.
func (r Request) force(l *lease.Lock, c *nft.Conn, t nft.Table, list []rules.Forward) error {
	made, err := rules.Ensure(c, t, func() ([]rules.Network, []rules.Forward, error) {
		own := r.Networks()
		all, err := Claimed(l, own)
		return own, all, err
	})
	if err != nil {
		return err
	}
	if !made {
		if err := rules.AddForwards(c, t, list); err != nil {
			return err
		}
	}
	if err := forgetFlows(list); err != nil {
		return err
	}
	// Only on interfaces where the rules keep pods from using it.
	if name := r.Attached.HostIfName; strings.HasPrefix(name, rules.InterfacePrefix) {
		nl, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		link, err := nl.Link(name)
		if err == nil {
			var m []*netlink.Message
			if r.Attached.IP != "" {
				m = append(m, netlink.Settings(link.Index, map[uint16]uint32{netlink.RouteLocalnet: 1}))
			}
			if r.Attached.IP6 != "" {
				m = append(m, netlink.Loopback6(link.Index))
			}
			err = nl.Do(m...)
		}
		if err != nil {
			return fmt.Errorf("cannot let loopback reach the pod: %w", err)
		}
	}
	return nil
}

// forgetFlows: who has been sending to a UDP port without a pause would go on to
// reach whoever had it before.
func forgetFlows(list []rules.Forward) error {
	ports := map[uint16]bool{}
	for _, f := range list {
		if f.Protocol == unix.IPPROTO_UDP {
			ports[f.HostPort] = true
		}
	}
	if len(ports) == 0 {
		return nil
	}
	return conntrack.Forget(unix.IPPROTO_UDP, func(port uint16) bool { return ports[port] })
}

func remove(k lease.Kind, c *nft.Conn, t nft.Table, uuid pod.UUID, claims []claim) error {
	var list []rules.Forward
	for _, cl := range claims {
		list = append(list, cl.forwards(uuid)...)
	}
	for i := range list {
		list[i].Loopback6 = true // wherever the pod was; what is not there is fine
	}
	if err := rules.DeleteForwards(c, t, list); err != nil {
		return fmt.Errorf("cannot stop forwarding ports of pod %s: %w", uuid, err)
	}
	failpoint.Hit("forward/removed")
	return giveBack(k, uuid, claims)
}

func giveBack(k lease.Kind, uuid pod.UUID, claims []claim) error {
	var errs []error
	for _, cl := range claims {
		errs = append(errs, k.GiveBack(cl.name(), uuid))
	}
	return errors.Join(errs...)
}

// Del gives back all ports of a pod. done is called when others may have them;
// after that it takes a while until the kernel lets go.
func Del(l *lease.Lock, t nft.Table, uuid pod.UUID) (c *nft.Conn, err error) {
	_, c, err = drop(l, nil, t, func(id pod.UUID) bool { return id != uuid })
	return c, err
}

// Collect gives back the ports of pods that do not run, and tells how many rows
// of ports are left.
func Collect(l *lease.Lock, c *nft.Conn, t nft.Table, alive func(pod.UUID) bool) (left int, err error) {
	left, _, err = drop(l, c, t, alive)
	return left, err
}

func drop(l *lease.Lock, c *nft.Conn, t nft.Table, keep func(pod.UUID) bool) (left int, _ *nft.Conn, err error) {
	k, err := kind(l)
	if err != nil {
		return 0, c, err
	}
	held, err := k.Held()
	if err != nil {
		return 0, c, err
	}
	gone := map[pod.UUID][]claim{}
	for name, h := range held {
		cl, ok := parseClaim(name, h.Note)
		switch {
		case keep(h.UUID):
			left++
		case ok:
			gone[h.UUID] = append(gone[h.UUID], cl)
		default:
			if err := k.GiveBack(name, h.UUID); err != nil {
				return left, c, err
			}
		}
	}
	for uuid, claims := range gone {
		if c == nil {
			if c, err = nft.Dial(); err != nil {
				return left, nil, err
			}
		}
		if err := remove(k, c, t, uuid, claims); err != nil {
			return left, c, err
		}
	}
	return left, c, nil
}
