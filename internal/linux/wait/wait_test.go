// SPDX-License-Identifier: Apache-2.0

package wait

import (
	"os"
	"testing"
)

func TestFor(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -15 $$": 143} {
		p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := For(p.Pid); got != want || err != nil {
			t.Errorf("For(%q) = %d, %v; want %d", script, got, err, want)
		}
		if _, err := For(p.Pid); err == nil {
			t.Errorf("For(%q) a second time: no error, want ECHILD", script)
		}
		_ = p.Release()
	}
}
