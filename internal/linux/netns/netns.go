// SPDX-License-Identifier: Apache-2.0

// Package netns is about network namespaces (network_namespaces(7)).
package netns

import (
	"os"

	"golang.org/x/sys/unix"
)

// LoopbackUp brings lo up in the calling thread's network namespace
// (netdevice(7)). That it is up already is no error.
func LoopbackUp() error {
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
