// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOthers: what is not the journal's is not taken for it.
func TestOthers(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	for _, fd := range []int{0, ends[0], -1} {
		if _, err := Open(fd, "app", ""); !errors.Is(err, ErrNone) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	for _, v := range []string{"", "1", "0:0", "nonsense"} {
		if Streams(v) != [2]bool{} {
			t.Errorf("JOURNAL_STREAM=%q is believed", v)
		}
	}
}
