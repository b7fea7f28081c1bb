// SPDX-License-Identifier: Apache-2.0

package contract

import "testing"

func TestEvents(t *testing.T) {
	text := InitLine(12, 5) + StartedLine("a", 13, 6) + StartedLine("b", 14, 7) + "later thing 1 2 3\n" +
		ExitedLine("a", 137, 8) + "exited b 0"
	e := ParseEvents(text)
	if e.Init != 12 || e.Started.UnixNano() != 5 {
		t.Errorf("init: %+v", e)
	}
	if a := e.Apps["a"]; a.PID != 13 || !a.Ended || a.Status != 137 || a.Finished.UnixNano() != 8 {
		t.Errorf("a: %+v", a)
	}
	if b := e.Apps["b"]; b.PID != 14 || b.Ended {
		t.Errorf("b: a line cut short must not count: %+v", b)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add(InitLine(1, 2) + ExitedLine("x", 3, 4))
	f.Fuzz(func(t *testing.T, s string) { ParseEvents(s) })
}
