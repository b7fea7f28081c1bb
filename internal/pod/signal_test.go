// SPDX-License-Identifier: Apache-2.0

package pod

import "testing"

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]int{
		"SIGTERM": 15, "term": 15, "QUIT": 3, "9": 9, "64": 64, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "rtmax-1": 63,
		"": 0, "0": 0, "65": 0, "-1": 0, "SIGNOPE": 0, "SIGRTMIN+31": 0, "SIGRTMIN3": 0, "RTMAX+1": 0,
	} {
		got, err := ParseSignal(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}
