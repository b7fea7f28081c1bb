// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/stage1/appinit/poddir"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
	"github.com/rkt/rkt/internal/stage1/networks"
)

// podNetwork is the network namespace that stage0 has attached to the pod's
// networks. All that comes to an interface in it goes to a tap device beside it, and
// back: the guest has the interface's hardware address, addresses and routes, and
// whoever made the interface need not know of it.
type podNetwork struct {
	namespace *os.File
	stays     int // contract.EnvNetworkFD; -1 without
	program   string
	taps      []vmm.Tap
	about     wire.Machine // Interfaces and Routes
}

// openNetwork takes what stage0 has left, and puts the words of networks for
// resolv.conf into the document.
func openNetwork(doc *contract.Pod) (*podNetwork, error) {
	fd, err := poddir.Optional(contract.EnvNetNS)
	if err != nil || fd < 0 {
		return nil, err
	}
	n := &podNetwork{namespace: os.NewFile(uintptr(fd), "the pod's network namespace"), program: os.Getenv(contract.EnvNetwork)}
	if n.stays, err = poddir.Optional(contract.EnvNetworkFD); err != nil {
		return nil, err
	}
	if text, ok := os.LookupEnv(contract.EnvResolv); ok && doc.Resolv == nil {
		doc.Resolv = &text
	}
	if err := netlink.In(n.namespace, n.connect); err != nil {
		return n, fmt.Errorf("cannot connect the virtual machine to the pod's networks: %w", err)
	}
	return n, nil
}

// connect makes a tap device for each interface, in whose namespace the calling
// thread is.
func (n *podNetwork) connect() error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	links, err := c.Links()
	if err != nil {
		return err
	}
	names := map[int]string{}
	for _, l := range links {
		if l.MAC == [6]byte{} { // loopback, and what is no Ethernet
			continue
		}
		if err := n.tap(c, l, "tap"+strconv.Itoa(len(n.taps))); err != nil {
			return fmt.Errorf("interface %s: %w", l.Name, err)
		}
		names[l.Index] = l.Name
	}
	for _, v6 := range []bool{false, true} {
		if err := n.routes(c, v6, names); err != nil {
			return err
		}
	}
	return nil
}

func (n *podNetwork) tap(c *netlink.Conn, l netlink.Link, name string) error {
	addresses, err := c.Addresses(l.Index)
	if err != nil {
		return err
	}
	fd, err := netlink.OpenTap(name)
	if err != nil {
		return err
	}
	mac := l.Address()
	n.taps = append(n.taps, vmm.Tap{File: os.NewFile(uintptr(fd), name), MAC: mac, MTU: l.MTU})
	i := wire.Interface{MAC: mac, Name: l.Name, MTU: l.MTU}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, a.String())
	}
	n.about.Interfaces = append(n.about.Interfaces, i)
	tap, err := c.Link(name)
	if err != nil {
		return err
	}
	messages := append(netlink.Redirect(l.Index, tap.Index), netlink.Redirect(tap.Index, l.Index)...)
	return c.Do(append(messages, netlink.Change(tap.Index, name, l.MTU), netlink.Up(tap.Index))...)
}

// routes notes the routes of the interfaces that a tap stands for.
func (n *podNetwork) routes(c *netlink.Conn, v6 bool, names map[int]string) error {
	list, err := c.Routes(v6)
	if err != nil {
		return err
	}
	// Those on the link first: gateways have to be reachable.
	for _, gateways := range []bool{false, true} {
		for _, r := range list {
			name, ours := names[r.Index]
			if !ours || r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST || r.Gateway.IsValid() != gateways ||
				r.Destination.Addr().IsLinkLocalUnicast() {
				continue
			}
			route := wire.Route{Interface: name, Destination: r.Destination.String(), Metric: r.Priority}
			if r.Gateway.IsValid() {
				route.Gateway = r.Gateway.String()
			}
			if r.Source.IsValid() {
				route.Source = r.Source.String()
			}
			n.about.Routes = append(n.about.Routes, route)
		}
	}
	return nil
}

// devices are the machine's; none without a network.
func (n *podNetwork) devices() []vmm.Tap {
	if n == nil {
		return nil
	}
	return n.taps
}

// describe tells the guest of its interfaces.
func (n *podNetwork) describe(m *wire.Machine) {
	if n != nil {
		m.Interfaces, m.Routes = n.about.Interfaces, n.about.Routes
	}
}

// release gives the networks back, once the machine has ended: the namespace ends
// with its last descriptor, and interfaces with it.
func (n *podNetwork) release() error {
	if n == nil {
		return nil
	}
	for _, t := range n.taps {
		t.File.Close()
	}
	n.namespace.Close()
	return networks.Leave(n.program, n.stays)
}
