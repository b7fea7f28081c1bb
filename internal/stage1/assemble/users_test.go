// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestNewUsersFails: nothing is left open, and no process.
func TestNewUsersFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // not unlocked: the thread goes with the goroutine
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	want := errors.New("no network")
	netFD := -1
	w := &Wants{Users: contract.Users{First: 1 << 30, Count: 65536}, Network: func(made int) (int, error) {
		netFD = made
		return -1, want
	}}
	before := open()
	if u, err := newUsers(w, unix.CLONE_NEWNET); u != nil || !errors.Is(err, want) {
		t.Fatalf("%v, %v", u, err)
	}
	if after := open(); after != before || netFD < 0 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
