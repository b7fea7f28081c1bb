// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/nft"
)

// Priorities of hooks, as iptables' tables have them (nft(8)).
const (
	priorityRaw    = -300
	priorityDstNAT = -100
	priorityFilter = 0
	prioritySrcNAT = 100
)

// loopback6 is ::1.
var loopback6 = []byte{15: 1}

// build makes the table without any network or port.
func build(b *nft.Batch) {
	b.AddTable(edition)
	for _, v := range versions {
		address := []nft.Type{v.address}
		for _, name := range []string{setNets, setMasquerade, setClosed} {
			b.AddSet(nft.Set{Name: name + v.suffix, Key: address, Interval: true})
		}
		b.AddSet(nft.Set{Name: setTargets + v.suffix, Key: address})
		data := []nft.Type{v.address, nft.Service}
		b.AddSet(nft.Set{Name: mapAny + v.suffix, Key: []nft.Type{nft.Proto, nft.Service}, Data: data})
		if v.nfproto == unix.NFPROTO_IPV6 {
			b.AddSet(nft.Set{Name: setLoopback6, Key: []nft.Type{nft.Proto, nft.Service}})
		}
		b.AddSet(nft.Set{Name: mapOne + v.suffix, Key: []nft.Type{v.address, nft.Proto, nft.Service}, Data: data})
	}
	guard(b)
	forward(b)
	ports(b)
	leave(b)
}

// guard drops what a pod must not send. It comes before connection tracking, so
// addresses are those on the wire.
func guard(b *nft.Batch) {
	const chain = "guard"
	b.AddChain(chain, &nft.Hook{Type: "filter", Number: unix.NF_INET_PRE_ROUTING, Priority: priorityRaw})
	// The interfaces of pods with ports have route_localnet, for answers to the
	// host's own connections over loopback: those come to another address than
	// 127/8. What does not is a pod that reaches for what listens on the host's
	// loopback only (CVE-2020-8558).
	b.AddRule(chain, "loopback is the host's own", rule(fromPod(0), ip(versions[0]),
		[]nft.Expr{nft.Network(16, 1, 0), nft.Equal(0, 127), nft.Drop()})...)
	// A pod's packets have the pod's address: there is one route to each.
	b.AddRule(chain, "no false source addresses", rule(fromPod(0),
		[]nft.Expr{nft.FibSourceInterface(0), nft.Equal(0, 0, 0, 0, 0), nft.Drop()})...)
}

// forward decides what goes from or to a pod by way of the host.
func forward(b *nft.Batch) {
	const chain, to, from = "forward", "to-pod", "from-pod"
	b.AddChain(to, nil)
	b.AddChain(from, nil)
	b.AddChain(chain, &nft.Hook{Type: "filter", Number: unix.NF_INET_FORWARD, Priority: priorityFilter})
	b.AddRule(chain, "", rule(fromPod(0), []nft.Expr{nft.Jump(from)})...)
	b.AddRule(chain, "", rule(toPod(0), []nft.Expr{nft.Jump(to)})...)
	const established, related, dnat = 1 << 1, 1 << 2, 1 << 5 // NF_CT_STATE_BIT; IPS_DST_NAT
	for _, c := range []string{to, from} {
		b.AddRule(c, "", has(unix.NFT_CT_STATE, established|related, nft.Return())...)
		b.AddRule(c, "a forwarded port", has(unix.NFT_CT_STATUS, dnat, nft.Return())...)
		for _, v := range versions {
			source, target := nft.Network(v.source, v.size, 0), nft.Network(v.target, v.size, 0)
			closed := setClosed + v.suffix
			b.AddRule(c, "", rule(ip(v), []nft.Expr{source, nft.In(closed, 0), target, nft.NotIn(closed, 0), nft.Drop()})...)
			b.AddRule(c, "", rule(ip(v), []nft.Expr{target, nft.In(closed, 0), source, nft.NotIn(closed, 0), nft.Drop()})...)
		}
	}
	// Behind masquerading nobody is found who was not asked for, also not by a
	// neighbour who makes this host the way to the network's addresses.
	for _, v := range versions {
		b.AddRule(to, "", rule(ip(v), notFromPod(0), []nft.Expr{nft.Network(v.target, v.size, 0), nft.In(setMasquerade+v.suffix, 0), nft.Drop()})...)
	}
}

