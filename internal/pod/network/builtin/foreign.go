// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/nft"
	"github.com/rkt/rkt/internal/pod/network/rules"
)

// warnOfOthers tells of others' rules that drop what is forwarded unless they say
// otherwise: an accept of ours does not change their mind, and we do not touch
// their rules.
func (n *Networks) warnOfOthers(c *nft.Conn) {
	var own []netip.Prefix
	for _, r := range n.Rules() {
		own = append(own, r.Subnets...)
	}
	for _, what := range obstacles(c, own) {
		n.Warn("%s drops what is forwarded: pods reach only this host until its rules accept interfaces %s* (docs/networking.md, Other firewalls)", what, rules.InterfacePrefix)
	}
}

// obstacles are the chains of others that drop, or reject, whatever they do not
// accept of what is forwarded: by their policy, or by their last rule. Those in
// whose table a rule speaks of pods' interfaces or of a subnet of ours are not
// among them: somebody has thought of pods. What cannot be looked at is left
// out.
func obstacles(c *nft.Conn, own []netip.Prefix) (list []string) {
	chains, err := c.Chains()
	if err != nil {
		return nil
	}
	for _, ch := range chains {
		if !ch.Base || ch.Hook != unix.NF_INET_FORWARD || strings.HasPrefix(ch.Table, rules.TablePrefix) ||
			ch.Family != unix.NFPROTO_IPV4 && ch.Family != unix.NFPROTO_IPV6 && ch.Family != unix.NFPROTO_INET {
			continue
		}
		all, err := c.Rules(ch.Family, ch.Table)
		if err != nil {
			continue
		}
		drops, thought := ch.Drop, false
		last := false
		for i := range all {
			if all[i].Chain == ch.Name {
				last = all[i].Refuses
			}
			thought = thought || all[i].Compares([]byte(rules.InterfacePrefix))
			for _, p := range own {
				thought = thought || all[i].Compares(subnetBytes(p))
			}
		}
		if (drops || last) && !thought {
			list = append(list, "the nftables chain "+strconv.Quote(ch.Name)+" of table "+strconv.Quote(ch.Table)+" ("+familyName(ch.Family)+")")
		}
	}
	return list
}

// subnetBytes is what a rule compares with: the whole address behind a mask, or the
// bytes that matter, without one.
func subnetBytes(p netip.Prefix) []byte {
	a := p.Masked().Addr().AsSlice()
	if p.Bits()%8 != 0 {
		return a
	}
	return a[:p.Bits()/8]
}

func familyName(family uint8) string {
	switch family {
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	}
	return "inet"
}
