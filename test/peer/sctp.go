// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func sctpSocket(at netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	return fd, os.NewSyscallError("socket", err)
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
}

func sctpListener(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	fd, err := sctpSocket(at)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close()
	return net.FileListener(f)
}

// sctpDial connects from one address only: an association of several would tell
// the other side of those that network address translation does not know.
func sctpDial(address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	route, err := net.Dial("udp", address)
	if err != nil {
		return nil, err
	}
	from := netip.AddrPortFrom(netip.MustParseAddrPort(route.LocalAddr().String()).Addr(), 0)
	route.Close()
	fd, err := sctpSocket(at)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, sockaddr(from)); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, sockaddr(at)); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close()
	return net.FileConn(f)
}
