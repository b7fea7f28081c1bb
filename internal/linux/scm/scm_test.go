// SPDX-License-Identifier: Apache-2.0

package scm

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// received sends descriptors and gives the control message that arrives.
func received(t *testing.T, fds ...int) []byte {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(ends[1], []byte("x"), rights, nil, 0); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, unix.CmsgSpace(4*8))
	_, n, _, _, err := unix.Recvmsg(ends[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	return oob[:n]
}

func open(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestRights(t *testing.T) {
	for _, sent := range [][]int{nil, {0}, {0, 1, 2}} {
		got := Rights(received(t, sent...))
		if len(got) != len(sent) {
			t.Errorf("%v arrived as %v", sent, got)
		}
		for _, fd := range got {
			unix.Close(fd)
		}
	}
	if got := Rights([]byte("no message")); got != nil {
		t.Errorf("of nonsense: %v", got)
	}
}

func TestRight(t *testing.T) {
	before := open(t)
	for _, sent := range [][]int{nil, {0}, {0, 1}, {0, 1, 2}} {
		fd := Right(received(t, sent...))
		if fd >= 0 != (len(sent) == 1) {
			t.Errorf("%v: %d", sent, fd)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if now := open(t); now != before {
			t.Errorf("%v: %d descriptors are open, before %d", sent, now, before)
		}
	}
}
