// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"testing"
)

func TestUserdata(t *testing.T) {
	if got := comment(userdata("who has it")); got != "who has it" {
		t.Errorf("%q", got)
	}
	long := string(bytes.Repeat([]byte("x"), 300))
	if got := comment(userdata(long)); got != long[:127] {
		t.Errorf("%d bytes of a long comment", len(got))
	}
	// Behind what another program wrote.
	if got := comment(append([]byte{7, 2, 1, 1}, userdata("c")...)); got != "c" {
		t.Errorf("%q", got)
	}
}

func TestConcatenate(t *testing.T) {
	// As nft has it: ipv4_addr . inet_proto . inet_service.
	if n, size := concatenate([]Type{IPv4, Proto, Service}); n != 7<<12|12<<6|13 || size != 12 {
		t.Errorf("%#x, %d bytes", n, size)
	}
	if n, size := concatenate([]Type{IPv6}); n != 8 || size != 16 {
		t.Errorf("%#x, %d bytes", n, size)
	}
	if got := joined([][]byte{{6}, {0, 80}}); !bytes.Equal(got, []byte{6, 0, 0, 0, 0, 80, 0, 0}) {
		t.Errorf("%v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 8, 0, 1, 0, 'r', 'k', 't', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseTable(b)
		parseChain(b)
		parseElements(b)
		parseRule(b)
	})
}
