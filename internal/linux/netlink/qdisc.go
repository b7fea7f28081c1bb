// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Of linux/pkt_sched.h, which x/sys does not have.
const (
	handleRoot   = 0xffffffff // TC_H_ROOT
	tbfParms     = 1          // TCA_TBF_PARMS
	tbfRate64    = 4          // TCA_TBF_RATE64
	tbfBurst     = 6          // TCA_TBF_BURST
	tcaKind      = 1          // TCA_KIND
	tcaOptions   = 2          // TCA_OPTIONS
	linkEthernet = 1          // TC_LINKLAYER_ETHERNET
	tick         = 64         // nanoseconds, PSCHED_TICKS2NS
)

// MinBandwidth is the least that Bandwidth can limit to.
const MinBandwidth = 1024

// Burst is how many bytes may pass at once under a limit of so many a second: what
// would take 50 ms, and at least 128 KiB, which is more than interfaces of one
// host hand to each other in one piece.
func Burst(rate uint64) uint32 { return uint32(min(max(rate/20, 128<<10), math.MaxInt32)) }

// Bandwidth is a message that limits what leaves by an interface to rate bytes a
// second, MinBandwidth at least (tc-tbf(8)). What is too early waits, and is
// dropped when too much waits. It goes with the interface.
func Bandwidth(index int, rate uint64) *Message {
	burst := Burst(rate)
	m := NewMessage(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL).
		Bytes(unix.AF_UNSPEC, 0, 0, 0).U32s(uint32(index), 1<<16, handleRoot, 0). // struct tcmsg
		Text(tcaKind, "tbf")
	return m.Nest(tcaOptions, func() {
		// struct tc_tbf_qopt: two struct tc_ratespec, of which the second, the peak, is
		// none; how much may wait; the burst, in ticks; no mtu.
		parms := []byte{3, linkEthernet, 0, 0, 0, 0, 0, 0}
		parms = binary.NativeEndian.AppendUint32(parms, uint32(min(rate, math.MaxUint32)))
		parms = append(parms, make([]byte, 12)...)
		for _, v := range []uint32{uint32(min(uint64(burst)+rate/20, math.MaxInt32)), ticks(burst, rate), 0} {
			parms = binary.NativeEndian.AppendUint32(parms, v)
		}
		m.Attr(tbfParms, parms).U32(tbfBurst, burst)
		if rate > math.MaxUint32 {
			m.Attr(tbfRate64, binary.NativeEndian.AppendUint64(nil, rate))
		}
	})
}

// ticks is how long so many bytes take, in the kernel's unit.
func ticks(bytes uint32, rate uint64) uint32 {
	ns := float64(bytes) / float64(rate) * float64(time.Second)
	return uint32(min(ns/tick, math.MaxUint32))
}
