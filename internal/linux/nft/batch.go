// SPDX-License-Identifier: Apache-2.0

// Package nft speaks to nf_tables, the kernel's packet filter, without the nft
// program: tables, chains, rules, sets and their elements, changed together or
// not at all. It knows the words of the kernel's linux/netfilter/nf_tables.h,
// and nothing of what rules are good for.
package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// Conn is a socket to nf_tables of one network namespace.
type Conn struct{ nl *netlink.Conn }

// Dial opens a socket in the caller's network namespace.
func Dial() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &Conn{nl}, nil
}

// Close closes the socket; see netlink.Conn.Close for how long that may take.
func (c *Conn) Close() error { return c.nl.Close() }

// Table names a table of family inet.
type Table string

// Batch is a list of changes that are made together or not at all.
type Batch struct {
	table    Table
	messages []*netlink.Message
	ids      uint32 // of sets made in this batch
}

// NewBatch begins a list of changes of one table.
func NewBatch(t Table) *Batch { return &Batch{table: t} }

// tableUserdata is NFTA_TABLE_USERDATA, which x/sys does not have.
const tableUserdata = 6

// family is inet: one table for both versions of IP.
const family = unix.NFPROTO_INET

func message(kind, flags uint16) *netlink.Message {
	return netlink.NewMessage(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags).Bytes(family, unix.NFNETLINK_V0, 0, 0)
}

func (b *Batch) add(kind, flags uint16) *netlink.Message {
	m := message(kind, flags)
	b.messages = append(b.messages, m)
	return m
}

// Empty reports whether nothing would be changed.
func (b *Batch) Empty() bool { return len(b.messages) == 0 }

// AddTable makes the table if it is not there. comment is shown by nft, and by
// Tables.
func (b *Batch) AddTable(comment string) {
	m := b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE).Text(unix.NFTA_TABLE_NAME, string(b.table))
	if comment != "" {
		m.Attr(tableUserdata, userdata(comment))
	}
}

// DeleteTable removes the table with all that is in it.
func (b *Batch) DeleteTable() {
	b.add(unix.NFT_MSG_DELTABLE, 0).Text(unix.NFTA_TABLE_NAME, string(b.table))
}

// userdata is a comment as the nft program writes it: type 0, length, text.
func userdata(comment string) []byte {
	if len(comment) > 127 {
		comment = comment[:127]
	}
	return append(append([]byte{0, byte(len(comment) + 1)}, comment...), 0)
}

// comment reads what userdata writes.
func comment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return netlink.String(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// Hook is where a base chain is called.
type Hook struct {
	Type     string // filter, nat, route
	Number   uint32 // unix.NF_INET_PRE_ROUTING …
	Priority int32
	Drop     bool // the policy is to drop
}

// AddChain makes a chain; hook is nil for one that rules jump to.
func (b *Batch) AddChain(name string, hook *Hook) {
	m := b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE).
		Text(unix.NFTA_CHAIN_TABLE, string(b.table)).Text(unix.NFTA_CHAIN_NAME, name)
	if hook == nil {
		return
	}
	m.Nest(unix.NFTA_CHAIN_HOOK, func() {
		m.BE32(unix.NFTA_HOOK_HOOKNUM, hook.Number).BE32(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))
	})
	policy := uint32(1) // NF_ACCEPT
	if hook.Drop {
		policy = 0
	}
	m.BE32(unix.NFTA_CHAIN_POLICY, policy).Text(unix.NFTA_CHAIN_TYPE, hook.Type)
}

// AddRule appends a rule to a chain.
func (b *Batch) AddRule(chain, text string, expressions ...Expr) {
	m := b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND).
		Text(unix.NFTA_RULE_TABLE, string(b.table)).Text(unix.NFTA_RULE_CHAIN, chain)
	m.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
		for _, e := range expressions {
			m.Nest(unix.NFTA_LIST_ELEM, func() {
				m.Text(unix.NFTA_EXPR_NAME, e.name)
				if e.fill != nil {
					m.Nest(unix.NFTA_EXPR_DATA, func() { e.fill(m) })
				}
			})
		}
	})
	if text != "" {
		m.Attr(unix.NFTA_RULE_USERDATA, userdata(text))
	}
}

