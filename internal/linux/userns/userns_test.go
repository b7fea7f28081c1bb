// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSubordinate(t *testing.T) {
	const file = "root:1:5\nalice:100000:65536\n1000:300000:10\nbob:1:1\nalice:bad\n"
	got, err := Subordinate(strings.NewReader(file), 1000, "alice")
	if want := []Range{{Outside: 100000, Count: 65536}, {Outside: 300000, Count: 10}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := Subordinate(strings.NewReader(file), 7, ""); err != nil || got != nil {
		t.Errorf("nobody's: %v, %v", got, err)
	}
	for _, bad := range []string{"alice:0:10", "alice:x:10", "alice:10:0", "alice:4294967295:1", "alice:10:4294967290", "alice:-1:5"} {
		if got, err := Subordinate(strings.NewReader(bad), 1000, "alice"); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
	if _, err := Subordinate(strings.NewReader(strings.Repeat("alice:100:1\n", maxRanges+1)), 1000, "alice"); err == nil {
		t.Error("a map longer than the kernel takes")
	}
}

func FuzzSubordinate(f *testing.F) {
	f.Add("alice:100000:65536\n1000:1:1\n")
	f.Add("alice:4294967295:4294967295")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Subordinate(strings.NewReader(text), 1000, "alice")
		if err != nil {
			return
		}
		for _, r := range list {
			if r.Count == 0 || r.Outside == 0 || uint64(r.Outside)+uint64(r.Count) > 1<<32-1 {
				t.Errorf("%v", r)
			}
		}
	})
}

// TestInitial asks the kernel by another word: the map of the machine's own
// namespace has all ids, and a new one is another.
func TestInitial(t *testing.T) {
	if os.Getenv("RKT_TEST_INSIDE") != "" {
		if Initial() {
			t.Error("a new user namespace is taken for the machine's own")
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInitial$", "-test.v")
	cmd.Env = append(os.Environ(), "RKT_TEST_INSIDE=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestInitial") {
		t.Errorf("%v\n%s", err, out)
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if all := slices.Equal(strings.Fields(string(b)), []string{"0", "0", "4294967295"}); all != Initial() && all {
		t.Error("the machine's own user namespace is taken for another")
	}
}
