// SPDX-License-Identifier: Apache-2.0

package native

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestReceiveKeepsNothing: of descriptors that nobody asked for none stays open.
func TestReceiveKeepsNothing(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	open := func() int {
		t.Helper()
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	m := contract.Message{Kind: contract.MessageStarted, App: "a"}
	before := open()
	for _, c := range []struct {
		packet []byte
		fds    []int
		want   bool // a descriptor
	}{
		{m.Encode(), nil, false},
		{m.Encode(), []int{0}, true},
		{m.Encode(), []int{0, 1}, false},
		{m.Encode(), []int{0, 1, 2, 0, 1, 2}, false},
	} {
		// One that is no message is passed over, with what came along.
		for _, packet := range [][]byte{[]byte("none"), c.packet} {
			var rights []byte
			if c.fds != nil {
				rights = unix.UnixRights(c.fds...)
			}
			if err := unix.Sendmsg(ends[1], packet, rights, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		got, fd, ok := Control(ends[0]).Receive()
		if !ok || got.App != "a" || fd >= 0 != c.want {
			t.Errorf("%v: %+v, %d, %v", c.fds, got, fd, ok)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if now := open(); now != before {
			t.Errorf("%v: %d descriptors are open, before %d", c.fds, now, before)
		}
	}
}
