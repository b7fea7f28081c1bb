// SPDX-License-Identifier: Apache-2.0

// Package activation is socket activation: it takes the sockets that the caller
// of rkt has opened, by the protocol of sd_listen_fds(3), and finds for each the
// app whose port it is.
package activation

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// first is the descriptor that the first socket has (SD_LISTEN_FDS_START).
const first = 3

// maxSockets bounds how many descriptors a caller may hand over.
const maxSockets = 512

// Socket is one that the caller opened.
type Socket struct {
	FD   int
	Name string // as the caller has it (FileDescriptorName=); "" if it has none
	// Kinds are the protocols of a port that it may serve; the first is its own.
	Kinds []string
	// At is where it is bound, if it has a port.
	At netip.AddrPort
}

func (s *Socket) String() string {
	text := "descriptor " + strconv.Itoa(s.FD) + " ("
	if s.Name != "" {
		text += strconv.Quote(s.Name) + ", "
	}
	if s.At.IsValid() {
		return text + s.Kinds[0] + " " + s.At.String() + ")"
	}
	return text + "without a port number)"
}

// Given is what the caller gave.
type Given struct {
	Sockets []Socket
	other   int // the process that it was meant for, if that is not this one
}

// variables are all by which the protocol speaks.
var variables = []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}

// Take takes what the caller gave: the variables are gone from the environment
// then, and no program that is started inherits a descriptor by itself. It is to
// be called once, before anything is opened.
func Take() (g Given, err error) {
	count, pid, names := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range variables {
		if err := os.Unsetenv(v); err != nil {
			return g, err
		}
	}
	if count == "" || pid == "" {
		return g, nil
	}
	process, err := strconv.Atoi(pid)
	if err != nil || process < 1 {
		return g, fmt.Errorf("cannot take the caller's sockets: LISTEN_PID=%q is no process", pid)
	}
	if process != os.Getpid() {
		g.other = process
		return g, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return g, fmt.Errorf("cannot take the caller's sockets: LISTEN_FDS=%q is not a number up to %d", count, maxSockets)
	}
	var list []string
	if names != "" {
		if list = strings.Split(names, ":"); len(list) != n {
			return g, fmt.Errorf("cannot take the caller's sockets: there are %d, and LISTEN_FDNAMES has %d names", n, len(list))
		}
	}
	for i := range n {
		s := Socket{FD: first + i}
		if list != nil {
			s.Name = list[i]
		}
		if _, err := unix.FcntlInt(uintptr(s.FD), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return g, fmt.Errorf("cannot take the caller's sockets: LISTEN_FDS=%d, and descriptor %d is not open", n, s.FD)
		}
		if err := s.look(); err != nil {
			return g, fmt.Errorf("cannot take the caller's sockets: descriptor %d: %w", s.FD, err)
		}
		g.Sockets = append(g.Sockets, s)
	}
	return g, nil
}

