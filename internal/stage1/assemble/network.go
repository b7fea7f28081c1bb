// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netns"
)

// NewNetwork makes a network namespace with nothing in it but a loopback
// interface, which is up. The descriptor is close-on-exec and the caller's to
// close; with it, and what else joined the namespace, that ends.
func NewNetwork() (int, error) {
	type made struct {
		fd  int
		err error
	}
	got := make(chan made)
	go func() {
		runtime.LockOSThread()
		fd, back, err := newNetwork()
		got <- made{fd, err}
		if !back {
			select {} // in the pod's network, for nobody else's use
		}
		// It must not end: children that were started on it would be killed
		// (PR_SET_PDEATHSIG).
		runtime.UnlockOSThread()
	}()
	m := <-got
	return m.fd, m.err
}

// newNetwork makes the namespace on the calling thread; back tells whether that
// has returned to where it was.
func newNetwork() (fd int, back bool, err error) {
	const own = "/proc/thread-self/ns/net"
	host, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, true, fmt.Errorf("cannot remember the host's network: %w", err)
	}
	defer unix.Close(host)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, true, fmt.Errorf("cannot make the pod's network: %w", err)
	}
	fd = -1
	if err = netns.LoopbackUp(); err != nil {
		err = fmt.Errorf("cannot bring the pod's loopback up: %w", err)
	} else if fd, err = unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		err = fmt.Errorf("cannot open the pod's network: %w", err)
	}
	back = unix.Setns(host, unix.CLONE_NEWNET) == nil
	return fd, back, err
}
