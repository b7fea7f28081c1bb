// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"
)

// packageVersion is what git describe says, in a form that dpkg and rpm take and
// sort as it was meant:
//
//	v1.2.3            1.2.3
//	v1.2.3-rc1        1.2.3~rc1, before 1.2.3
//	v1.2.3-5-gabcdef  1.2.3+5.abcdef, after 1.2.3
//	abcdef            0~20260102.150405.abcdef, by time, before every version
//
// A work tree with changes, "-dirty", adds ".dirty".
func packageVersion(described string, when time.Time) string {
	v, dirty := strings.CutSuffix(described, "-dirty")
	number, isTag := strings.CutPrefix(v, "v")
	if !isTag || number == "" || number[0] < '0' || number[0] > '9' {
		v = "0~" + when.Format("20060102.150405.") + clean(v)
	} else {
		parts := strings.Split(number, "-")
		v = parts[0]
		rest := parts[1:]
		after := ""
		if n := len(rest); n >= 2 && strings.HasPrefix(rest[n-1], "g") && clean(rest[n-2]) == rest[n-2] {
			after = "+" + rest[n-2] + "." + rest[n-1][1:]
			rest = rest[:n-2]
		}
		if len(rest) > 0 {
			v += "~" + clean(strings.Join(rest, "."))
		}
		v += after
	}
	if dirty {
		v += ".dirty"
	}
	return v
}

// clean drops what may not stand in a version.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return -1
	}, s)
}
