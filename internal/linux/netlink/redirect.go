// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Of linux/pkt_sched.h, pkt_cls.h and tc_act/tc_mirred.h, which x/sys does not have.
const (
	ingressParent = 0xfffffff1 // TC_H_INGRESS
	ingressHandle = 0xffff0000
	u32Sel        = 5 // TCA_U32_SEL
	u32Act        = 7 // TCA_U32_ACT
	actKind       = 1 // TCA_ACT_KIND
	actOptions    = 2 // TCA_ACT_OPTIONS
	mirredParms   = 2 // TCA_MIRRED_PARMS
	egressRedir   = 1 // TCA_EGRESS_REDIR
	actStolen     = 4 // TC_ACT_STOLEN
)

// Redirect are messages that have all that comes in by one interface leave by
// another, as it is, without anybody here seeing it (tc-mirred(8)). They go with
// the interfaces.
func Redirect(from, to int) []*Message {
	tcmsg := func(typ uint16, handle, parent, info uint32) *Message {
		return NewMessage(typ, unix.NLM_F_CREATE|unix.NLM_F_EXCL).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(from), handle, parent, info)
	}
	// Priority 1, for packets of any protocol, in network order.
	any := uint32(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	filter := tcmsg(unix.RTM_NEWTFILTER, 0, ingressHandle, 1<<16|any).Text(tcaKind, "u32") // older than matchall, and in more kernels
	filter.Nest(tcaOptions, func() {
		// struct tc_u32_sel with one key: of the first four bytes none matters.
		selector := make([]byte, 32)
		selector[0], selector[2] = 1, 1 // TC_U32_TERMINAL, one key
		filter.Attr(u32Sel, selector)
		filter.Nest(u32Act, func() {
			filter.Nest(1, func() { // the first action
				filter.Text(actKind, "mirred")
				filter.Nest(actOptions, func() {
					// struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex
					var parms []byte
					for _, v := range []uint32{0, 0, actStolen, 0, 0, egressRedir, uint32(to)} {
						parms = binary.NativeEndian.AppendUint32(parms, v)
					}
					filter.Attr(mirredParms, parms)
				})
			})
		})
	})
	return []*Message{tcmsg(unix.RTM_NEWQDISC, ingressHandle, ingressParent, 0).Text(tcaKind, "ingress"), filter}
}

// Addresses are those of an interface, with their prefixes, but for IPv6's own of the
// link.
func (c *Conn) Addresses(index int) (list []netip.Prefix, err error) {
	m := NewMessage(unix.RTM_GETADDR, unix.NLM_F_DUMP).Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(0) // struct ifaddrmsg
	err = c.Ask(m, func() { list = nil }, func(r Reply) {
		if at, p, ok := parseAddress(r.Data); ok && at == index && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	return list, nil
}

func parseAddress(b []byte) (index int, p netip.Prefix, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return 0, p, false
	}
	var address, local netip.Addr
	Attributes(b[unix.SizeofIfAddrmsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		}
	})
	if local.IsValid() { // of a point-to-point link, address is the other end's
		address = local
	}
	p = netip.PrefixFrom(address, int(b[1]))
	return int(Uint32(b[4:])), p, p.IsValid()
}

// OpenTap makes a tap device in the calling thread's network namespace, and returns
// its descriptor, with which it ends. Packets come with virtio's header.
func OpenTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot make the tap device %s: %w", name, err)
	}
	return fd, nil
}
