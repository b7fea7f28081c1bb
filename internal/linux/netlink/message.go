// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Message is one netlink message that is being put together (netlink(7)). What
// it is told after its header goes to its end, padded as the kernel wants it.
type Message struct{ b []byte }

// NewMessage begins a request of the given type; flags are added to
// NLM_F_REQUEST.
func NewMessage(typ, flags uint16) *Message {
	m := &Message{b: make([]byte, unix.SizeofNlMsghdr, 256)}
	binary.NativeEndian.PutUint16(m.b[4:], typ)
	binary.NativeEndian.PutUint16(m.b[6:], flags|unix.NLM_F_REQUEST)
	return m
}

// Bytes appends raw bytes: the fixed part that follows the header.
func (m *Message) Bytes(b ...byte) *Message {
	m.b = append(m.b, b...)
	m.pad()
	return m
}

// U32s appends numbers in the machine's order.
func (m *Message) U32s(list ...uint32) *Message {
	for _, v := range list {
		m.b = binary.NativeEndian.AppendUint32(m.b, v)
	}
	return m
}

func (m *Message) pad() {
	for len(m.b)%unix.NLMSG_ALIGNTO != 0 {
		m.b = append(m.b, 0)
	}
}

// Attr appends an attribute.
func (m *Message) Attr(typ uint16, value []byte) *Message {
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(unix.SizeofRtAttr+len(value)))
	m.b = binary.NativeEndian.AppendUint16(m.b, typ)
	return m.Bytes(value...)
}

// Text appends an attribute of text that ends with a zero byte.
func (m *Message) Text(typ uint16, value string) *Message {
	return m.Attr(typ, append([]byte(value), 0))
}

// U32 appends an attribute of a number in the machine's order.
func (m *Message) U32(typ uint16, v uint32) *Message {
	return m.Attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// BE32 appends an attribute of a number in network order.
func (m *Message) BE32(typ uint16, v uint32) *Message {
	return m.Attr(typ, binary.BigEndian.AppendUint32(nil, v))
}

// Nest appends an attribute that holds what fill appends.
func (m *Message) Nest(typ uint16, fill func()) *Message { return m.nest(typ|unix.NLA_F_NESTED, fill) }

// OldNest is Nest without the flag that tells of nesting, for what older kernels
// compare whole.
func (m *Message) OldNest(typ uint16, fill func()) *Message { return m.nest(typ, fill) }

func (m *Message) nest(typ uint16, fill func()) *Message {
	start := len(m.b)
	m.b = binary.NativeEndian.AppendUint16(m.b, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, typ)
	fill()
	binary.NativeEndian.PutUint16(m.b[start:], uint16(len(m.b)-start))
	return m
}

// finish completes the header.
func (m *Message) finish(seq uint32, flags uint16) []byte {
	binary.NativeEndian.PutUint32(m.b, uint32(len(m.b)))
	binary.NativeEndian.PutUint16(m.b[6:], binary.NativeEndian.Uint16(m.b[6:])|flags)
	binary.NativeEndian.PutUint32(m.b[8:], seq)
	return m.b
}

// A Reply is one message of the kernel's: its type, and what follows the header.
type Reply struct {
	Type  uint16
	Flags uint16
	Seq   uint32
	Data  []byte
}

// replies cuts a packet into messages; what is cut short at its end is dropped.
func replies(b []byte) (list []Reply) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			break
		}
		list = append(list, Reply{
			Type:  binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq:   binary.NativeEndian.Uint32(b[8:]),
			Data:  b[unix.SizeofNlMsghdr:n],
		})
		b = b[min(align(n), len(b)):]
	}
	return list
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// Attributes calls f for each attribute in b, without the flags in its type,
// until what is left is none.
func Attributes(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(align(n), len(b)):]
	}
}

// String is the text of an attribute.
func String(value []byte) string {
	for i, c := range value {
		if c == 0 {
			return string(value[:i])
		}
	}
	return string(value)
}

// Uint32 is the number of an attribute in the machine's order; 0 if it is none.
func Uint32(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}