// Type is the kind of a part of a set's keys or of a map's values. The numbers
// are the nft program's own, which shows elements by them.
type Type struct{ number, size uint32 }

// The types there are.
var (
	IPv4    = Type{7, 4}
	IPv6    = Type{8, 16}
	Proto   = Type{12, 1}
	Service = Type{13, 2}
)

// Set describes a set, or with Data a map.
type Set struct {
	Name     string
	Key      []Type
	Data     []Type
	Interval bool // of one Type
}

// AddSet makes a set if it is not there.
func (b *Batch) AddSet(s Set) {
	b.ids++
	m := b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE).
		Text(unix.NFTA_SET_TABLE, string(b.table)).Text(unix.NFTA_SET_NAME, s.Name).BE32(unix.NFTA_SET_ID, b.ids)
	flags := uint32(0)
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.Data != nil {
		flags |= unix.NFT_SET_MAP
	}
	m.BE32(unix.NFTA_SET_FLAGS, flags)
	number, size := concatenate(s.Key)
	m.BE32(unix.NFTA_SET_KEY_TYPE, number).BE32(unix.NFTA_SET_KEY_LEN, size)
	if s.Data != nil {
		number, size := concatenate(s.Data)
		m.BE32(unix.NFTA_SET_DATA_TYPE, number).BE32(unix.NFTA_SET_DATA_LEN, size)
	}
}

// concatenate gives number and size of several types in a row: six bits and
// whole registers of four bytes each.
func concatenate(list []Type) (number, size uint32) {
	if len(list) == 1 {
		return list[0].number, list[0].size
	}
	for _, t := range list {
		number = number<<6 | t.number
		size += (t.size + 3) &^ 3
	}
	return number, size
}

// Element is a member of a set: parts of the key, and of the value in a map, each
// in network order.
type Element struct {
	Key     [][]byte
	Data    [][]byte
	End     bool // of an interval: the first key behind it
	Comment string
}

func joined(parts [][]byte) (b []byte) {
	if len(parts) == 1 {
		return parts[0]
	}
	for _, p := range parts {
		b = append(b, p...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// AddElements adds to a set. An element that is there already is fine if its
// value is the same, else unix.EBUSY or EEXIST.
func (b *Batch) AddElements(set string, elements ...Element) {
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, elements)
}

// DeleteElements removes from a set. What is not there is unix.ENOENT.
func (b *Batch) DeleteElements(set string, elements ...Element) {
	b.elements(unix.NFT_MSG_DELSETELEM, 0, set, elements)
}

// elementsPerMessage keeps a message below the 64 KiB of an attribute.
const elementsPerMessage = 200

func (b *Batch) elements(kind, flags uint16, set string, all []Element) {
	for len(all) > 0 {
		some := all[:min(len(all), elementsPerMessage)]
		all = all[len(some):]
		m := b.add(kind, flags).
			Text(unix.NFTA_SET_ELEM_LIST_TABLE, string(b.table)).Text(unix.NFTA_SET_ELEM_LIST_SET, set)
		m.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
			for _, e := range some {
				m.Nest(unix.NFTA_LIST_ELEM, func() {
					if e.End {
						m.BE32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
					}
					m.Nest(unix.NFTA_SET_ELEM_KEY, func() { m.Attr(unix.NFTA_DATA_VALUE, joined(e.Key)) })
					if e.Data != nil {
						m.Nest(unix.NFTA_SET_ELEM_DATA, func() { m.Attr(unix.NFTA_DATA_VALUE, joined(e.Data)) })
					}
					if e.Comment != "" {
						m.Attr(unix.NFTA_SET_ELEM_USERDATA, userdata(e.Comment))
					}
				})
			}
		})
	}
}

// Commit makes the changes of a batch, all or none.
func (c *Conn) Commit(b *Batch) error {
	if b.Empty() {
		return nil
	}
	edge := func(kind uint16) *netlink.Message {
		return netlink.NewMessage(kind, 0).Bytes(unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES)
	}
	return c.nl.Batch(edge(unix.NFNL_MSG_BATCH_BEGIN), b.messages, edge(unix.NFNL_MSG_BATCH_END))
}

