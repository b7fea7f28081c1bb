// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// Expr is one step of a rule; a rule goes on while its steps match. They work on
// registers of four bytes, numbered from 0.
type Expr struct {
	name string
	fill func(*netlink.Message)
}

// register is the kernel's number of a register.
func register(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) }

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Meta loads what is known about a packet beside its bytes (unix.NFT_META_…).
func Meta(key uint32, to int) Expr {
	return Expr{"meta", func(m *netlink.Message) {
		m.BE32(unix.NFTA_META_KEY, key).BE32(unix.NFTA_META_DREG, register(to))
	}}
}

// Network loads bytes of the packet's IP header.
func Network(offset, length uint32, to int) Expr {
	return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length, to)
}

// Transport loads bytes of the header behind that of IP.
func Transport(offset, length uint32, to int) Expr {
	return payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, length, to)
}

func payload(base, offset, length uint32, to int) Expr {
	return Expr{"payload", func(m *netlink.Message) {
		m.BE32(unix.NFTA_PAYLOAD_DREG, register(to)).BE32(unix.NFTA_PAYLOAD_BASE, base).
			BE32(unix.NFTA_PAYLOAD_OFFSET, offset).BE32(unix.NFTA_PAYLOAD_LEN, length)
	}}
}

// Equal goes on if the register begins with these bytes.
func Equal(from int, value ...byte) Expr { return compare(unix.NFT_CMP_EQ, from, value) }

// NotEqual goes on if it does not.
func NotEqual(from int, value ...byte) Expr { return compare(unix.NFT_CMP_NEQ, from, value) }

func compare(op uint32, from int, value []byte) Expr {
	return Expr{"cmp", func(m *netlink.Message) {
		m.BE32(unix.NFTA_CMP_SREG, register(from)).BE32(unix.NFTA_CMP_OP, op)
		m.Nest(unix.NFTA_CMP_DATA, func() { m.Attr(unix.NFTA_DATA_VALUE, value) })
	}}
}

// And keeps of a register only the bits of mask.
func And(reg int, mask ...byte) Expr {
	return Expr{"bitwise", func(m *netlink.Message) {
		m.BE32(unix.NFTA_BITWISE_SREG, register(reg)).BE32(unix.NFTA_BITWISE_DREG, register(reg)).
			BE32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		m.Nest(unix.NFTA_BITWISE_MASK, func() { m.Attr(unix.NFTA_DATA_VALUE, mask) })
		m.Nest(unix.NFTA_BITWISE_XOR, func() { m.Attr(unix.NFTA_DATA_VALUE, make([]byte, len(mask))) })
	}}
}

// In goes on if the key in the registers from there on is in a set.
func In(set string, from int) Expr { return lookup(set, from, -1, false) }

// NotIn goes on if it is not.
func NotIn(set string, from int) Expr { return lookup(set, from, -1, true) }

// Lookup loads what a map has for the key, and goes on if it has something.
func Lookup(set string, from, to int) Expr { return lookup(set, from, to, false) }

func lookup(set string, from, to int, not bool) Expr {
	return Expr{"lookup", func(m *netlink.Message) {
		m.Text(unix.NFTA_LOOKUP_SET, set).BE32(unix.NFTA_LOOKUP_SREG, register(from))
		if to >= 0 {
			m.BE32(unix.NFTA_LOOKUP_DREG, register(to))
		}
		if not {
			m.BE32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
		}
	}}
}

// FibDestinationType loads what kind of address the packet goes to
// (unix.RTN_LOCAL …).
func FibDestinationType(to int) Expr {
	return fib(unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_DADDR, to)
}

// FibSourceInterface loads the index of the interface that the packet's source
// is reached through, if that is the one it came in by; else 0.
func FibSourceInterface(to int) Expr {
	return fib(unix.NFT_FIB_RESULT_OIF, unix.NFTA_FIB_F_SADDR|unix.NFTA_FIB_F_IIF, to)
}

func fib(result, flags uint32, to int) Expr {
	return Expr{"fib", func(m *netlink.Message) {
		m.BE32(unix.NFTA_FIB_DREG, register(to)).BE32(unix.NFTA_FIB_RESULT, result).BE32(unix.NFTA_FIB_FLAGS, flags)
	}}
}

// Ct loads what connection tracking knows (unix.NFT_CT_…).
func Ct(key uint32, to int) Expr {
	return Expr{"ct", func(m *netlink.Message) {
		m.BE32(unix.NFTA_CT_KEY, key).BE32(unix.NFTA_CT_DREG, register(to))
	}}
}

// DNAT sends the packet to the address and the port in two registers; family is
// unix.NFPROTO_IPV4 or IPV6.
func DNAT(family uint32, address, port int) Expr {
	return Expr{"nat", func(m *netlink.Message) {
		m.BE32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT).BE32(unix.NFTA_NAT_FAMILY, family).
			BE32(unix.NFTA_NAT_REG_ADDR_MIN, register(address)).BE32(unix.NFTA_NAT_REG_ADDR_MAX, register(address)).
			BE32(unix.NFTA_NAT_REG_PROTO_MIN, register(port)).BE32(unix.NFTA_NAT_REG_PROTO_MAX, register(port))
	}}
}

// Masquerade makes the packet come from the address of the interface it leaves by.
func Masquerade() Expr { return Expr{name: "masq"} }

// Verdicts.
func Drop() Expr             { return verdict(0, "") }
func Jump(chain string) Expr { return verdict(unix.NFT_JUMP, chain) }
func Return() Expr           { return verdict(unix.NFT_RETURN, "") }

func verdict(code int32, chain string) Expr {
	return Expr{"immediate", func(m *netlink.Message) {
		m.BE32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		m.Nest(unix.NFTA_IMMEDIATE_DATA, func() {
			m.Nest(unix.NFTA_DATA_VERDICT, func() {
				m.BE32(unix.NFTA_VERDICT_CODE, uint32(code))
				if chain != "" {
					m.Text(unix.NFTA_VERDICT_CHAIN, chain)
				}
			})
		})
	}}
}
