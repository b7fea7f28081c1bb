// SPDX-License-Identifier: Apache-2.0

package pod

import "testing"

func TestParseUsers(t *testing.T) {
	for s, want := range map[string]struct {
		first, count int64
		form         string
	}{
		"pick": {0, 65536, "pick"}, "true": {0, 65536, "pick"}, "yes": {0, 65536, "pick"},
		"no": {0, 0, "no"}, "false": {0, 0, "no"},
		"1073741824": {1 << 30, 65536, "1073741824:65536"}, "70000:1000": {70000, 1000, "70000:1000"},
		"4294901759": {4294901759, 65536, "4294901759:65536"},
	} {
		first, count, err := ParseUsers(s)
		if err != nil || first != want.first || count != want.count || FormatUsers(first, count) != want.form {
			t.Errorf("%q: %d:%d, %v", s, first, count, err)
		}
	}
	for _, s := range []string{"", "auto", "0", "1000", "65535", "-1", "70000:", "70000:0", "70000:65537", "70000:-1",
		"4294901760", "4294967295:1", "99999999999", "9223372036854775807:1", "70000:1:1", "0x20000", "pick:5"} {
		if first, count, err := ParseUsers(s); err == nil {
			t.Errorf("%q is %d:%d", s, first, count)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("pick")
	f.Add("1073741824:65536")
	f.Fuzz(func(t *testing.T, s string) {
		first, count, err := ParseUsers(s)
		if err != nil {
			return
		}
		a, b, err := ParseUsers(FormatUsers(first, count))
		if err != nil || a != first || b != count {
			t.Errorf("%q: %d:%d came back as %d:%d, %v", s, first, count, a, b, err)
		}
	})
}
