// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// RuleInfo is a rule as it is, as far as another program's is looked at.
type RuleInfo struct {
	Chain string
	// Refuses: it drops or rejects every packet that comes to it.
	Refuses bool
	// Compared are the values that it compares something with.
	Compared [][]byte
}

// Compares tells whether the rule compares something with a value that begins so.
func (r *RuleInfo) Compares(value []byte) bool {
	for _, c := range r.Compared {
		if bytes.HasPrefix(c, value) {
			return true
		}
	}
	return false
}

// Rules are the rules of a table, of any family, each chain's in their order.
func (c *Conn) Rules(family uint8, table string) (list []RuleInfo, err error) {
	m := netlink.NewMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP).
		Bytes(family, unix.NFNETLINK_V0, 0, 0).Text(unix.NFTA_RULE_TABLE, table)
	err = c.nl.Ask(m, func() { list = nil }, func(r netlink.Reply) {
		// Older kernels do not heed the table.
		if rule, of, ok := parseRule(r.Data); ok && of == table {
			list = append(list, rule)
		}
	})
	if err != nil {
		err = fmt.Errorf("cannot list rules of nftables' table %s: %w", table, err)
	}
	return list, err
}

func parseRule(b []byte) (r RuleInfo, table string, ok bool) {
	if len(b) < 4 {
		return r, "", false
	}
	conditions, refuses := false, false
	expression := func(name string, data []byte) {
		switch name {
		case "counter", "log":
		case "reject":
			refuses = true
		case "immediate":
			refuses = refuses || verdictOf(data) == verdictDrop
		case "target": // of iptables: REJECT, among others
			netlink.Attributes(data, func(typ uint16, v []byte) {
				refuses = refuses || typ == unix.NFTA_TARGET_NAME && netlink.String(v) == "REJECT"
			})
		case "cmp":
			netlink.Attributes(data, func(typ uint16, v []byte) {
				if typ == unix.NFTA_CMP_DATA {
					netlink.Attributes(v, func(typ uint16, v []byte) {
						if typ == unix.NFTA_DATA_VALUE {
							r.Compared = append(r.Compared, append([]byte(nil), v...))
						}
					})
				}
			})
			conditions = true
		default:
			conditions = true
		}
	}
	netlink.Attributes(b[4:], func(typ uint16, value []byte) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table = netlink.String(value)
		case unix.NFTA_RULE_CHAIN:
			r.Chain = netlink.String(value)
		case unix.NFTA_RULE_EXPRESSIONS:
			netlink.Attributes(value, func(_ uint16, one []byte) {
				var name string
				var data []byte
				netlink.Attributes(one, func(typ uint16, v []byte) {
					switch typ {
					case unix.NFTA_EXPR_NAME:
						name = netlink.String(v)
					case unix.NFTA_EXPR_DATA:
						data = v
					}
				})
				expression(name, data)
			})
		}
	})
	r.Refuses = refuses && !conditions
	return r, table, r.Chain != ""
}

const (
	verdictDrop = 0
	verdictNone = 1 << 31
)

// verdictOf is the code of an immediate expression that has a verdict.
func verdictOf(b []byte) (code uint32) {
	code = verdictNone
	netlink.Attributes(b, func(typ uint16, v []byte) {
		if typ != unix.NFTA_IMMEDIATE_DATA {
			return
		}
		netlink.Attributes(v, func(typ uint16, v []byte) {
			if typ != unix.NFTA_DATA_VERDICT {
				return
			}
			netlink.Attributes(v, func(typ uint16, v []byte) {
				if typ == unix.NFTA_VERDICT_CODE {
					code = be32(v)
				}
			})
		})
	})
	return code
}