// TableInfo is a table as it is.
type TableInfo struct {
	Family  uint8 // unix.NFPROTO_…
	Name    string
	Comment string
}

// Find returns a table of family inet. If there is none it is unix.ENOENT.
func (c *Conn) Find(t Table) (info TableInfo, err error) {
	err = c.nl.Ask(message(unix.NFT_MSG_GETTABLE, 0).Text(unix.NFTA_TABLE_NAME, string(t)), nil, func(r netlink.Reply) { info = parseTable(r.Data) })
	return info, err
}

// Tables are all tables of all families.
func (c *Conn) Tables() (list []TableInfo, err error) {
	m := netlink.NewMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP).Bytes(unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0)
	err = c.nl.Ask(m, func() { list = nil }, func(r netlink.Reply) { list = append(list, parseTable(r.Data)) })
	if err != nil {
		err = fmt.Errorf("cannot list nftables' tables: %w", err)
	}
	return list, err
}

func parseTable(b []byte) (t TableInfo) {
	if len(b) < 4 {
		return t
	}
	t.Family = b[0]
	netlink.Attributes(b[4:], func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_TABLE_NAME:
			t.Name = netlink.String(value)
		case tableUserdata:
			t.Comment = comment(value)
		}
	})
	return t
}

// ChainInfo is a base chain as it is.
type ChainInfo struct {
	Family      uint8
	Table, Name string
	Hook        uint32
	Drop        bool // its policy
	Base        bool
}

// Chains are all chains of all tables.
func (c *Conn) Chains() (list []ChainInfo, err error) {
	m := netlink.NewMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP).Bytes(unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0)
	err = c.nl.Ask(m, func() { list = nil }, func(r netlink.Reply) { list = append(list, parseChain(r.Data)) })
	if err != nil {
		err = fmt.Errorf("cannot list nftables' chains: %w", err)
	}
	return list, err
}

func parseChain(b []byte) (c ChainInfo) {
	if len(b) < 4 {
		return c
	}
	c.Family = b[0]
	netlink.Attributes(b[4:], func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			c.Table = netlink.String(value)
		case unix.NFTA_CHAIN_NAME:
			c.Name = netlink.String(value)
		case unix.NFTA_CHAIN_POLICY:
			c.Drop = be32(value) == 0
		case unix.NFTA_CHAIN_HOOK:
			c.Base = true
			netlink.Attributes(value, func(typ uint16, value []byte) {
				if typ == unix.NFTA_HOOK_HOOKNUM {
					c.Hook = be32(value)
				}
			})
		}
	})
	return c
}

// Elements are the members of a set or map, their keys and values joined.
func (c *Conn) Elements(t Table, set string) (list []Element, err error) {
	m := message(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP).
		Text(unix.NFTA_SET_ELEM_LIST_TABLE, string(t)).Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	err = c.nl.Ask(m, func() { list = nil }, func(r netlink.Reply) { list = append(list, parseElements(r.Data)...) })
	if errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	if err != nil {
		err = fmt.Errorf("cannot list set %s of nftables' table %s: %w", set, t, err)
	}
	return list, err
}

func parseElements(b []byte) (list []Element) {
	if len(b) < 4 {
		return nil
	}
	value := func(b []byte) (parts [][]byte) {
		netlink.Attributes(b, func(typ uint16, v []byte) {
			if typ == unix.NFTA_DATA_VALUE {
				parts = [][]byte{append([]byte(nil), v...)}
			}
		})
		return parts
	}
	netlink.Attributes(b[4:], func(typ uint16, elements []byte) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return
		}
		netlink.Attributes(elements, func(_ uint16, b []byte) {
			var e Element
			netlink.Attributes(b, func(typ uint16, v []byte) {
				switch typ {
				case unix.NFTA_SET_ELEM_KEY:
					e.Key = value(v)
				case unix.NFTA_SET_ELEM_DATA:
					e.Data = value(v)
				case unix.NFTA_SET_ELEM_FLAGS:
					e.End = be32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
				case unix.NFTA_SET_ELEM_USERDATA:
					e.Comment = comment(v)
				}
			})
			list = append(list, e)
		})
	})
	return list
}
