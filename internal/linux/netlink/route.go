// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes of if_link.h that x/sys does not have.
const (
	vethInfoPeer = 1 // VETH_INFO_PEER
)

// Veth is a pair of linked interfaces.
type Veth struct {
	Name, Peer string
	NetNS      int    // a descriptor of the network namespace where Peer is
	MTU        int    // 0 is the kernel's own choice
	Group      uint32 // of Name (ip-link(8), "group")
}

// AddVeth makes a pair of interfaces, of which Name is up. A name that is taken is
// unix.EEXIST.
func (c *Conn) AddVeth(v Veth) error {
	m := NewMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m.Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(0, unix.IFF_UP, unix.IFF_UP) // struct ifinfomsg
	attributes := func(name string) {
		m.Text(unix.IFLA_IFNAME, name)
		if v.MTU > 0 {
			m.U32(unix.IFLA_MTU, uint32(v.MTU))
		}
	}
	attributes(v.Name)
	m.U32(unix.IFLA_GROUP, v.Group)
	m.Nest(unix.IFLA_LINKINFO, func() {
		m.Text(unix.IFLA_INFO_KIND, "veth")
		m.Nest(unix.IFLA_INFO_DATA, func() {
			m.Nest(vethInfoPeer, func() {
				m.Bytes(make([]byte, unix.SizeofIfInfomsg)...)
				attributes(v.Peer)
				m.U32(unix.IFLA_NET_NS_FD, uint32(v.NetNS))
			})
		})
	})
	if err := c.Do(m); err != nil {
		return fmt.Errorf("cannot make the interfaces %s and %s: %w", v.Name, v.Peer, err)
	}
	return nil
}

// Up is a message that brings an interface up.
func Up(index int) *Message {
	return NewMessage(unix.RTM_NEWLINK, 0).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(index), unix.IFF_UP, unix.IFF_UP)
}

// Change is a message that gives an interface, which is down, a name and an MTU.
func Change(index int, name string, mtu int) *Message {
	m := NewMessage(unix.RTM_NEWLINK, 0).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(index), 0, 0)
	return m.Text(unix.IFLA_IFNAME, name).U32(unix.IFLA_MTU, uint32(mtu))
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	MTU   int
	Group uint32
	MAC   [6]byte // of an Ethernet interface
	Kind  string  // "veth", "bridge" …; "" for a device
	Lower int     // index of what it stands on: a veth's other end, a macvlan's parent, maybe of another namespace; 0: nothing
}

// Address is the interface's hardware address as ip(8) writes it.
func (l *Link) Address() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", l.MAC[0], l.MAC[1], l.MAC[2], l.MAC[3], l.MAC[4], l.MAC[5])
}

// Link finds an interface by name. One that does not exist is unix.ENODEV.
func (c *Conn) Link(name string) (l Link, err error) {
	m := NewMessage(unix.RTM_GETLINK, 0).Bytes(make([]byte, unix.SizeofIfInfomsg)...).Text(unix.IFLA_IFNAME, name)
	err = c.Ask(m, nil, func(r Reply) { l = parseLink(r.Data) })
	if err != nil {
		return l, fmt.Errorf("cannot find interface %s: %w", name, err)
	}
	return l, nil
}

// LinkAt finds an interface by index. One that does not exist is unix.ENODEV.
func (c *Conn) LinkAt(index int) (l Link, err error) {
	m := NewMessage(unix.RTM_GETLINK, 0).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(index), 0, 0)
	err = c.Ask(m, nil, func(r Reply) { l = parseLink(r.Data) })
	if err != nil {
		return l, fmt.Errorf("cannot find interface %d: %w", index, err)
	}
	return l, nil
}

// Links are all interfaces.
func (c *Conn) Links() (list []Link, err error) {
	m := NewMessage(unix.RTM_GETLINK, unix.NLM_F_DUMP).Bytes(make([]byte, unix.SizeofIfInfomsg)...)
	err = c.Ask(m, func() { list = nil }, func(r Reply) { list = append(list, parseLink(r.Data)) })
	return list, err
}

func parseLink(b []byte) (l Link) {
	if len(b) < unix.SizeofIfInfomsg {
		return l
	}
	l.Index = int(Uint32(b[4:]))
	Attributes(b[unix.SizeofIfInfomsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = String(value)
		case unix.IFLA_MTU:
			l.MTU = int(Uint32(value))
		case unix.IFLA_GROUP:
			l.Group = Uint32(value)
		case unix.IFLA_ADDRESS:
			copy(l.MAC[:], value)
		case unix.IFLA_LINK:
			l.Lower = int(Uint32(value))
		case unix.IFLA_LINKINFO:
			Attributes(value, func(typ uint16, value []byte) {
				if typ == unix.IFLA_INFO_KIND {
					l.Kind = String(value)
				}
			})
		}
	})
	return l
}

