// SPDX-License-Identifier: Apache-2.0

// Package conntrack makes the kernel forget connections that it tracks
// (ctnetlink).
package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// Messages and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 // NFNL_SUBSYS_CTNETLINK
	get       = 1 // IPCTNL_MSG_CT_GET
	remove    = 2 // IPCTNL_MSG_CT_DELETE

	tupleOrig  = 1 // CTA_TUPLE_ORIG
	zone       = 18
	tupleProto = 2 // CTA_TUPLE_PROTO
	protoNum   = 1
	protoDst   = 3
)

// flow is what names one connection.
type flow struct {
	family byte
	tuple  []byte // CTA_TUPLE_ORIG as the kernel wrote it
	zone   []byte
}

func message(kind, flags uint16, family byte) *netlink.Message {
	return netlink.NewMessage(subsystem<<8|kind, flags).Bytes(family, unix.NFNETLINK_V0, 0, 0)
}

// Forget makes the kernel forget all flows of a protocol without connections, as
// UDP, that were first sent to one of the ports that to tells of. What it
// decided at a flow's first packet, as where it is led to, holds as long as the
// flow goes on; so it would for one that is older than a change of rules.
func Forget(protocol uint8, to func(port uint16) bool) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	var flows []flow
	err = c.Ask(message(get, unix.NLM_F_DUMP, unix.AF_UNSPEC), func() { flows = nil }, func(r netlink.Reply) {
		f, number, port, ok := parse(r.Data)
		if ok && number == protocol && to(port) {
			flows = append(flows, f)
		}
	})
	if err != nil {
		return fmt.Errorf("cannot list tracked connections: %w", err)
	}
	for _, f := range flows {
		m := message(remove, 0, f.family).Attr(tupleOrig|unix.NLA_F_NESTED, f.tuple)
		if f.zone != nil {
			m.Attr(zone, f.zone)
		}
		if err := c.Do(m); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot forget a tracked connection: %w", err)
		}
	}
	return nil
}

func parse(b []byte) (f flow, protocol uint8, port uint16, ok bool) {
	if len(b) < 4 {
		return f, 0, 0, false
	}
	f.family = b[0]
	netlink.Attributes(b[4:], func(typ uint16, value []byte) {
		switch typ {
		case zone:
			f.zone = append([]byte(nil), value...)
		case tupleOrig:
			f.tuple = append([]byte(nil), value...)
			netlink.Attributes(value, func(typ uint16, value []byte) {
				if typ != tupleProto {
					return
				}
				netlink.Attributes(value, func(typ uint16, value []byte) {
					switch {
					case typ == protoNum && len(value) > 0:
						protocol = value[0]
					case typ == protoDst && len(value) > 1:
						port, ok = binary.BigEndian.Uint16(value), true
					}
				})
			})
		}
	})
	return f, protocol, port, ok && f.tuple != nil
}
