// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
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
		// The thread ends with the goroutine, and nobody else is ever in there.
		runtime.LockOSThread()
		fd, err := newNetwork()
		got <- made{fd, err}
	}()
	m := <-got
	return m.fd, m.err
}

func newNetwork() (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("cannot make the pod's network: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return -1, fmt.Errorf("cannot bring the pod's loopback up: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the pod's network: %w", err)
	}
	return fd, nil
}

// loopbackUp brings lo up in the calling thread's network namespace
// (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}
