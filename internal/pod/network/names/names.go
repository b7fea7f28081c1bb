// SPDX-License-Identifier: Apache-2.0

// Package names answers a pod's questions for the names of its neighbours: a
// resolver of its own for each pod that asked for it, which ends with the pod.
// What it does not know it passes to the host's name servers.
//
// What it reads comes from inside a pod, so it is small, and does its work
// without any privilege.
package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// Address is where the resolver listens in the pod, as systemd-resolved does on
// hosts.
const Address = "127.0.0.53"

// Resolv is the pod's resolv.conf.
const Resolv = "# Written by rkt.\n\nnameserver " + Address + "\n"

// Limits for what one pod may keep busy.
const (
	maxPending = 64
	patience   = 5 * time.Second
)

// Lookup finds the addresses of a name; ok is false for a name that no pod has.
type Lookup func(name string) (addresses []netip.Addr, ok bool)

// A Resolver is one pod's.
type Resolver struct {
	udp    *net.UDPConn
	tcp    *net.TCPListener
	lookup Lookup
	// upstream are the name servers to ask for everything else.
	upstream func() []netip.AddrPort
	pending  chan struct{}
}

// Listen opens the resolver's sockets in a pod's network namespace.
func Listen(ns *os.File, lookup Lookup) (*Resolver, error) {
	r := &Resolver{lookup: lookup, upstream: hostServers, pending: make(chan struct{}, maxPending)}
	err := netlink.In(ns, func() error { return r.listen(netip.AddrPortFrom(netip.MustParseAddr(Address), 53)) })
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the pod's questions: %w", err)
	}
	return r, nil
}

func (r *Resolver) listen(at netip.AddrPort) (err error) {
	if r.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
		return err
	}
	at = r.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	if r.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err != nil {
		r.udp.Close()
	}
	return err
}

// Close ends Serve.
func (r *Resolver) Close() error { return errors.Join(r.udp.Close(), r.tcp.Close()) }

// Serve answers until Close.
func (r *Resolver) Serve(ctx context.Context) {
	go r.serveTCP(ctx)
	buf := make([]byte, 4096)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		ask := append([]byte(nil), buf[:n]...)
		r.limited(func() {
			if answer := r.answer(ctx, "udp", ask, maxUDP); answer != nil {
				_, _ = r.udp.WriteToUDPAddrPort(answer, from)
			}
		})
	}
}

// limited runs f beside, unless too much is going on: who asks will ask again.
func (r *Resolver) limited(f func()) bool {
	select {
	case r.pending <- struct{}{}:
		go func() {
			defer func() { <-r.pending }()
			f()
		}()
		return true
	default:
		return false
	}
}

func (r *Resolver) serveTCP(ctx context.Context) {
	for {
		c, err := r.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if !r.limited(func() {
			defer c.Close()
			r.talk(ctx, c)
		}) {
			c.Close()
		}
	}
}

// talk answers what comes over one connection.
func (r *Resolver) talk(ctx context.Context, c net.Conn) {
	for {
		if c.SetDeadline(time.Now().Add(patience)) != nil {
			return
		}
		ask, err := readFramed(c)
		if err != nil {
			return
		}
		answer := r.answer(ctx, "tcp", ask, maxMessage)
		if answer == nil || writeFramed(c, answer) != nil {
			return
		}
	}
}

func readFramed(c io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

func writeFramed(c io.Writer, b []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// answer is what to say to a message; nil is nothing.
func (r *Resolver) answer(ctx context.Context, network string, ask []byte, limit int) []byte {
	q, err := parseQuery(ask)
	switch {
	case err != nil && (len(ask) < headerSize || ask[2]&0x80 != 0):
		return nil
	case err != nil:
		return q.reply(codeRefusedForm, nil, limit)
	case q.opcode() != 0:
		return q.reply(codeCannot, nil, limit)
	}
	if q.class == classIN && q.name != "" {
		if addresses, ok := r.lookup(q.name); ok {
			return q.reply(0, addresses, limit)
		}
		if !strings.Contains(q.name, ".") {
			return q.reply(codeNoName, nil, limit) // nobody outside knows such names
		}
	}
	if answer := r.forward(ctx, network, ask); answer != nil {
		return answer
	}
	return q.reply(codeFailure, nil, limit)
}

// forward asks the host's servers, one after the other.
func (r *Resolver) forward(ctx context.Context, network string, ask []byte) []byte {
	for _, server := range r.upstream() {
		d := net.Dialer{Timeout: patience}
		c, err := d.DialContext(ctx, network, server.String())
		if err != nil {
			continue
		}
		answer, err := exchange(c, network, ask)
		c.Close()
		if err == nil {
			return answer
		}
	}
	return nil
}

func exchange(c net.Conn, network string, ask []byte) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if network == "tcp" {
		if err := writeFramed(c, ask); err != nil {
			return nil, err
		}
		return readFramed(c)
	}
	if _, err := c.Write(ask); err != nil {
		return nil, err
	}
	buf := make([]byte, 8192)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= headerSize && buf[0] == ask[0] && buf[1] == ask[1] {
			return buf[:n], nil
		}
	}
}

// hostServers are those of the host's resolv.conf.
func hostServers() []netip.AddrPort {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil
	}
	return servers(string(b))
}

func servers(text string) (list []netip.AddrPort) {
	const most = 3 // resolv.conf(5), MAXNS
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 || w[0] != "nameserver" || len(list) == most {
			continue
		}
		if a, err := netip.ParseAddr(w[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list
}

// Confine gives up for good what the process may do beyond what anybody may, on
// all its threads: from then on it only answers.
func Confine() error {
	if err := noNewPrivileges(); err != nil {
		return err
	}
	return dropCapabilities()
}
