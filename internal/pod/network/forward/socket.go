// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// free makes sure that no socket of the host has one of the ports: its owner
// would be cut off from everybody without a word.
func (c claim) free() error {
	for _, ip := range c.addresses() {
		for i := range c.many {
			port := c.first + i
			err := tryBind(c.protocol, ip, port)
			switch {
			case err == nil:
			case errors.Is(err, unix.EADDRINUSE):
				return fmt.Errorf("port %d of the host is in use%s", port, owner(c.protocol, port))
			case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ESOCKTNOSUPPORT):
				// No socket can be in the way; packets pass all the same.
			default:
				return fmt.Errorf("cannot find out whether port %d of the host is free: %w", port, err)
			}
		}
	}
	return nil
}

// tryBind binds a socket to the port and lets it go. Connections of the past are
// no obstacle, nor is an address that the host does not have yet.
func tryBind(protocol string, ip netip.Addr, port int) error {
	domain, kind, number := unix.AF_INET, unix.SOCK_STREAM, 0
	if ip.Is6() {
		domain = unix.AF_INET6
	}
	switch protocol {
	case "udp":
		kind = unix.SOCK_DGRAM
	case "sctp":
		number = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, number)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	options := [][3]int{{unix.SOL_IP, unix.IP_FREEBIND, 1}}
	if ip.Is6() {
		options = [][3]int{{unix.SOL_IPV6, unix.IPV6_FREEBIND, 1}, {unix.SOL_IPV6, unix.IPV6_V6ONLY, 1}}
	}
	if protocol != "udp" { // there it would let us share
		options = append(options, [3]int{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if ip.Is4() {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: ip.As4()})
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Port: port, Addr: ip.As16()})
}

// owner names the process that has the port, as far as that can be found out.
func owner(protocol string, port int) string {
	inodes := map[string]bool{}
	for _, file := range []string{protocol, protocol + "6"} {
		f, err := os.Open("/proc/thread-self/net/" + file)
		if err != nil {
			continue
		}
		// sl local_address rem_address st … inode (proc(5)); state 0A is LISTEN,
		// 07 is a datagram socket that is connected to nobody.
		for s := bufio.NewScanner(f); s.Scan(); {
			w := strings.Fields(s.Text())
			if len(w) < 10 || w[3] != "0A" && w[3] != "07" {
				continue
			}
			if _, hex, ok := strings.Cut(w[1], ":"); ok {
				if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
					inodes["socket:["+w[9]+"]"] = true
				}
			}
		}
		f.Close()
	}
	processes, err := os.ReadDir("/proc")
	if len(inodes) == 0 || err != nil {
		return ""
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		fds, err := os.ReadDir("/proc/" + p.Name() + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if link, err := os.Readlink("/proc/" + p.Name() + "/fd/" + fd.Name()); err == nil && inodes[link] {
				comm, _ := os.ReadFile("/proc/" + p.Name() + "/comm")
				return fmt.Sprintf(" by process %s (%s)", p.Name(), strings.TrimSpace(string(comm)))
			}
		}
	}
	return ""
}
