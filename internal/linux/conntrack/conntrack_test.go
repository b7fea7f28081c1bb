// SPDX-License-Identifier: Apache-2.0

package conntrack

import "testing"

func FuzzParse(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 28, 0, 1, 0x80, 24, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 3, 0, 0, 53, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fl, _, _, ok := parse(b)
		if ok && fl.tuple == nil {
			t.Error("a flow without a name")
		}
	})
}