// DeleteLink removes an interface, and its peer. It takes 10 to 20 ms. One that
// does not exist is fine.
func (c *Conn) DeleteLink(name string) error {
	m := NewMessage(unix.RTM_DELLINK, 0).Bytes(make([]byte, unix.SizeofIfInfomsg)...).Text(unix.IFLA_IFNAME, name)
	if err := c.Do(m); err != nil && !isErrno(err, unix.ENODEV) {
		return fmt.Errorf("cannot remove interface %s: %w", name, err)
	}
	return nil
}

func isErrno(err error, errno unix.Errno) bool {
	e, ok := err.(*KernelError)
	return ok && e.Errno == errno
}

// Settings of an interface (linux/ip.h, IPV4_DEVCONF_…), as in
// /proc/sys/net/ipv4/conf.
const (
	SendRedirects = 6
	RouteLocalnet = 26
	inetConf      = 1 // IFLA_INET_CONF
)

// Settings is a message that changes settings of an interface for IPv4.
func Settings(index int, values map[uint16]uint32) *Message {
	m := NewMessage(unix.RTM_NEWLINK, 0).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(index), 0, 0)
	return m.Nest(unix.IFLA_AF_SPEC, func() {
		m.Nest(unix.AF_INET, func() {
			m.Nest(inetConf, func() {
				for typ, v := range values {
					m.U32(typ, v)
				}
			})
		})
	})
}

// Address is a message that gives an interface an address. No route to its
// prefix comes with it, and nobody is asked whether the address is free.
func Address(index int, p netip.Prefix) *Message {
	family, scope := family(p.Addr()), byte(unix.RT_SCOPE_UNIVERSE)
	m := NewMessage(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL).
		Bytes(family, byte(p.Bits()), 0, scope).U32s(uint32(index)) // struct ifaddrmsg
	a := p.Addr().AsSlice()
	m.Attr(unix.IFA_LOCAL, a)
	m.Attr(unix.IFA_ADDRESS, a)
	flags := uint32(unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_PERMANENT)
	if p.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	return m.U32(unix.IFA_FLAGS, flags)
}

// Route is an entry of the main routing table.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // the zero Addr: directly on the interface
	Index       int        // of the interface
	Source      netip.Addr // preferred; may be the zero Addr
	Table       int        // of what Routes lists
	Type        int        // of what Routes lists: unix.RTN_UNICAST …
	Priority    int        // of what Routes lists
}

// Message adds the route, or replaces one to the same destination.
func (r Route) Message() *Message {
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if !r.Gateway.IsValid() {
		scope = unix.RT_SCOPE_LINK
	}
	m := NewMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE).
		Bytes(family(r.Destination.Addr()), byte(r.Destination.Bits()), 0, 0, // struct rtmsg
			unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, scope, unix.RTN_UNICAST).U32s(0)
	m.Attr(unix.RTA_DST, r.Destination.Addr().AsSlice())
	if r.Gateway.IsValid() {
		m.Attr(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Source.IsValid() {
		m.Attr(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	return m.U32(unix.RTA_OIF, uint32(r.Index))
}

// Loopback6 is a message that lets packets to ::1 reach the host though they come
// in by the interface: what route_localnet does for IPv4. The kernel takes
// ::1 only from an interface that has a local route to it (rt6_need_strict);
// loopback's own stays first by its metric. It is for answers whose address
// connection tracking turned into ::1: what has that address on the wire is
// dropped before. The route goes with the interface.
func Loopback6(index int) *Message {
	const metric = 4096
	return NewMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND).
		Bytes(unix.AF_INET6, 128, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL).U32s(0).
		Attr(unix.RTA_DST, netip.IPv6Loopback().AsSlice()).U32(unix.RTA_PRIORITY, metric).U32(unix.RTA_OIF, uint32(index))
}

// Routes are the routes of one family in all tables.
func (c *Conn) Routes(v6 bool) (list []Route, err error) {
	f := byte(unix.AF_INET)
	if v6 {
		f = unix.AF_INET6
	}
	m := NewMessage(unix.RTM_GETROUTE, unix.NLM_F_DUMP).Bytes(f, 0, 0, 0, 0, 0, 0, 0).U32s(0)
	err = c.Ask(m, func() { list = nil }, func(r Reply) {
		if route, ok := parseRoute(r.Data); ok {
			list = append(list, route)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	return list, nil
}

func parseRoute(b []byte) (r Route, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	r.Table, r.Type = int(b[4]), int(b[7])
	dst := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	Attributes(b[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(value)
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(value)
		case unix.RTA_OIF:
			r.Index = int(Uint32(value))
		case unix.RTA_TABLE:
			r.Table = int(Uint32(value))
		case unix.RTA_PRIORITY:
			r.Priority = int(Uint32(value))
		}
	})
	r.Destination = netip.PrefixFrom(dst, int(b[1]))
	return r, r.Destination.IsValid()
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// ValidName reports whether s can name an interface (the kernel's
// dev_valid_name).
func ValidName(s string) bool {
	return s != "" && len(s) < unix.IFNAMSIZ && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r")
}
