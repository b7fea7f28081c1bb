// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// UUID names a pod: a random UUID (RFC 9562, version 4) in its canonical form,
// 36 characters in lower case. A UUID that came out of New or ParseUUID is safe
// to use as a path element.
type UUID string

// NewUUID makes one from the kernel's random numbers.
func NewUUID() (UUID, error) {
	var b [16]byte
	for n := 0; n < len(b); {
		m, err := unix.Getrandom(b[n:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot make a pod's UUID: %w", err)
		}
		n += m
	}
	b[6] = b[6]&0x0f | 0x40 // version 4
	b[8] = b[8]&0x3f | 0x80 // variant of RFC 9562
	var t [36]byte
	hex.Encode(t[:8], b[:4])
	hex.Encode(t[9:13], b[4:6])
	hex.Encode(t[14:18], b[6:8])
	hex.Encode(t[19:23], b[8:10])
	hex.Encode(t[24:], b[10:])
	t[8], t[13], t[18], t[23] = '-', '-', '-', '-'
	return UUID(t[:]), nil
}

// ParseUUID accepts the canonical form alone, of any version.
func ParseUUID(s string) (UUID, error) {
	if !isUUIDPrefix(s) || len(s) != 36 {
		return "", fmt.Errorf("cannot parse pod UUID %q: want 8-4-4-4-12 lower-case hexadecimal digits", s)
	}
	return UUID(s), nil
}

// ValidUUIDPrefix reports whether s, not empty, could begin a UUID, so that it
// may be looked up.
func ValidUUIDPrefix(s string) bool { return s != "" && isUUIDPrefix(s) }

func isUUIDPrefix(s string) bool {
	if len(s) > 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// Short is the first eight characters, for tables.
func (u UUID) Short() string { return string(u[:min(8, len(u))]) }

func (u UUID) String() string { return string(u) }