// ports leads connections to ports of the host into pods: those that come in,
// and the host's own.
func ports(b *nft.Batch) {
	const chain = "ports"
	b.AddChain(chain, nil)
	for _, v := range versions {
		registers := int(v.size / 4)
		port := func(at int) []nft.Expr {
			return []nft.Expr{nft.Meta(unix.NFT_META_L4PROTO, at), nft.Transport(2, 2, at+1)}
		}
		nat := nft.DNAT(uint32(v.nfproto), 0, registers)
		b.AddRule(chain, "", rule(ip(v), []nft.Expr{nft.Network(v.target, v.size, 0)}, port(registers),
			[]nft.Expr{nft.Lookup(mapOne+v.suffix, 0, 0), nat})...)
		b.AddRule(chain, "", rule(ip(v), port(0), []nft.Expr{nft.Lookup(mapAny+v.suffix, 0, 0), nat})...)
	}
	local := rule([]nft.Expr{nft.FibDestinationType(0), nft.Equal(0, binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)...), nft.Jump(chain)})
	b.AddChain("incoming", &nft.Hook{Type: "nat", Number: unix.NF_INET_PRE_ROUTING, Priority: priorityDstNAT})
	b.AddRule("incoming", "", local...)
	b.AddChain("outgoing", &nft.Hook{Type: "nat", Number: unix.NF_INET_LOCAL_OUT, Priority: priorityDstNAT})
	// The kernel takes answers to ::1 from interfaces of rkt's own networks only
	// (netlink.Loopback6). For pods on others, refused at once is better than never
	// answered.
	v := versions[1]
	b.AddRule("outgoing", "", rule(ip(v), []nft.Expr{nft.Network(v.target, v.size, 0), nft.Equal(0, loopback6...),
		nft.Meta(unix.NFT_META_L4PROTO, 0), nft.Transport(2, 2, 1), nft.NotIn(setLoopback6, 0), nft.Return()})...)
	b.AddRule("outgoing", "", local...)
}

// leave gives packets another source address where answers would not come back.
func leave(b *nft.Batch) {
	const chain = "leave"
	b.AddChain(chain, &nft.Hook{Type: "nat", Number: unix.NF_INET_POST_ROUTING, Priority: prioritySrcNAT})
	for _, v := range versions {
		source, target := nft.Network(v.source, v.size, 0), nft.Network(v.target, v.size, 0)
		forwarded := rule(ip(v), []nft.Expr{target, nft.In(setTargets+v.suffix, 0)})
		const dnat = 1 << 5
		loopback := []nft.Expr{nft.Network(v.source, 1, 0), nft.Equal(0, 127)}
		if v.nfproto == unix.NFPROTO_IPV6 {
			loopback = []nft.Expr{source, nft.Equal(0, loopback6...)}
		}
		b.AddRule(chain, "from the host's loopback", rule(forwarded, loopback, []nft.Expr{nft.Masquerade()})...)
		// A pod that reaches a pod, perhaps itself, by a port of the host.
		b.AddRule(chain, "from pods by a port of the host", rule(forwarded, []nft.Expr{source, nft.In(setNets+v.suffix, 0)}, has(unix.NFT_CT_STATUS, dnat, nft.Masquerade()))...)
		// Pods of closed networks know no way to anybody else.
		b.AddRule(chain, "to closed networks", rule(forwarded, []nft.Expr{nft.In(setClosed+v.suffix, 0)}, has(unix.NFT_CT_STATUS, dnat, nft.Masquerade()))...)
		b.AddRule(chain, "out of the host", rule(ip(v), []nft.Expr{source, nft.In(setMasquerade+v.suffix, 0), target, nft.NotIn(setNets+v.suffix, 0), nft.Masquerade()})...)
	}
}

func rule(parts ...[]nft.Expr) (all []nft.Expr) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func ip(v version) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_NFPROTO, 0), nft.Equal(0, v.nfproto)}
}

func fromPod(reg int) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_IIFNAME, reg), nft.Equal(reg, []byte(InterfacePrefix)...)}
}

func notFromPod(reg int) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_IIFNAME, reg), nft.NotEqual(reg, []byte(InterfacePrefix)...)}
}

func toPod(reg int) []nft.Expr {
	return []nft.Expr{nft.Meta(unix.NFT_META_OIFNAME, reg), nft.Equal(reg, []byte(InterfacePrefix)...)}
}

// has goes on to then if one of the bits is set in what connection tracking knows.
func has(key uint32, bits uint32, then nft.Expr) []nft.Expr {
	return []nft.Expr{nft.Ct(key, 0), nft.And(0, binary.NativeEndian.AppendUint32(nil, bits)...), nft.NotEqual(0, 0, 0, 0, 0), then}
}
