// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"strings"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// Escape returns s with everything replaced that could move a cursor, change a
// terminal's state or deceive its reader: C0 and C1 controls and DEL, bytes that
// are not UTF-8, line and paragraph separators, and the bidirectional controls
// of CVE-2021-42574. They become \n, \t, \r, \xNN or \uNNNN; a backslash stays
// as it is, so that ordinary text reads as it is written. A string that needs
// nothing is returned unchanged.
func Escape(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError && n == 1, r < ' ', r == 0x7f:
			b.WriteString(`\x`)
			b.WriteByte(lowerHex[s[i]>>4])
			b.WriteByte(lowerHex[s[i]&15])
		case steers(r):
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(lowerHex[r>>shift&15])
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// steers reports whether a printable-looking rune changes how others are shown.
func steers(r rune) bool {
	switch {
	case r >= 0x80 && r <= 0x9f, // C1
		r == 0x061c, r == 0x200e, r == 0x200f, // marks
		r >= 0x202a && r <= 0x202e, // embeddings and overrides
		r >= 0x2066 && r <= 0x2069, // isolates
		r == 0x2028, r == 0x2029,
		r == 0xfeff:
		return true
	}
	return false
}