// look finds out what the socket is. Only of IP sockets the number is a port.
func (s *Socket) look() error {
	of := func(option int) (int, error) { return unix.GetsockoptInt(s.FD, unix.SOL_SOCKET, option) }
	domain, err := of(unix.SO_DOMAIN)
	if err == unix.ENOTSOCK {
		return errors.New("it is not a socket; rkt gives nothing else to apps")
	}
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	kind, err := of(unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	protocol, err := of(unix.SO_PROTOCOL)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	inet := domain == unix.AF_INET || domain == unix.AF_INET6
	switch {
	case inet && protocol == unix.IPPROTO_SCTP:
		s.Kinds = []string{"sctp"}
	case inet && kind == unix.SOCK_STREAM:
		s.Kinds = []string{"tcp"}
	case inet && kind == unix.SOCK_DGRAM:
		s.Kinds = []string{"udp"}
	case inet:
		return errors.New("it is neither of tcp, udp nor sctp")
	case kind == unix.SOCK_DGRAM:
		s.Kinds = []string{"udp"}
	default:
		s.Kinds = []string{"tcp", "sctp"}
	}
	if !inet {
		return nil
	}
	at, err := unix.Getsockname(s.FD)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		s.At = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		s.At = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return nil
}

// wanted is a port of an app's that is to be a socket of the caller's.
type wanted struct {
	app  int
	name string // the app's
	port *contract.Socket
	got  []int // indices of sockets
	// seen are the numbers that there is a socket of; 0 is one found by name,
	// which may have any.
	seen map[int]bool
}

// has tells whether the socket is bound where the port says.
func (w *wanted) has(s *Socket) bool {
	p := w.port
	number := int(s.At.Port())
	if !s.At.IsValid() || !slices.Contains(s.Kinds, p.Protocol) || number < p.Port || number >= p.Port+max(p.Count, 1) {
		return false
	}
	if p.IP == "" {
		return true
	}
	ip, err := netip.ParseAddr(p.IP)
	return err == nil && ip.Unmap() == s.At.Addr()
}

// For gives each app of the document the sockets that are its ports', in the
// order of its ports: by the names that the caller gave them, else by protocol
// and number. An error: a socket that no port wants or two, a port without
// a socket. A pod that wants none is given none, whatever there is.
func (g Given) For(doc *contract.Pod) ([][]contract.InheritedSocket, error) {
	var ports []*wanted
	for i := range doc.Apps {
		for j := range doc.Apps[i].Sockets {
			ports = append(ports, &wanted{app: i, name: doc.Apps[i].Name, port: &doc.Apps[i].Sockets[j], seen: map[int]bool{}})
		}
	}
	if ports == nil {
		return nil, nil
	}
	for i := range g.Sockets {
		if err := give(i, &g.Sockets[i], ports); err != nil {
			return nil, err
		}
	}
	list := make([][]contract.InheritedSocket, len(doc.Apps))
	for _, w := range ports {
		if err := g.satisfied(w); err != nil {
			return nil, err
		}
		for _, i := range w.got {
			list[w.app] = append(list[w.app], contract.InheritedSocket{FD: g.Sockets[i].FD, Name: w.port.Name})
		}
	}
	return list, nil
}

// give gives the socket to the one port that wants it.
func give(index int, s *Socket, ports []*wanted) error {
	var to *wanted
	claim := func(w *wanted) error {
		if to != nil {
			return fmt.Errorf("%s is wanted by two ports, %q of app %q and %q of app %q", s, to.port.Name, to.name, w.port.Name, w.name)
		}
		to = w
		return nil
	}
	for _, w := range ports {
		if s.Name != w.port.Name {
			continue
		}
		if !slices.Contains(s.Kinds, w.port.Protocol) {
			return fmt.Errorf("%s cannot be port %q of app %q, which is %s", s, w.port.Name, w.name, w.port.Protocol)
		}
		if err := claim(w); err != nil {
			return err
		}
		w.seen[0] = true
	}
	for _, w := range ports {
		if to != nil && to.port.Name == s.Name || !w.has(s) {
			continue
		}
		if err := claim(w); err != nil {
			return err
		}
	}
	if to == nil {
		return hint.Wrap(fmt.Errorf("no socket-activated port is %s, which the caller opened", s),
			"name it as the port is named (FileDescriptorName=), or open the port's number")
	}
	to.seen[int(s.At.Port())] = true
	to.got = append(to.got, index)
	return nil
}

// satisfied makes sure that the port has its sockets.
func (g Given) satisfied(w *wanted) error {
	if w.seen[0] {
		return nil
	}
	for n := w.port.Port; n < w.port.Port+max(w.port.Count, 1); n++ {
		if w.seen[n] {
			continue
		}
		why := "the caller opened none"
		switch {
		case g.other > 0:
			why = fmt.Sprintf("those that there are were meant for process %d (LISTEN_PID)", g.other)
		case len(g.Sockets) > 0:
			why = fmt.Sprintf("none of the caller's %d is it", len(g.Sockets))
		}
		return hint.Wrap(fmt.Errorf("port %q of app %q (%s %d) has no socket: %s", w.port.Name, w.name, w.port.Protocol, n, why),
			fmt.Sprintf("start rkt by a systemd socket unit, or: systemd-socket-activate --listen=%d rkt …", n))
	}
	return nil
}
