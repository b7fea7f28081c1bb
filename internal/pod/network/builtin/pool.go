// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network/lease"
)

// pool hands out the addresses of a network for one pod. An address is known by
// its number in the subnet: 0 is the subnet's own, 1 the gateway's, the last the
// broadcast's.
type pool struct {
	kind   lease.Kind
	holder lease.Holder
	alive  func(pod.UUID) bool
}

// most bounds how many numbers of a subnet are handed out.
const most = 1 << 16

// offset is the address n after a; with IPv6, n counts in the last 64 bits.
func offset(a netip.Addr, n int64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+uint64(n))
	return netip.AddrFrom16(b)
}

// mayHave reports whether a pod may have the address: it is of the subnet, and
// not the subnet's own, the gateway's, or the broadcast's.
func mayHave(p netip.Prefix, a netip.Addr) bool {
	first := p.Masked().Addr()
	if !p.Contains(a) || a == first || a == first.Next() {
		return false
	}
	return a.Is6() || a != offset(first, 1<<(32-p.Bits())-1)
}

// number is the place of an IPv4 address in its subnet.
func number(p netip.Prefix, a netip.Addr) int64 {
	first, b := p.Masked().Addr().As4(), a.As4()
	return int64(binary.BigEndian.Uint32(b[:])) - int64(binary.BigEndian.Uint32(first[:]))
}

// take gives the pod one address of each version that the network has. What it
// took it gives back on error.
func (p pool) take(r record, want wish) (ip4, ip6 netip.Addr, err error) {
	if ip4, err = p.takeOne(r.subnet4, want.ip4, 0); err != nil {
		return ip4, ip6, err
	}
	if !r.subnet6.IsValid() {
		if want.ip6.IsValid() {
			err = errors.New("argument IP6: this host has no IPv6")
		}
	} else {
		ip6, err = p.takeOne(r.subnet6, want.ip6, number(r.subnet4, ip4))
	}
	if err != nil {
		err = errors.Join(err, p.kind.GiveBack(ip4.String(), p.holder.UUID))
	}
	return ip4, ip6, err
}

// takeOne takes the address asked for, or the next after the last that was
// taken: one that was given back rests as long as possible. near is tried first
// if it is not 0, and leaves no mark.
func (p pool) takeOne(subnet netip.Prefix, want netip.Addr, near int64) (netip.Addr, error) {
	if want.IsValid() {
		if !mayHave(subnet, want) {
			return want, fmt.Errorf("address %s is not one of %s that a pod may have", want, subnet)
		}
		if _, err := p.kind.Take(want.String(), p.holder, p.alive); err != nil {
			return want, fmt.Errorf("address in use: %w", err)
		}
		return want, nil
	}
	size := int64(most)
	if host := subnet.Addr().BitLen() - subnet.Bits(); host < 16 {
		size = 1 << host
	}
	last := near - 1
	if near == 0 {
		last, _ = strconv.ParseInt(p.kind.Mark(), 10, 64)
	}
	first := subnet.Masked().Addr()
	// Once over what is free, then over what the dead hold.
	for _, alive := range []func(pod.UUID) bool{nil, p.alive} {
		for i := int64(1); i < size; i++ {
			n := ((last+i)%size + size) % size
			if n < 2 || n == size-1 {
				continue
			}
			a := offset(first, n)
			_, err := p.kind.Take(a.String(), p.holder, alive)
			if held := (*lease.HeldError)(nil); errors.As(err, &held) {
				continue
			}
			if err == nil && near == 0 {
				err = p.kind.SetMark(strconv.FormatInt(n, 10))
			}
			return a, err
		}
	}
	return netip.Addr{}, fmt.Errorf("no address of %s is free: pods hold all %d", subnet, size-3)
}
