// SPDX-License-Identifier: Apache-2.0

package names

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// Types and codes of DNS (RFC 1035, RFC 3596).
const (
	typeA    = 1
	typeAAAA = 28
	typeAny  = 255
	classIN  = 1

	codeRefusedForm = 1 // FORMERR
	codeFailure     = 2 // SERVFAIL
	codeNoName      = 3 // NXDOMAIN
	codeCannot      = 4 // NOTIMP

	headerSize = 12
	maxUDP     = 512 // without EDNS, which our own answers do not speak
	maxMessage = 65535
)

// query is a message that asks one question.
type query struct {
	header   [headerSize]byte
	question []byte // as it was sent
	name     string // lower case, without the last dot
	kind     uint16
	class    uint16
}

var errMessage = errors.New("not a DNS query")

// parseQuery reads a query: one question, names without compression, which a
// question cannot have. Anything behind the question is passed over.
func parseQuery(b []byte) (q query, err error) {
	if len(b) < headerSize || len(b) > maxMessage {
		return q, errMessage
	}
	copy(q.header[:], b)
	if b[2]&0x80 != 0 || binary.BigEndian.Uint16(b[4:]) != 1 { // an answer; not one question
		return q, errMessage
	}
	var labels []string
	at, length := headerSize, 0
	for {
		if at >= len(b) {
			return q, errMessage
		}
		n := int(b[at])
		at++
		if n == 0 {
			break
		}
		if length += n + 1; n > 63 || length > 254 || at+n > len(b) {
			return q, errMessage
		}
		labels = append(labels, strings.ToLower(string(b[at:at+n])))
		at += n
	}
	if at+4 > len(b) {
		return q, errMessage
	}
	q.kind, q.class = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	q.question = b[headerSize : at+4]
	for _, l := range labels {
		if strings.ContainsRune(l, '.') { // it would read as two
			return q, nil
		}
	}
	q.name = strings.Join(labels, ".")
	return q, nil
}

// opcode is what kind of query it is; 0 is the ordinary one.
func (q *query) opcode() byte { return q.header[2] >> 3 & 0xf }

// reply is an answer with a code and addresses, of those that were asked for.
func (q *query) reply(code byte, addresses []netip.Addr, limit int) []byte {
	b := append([]byte(nil), q.header[:]...)
	b[2] = 0x80 | q.header[2]&0x79 // an answer, with the query's opcode and wish for recursion
	if code == 0 {
		b[2] |= 0x04 // we have it from the source
	}
	b[3] = 0x80 | code
	for i := 4; i < headerSize; i++ {
		b[i] = 0
	}
	if q.question == nil {
		return b
	}
	binary.BigEndian.PutUint16(b[4:], 1)
	b = append(b, q.question...)
	const ttl = 1 // pods come and go
	count := uint16(0)
	for _, a := range addresses {
		kind := uint16(typeA)
		if a.Is6() {
			kind = typeAAAA
		}
		if q.kind != kind && q.kind != typeAny {
			continue
		}
		if len(b)+12+a.BitLen()/8 > limit {
			b[2] |= 0x02 // there is more
			break
		}
		b = append(b, 0xc0, headerSize) // the question's name
		b = binary.BigEndian.AppendUint16(b, kind)
		b = binary.BigEndian.AppendUint16(b, classIN)
		b = binary.BigEndian.AppendUint32(b, ttl)
		b = binary.BigEndian.AppendUint16(b, uint16(a.BitLen()/8))
		b = append(b, a.AsSlice()...)
		count++
	}
	binary.BigEndian.PutUint16(b[6:], count)
	return b
}
