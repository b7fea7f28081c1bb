// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/stage1/kvm/wire"
)

// network gives the machine's interfaces the names, addresses and routes that the
// host's have.
func network(m *wire.Machine) error {
	if len(m.Interfaces) == 0 {
		return nil
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	at := map[string]int{}
	for i := range m.Interfaces {
		if at[m.Interfaces[i].Name], err = setInterface(c, &m.Interfaces[i]); err != nil {
			return fmt.Errorf("cannot set up interface %s: %w", m.Interfaces[i].Name, err)
		}
	}
	for i := range m.Routes {
		if err := setRoute(c, &m.Routes[i], at); err != nil {
			return fmt.Errorf("cannot make the route to %s: %w", m.Routes[i].Destination, err)
		}
	}
	return nil
}

func setInterface(c *netlink.Conn, i *wire.Interface) (int, error) {
	index, err := findInterface(c, i.MAC)
	if err != nil {
		return 0, err
	}
	messages := []*netlink.Message{netlink.Change(index, i.Name, i.MTU), netlink.Up(index)}
	for _, a := range i.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return 0, err
		}
		messages = append(messages, netlink.Address(index, p))
	}
	return index, c.Do(messages...)
}

// findInterface waits for the interface with a hardware address: devices are found
// a moment after the module was loaded.
func findInterface(c *netlink.Conn, mac string) (int, error) {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
		links, err := c.Links()
		if err != nil {
			return 0, err
		}
		for _, l := range links {
			if l.Address() == mac {
				return l.Index, nil
			}
		}
	}
	return 0, errors.New("no interface has the address " + mac)
}

func setRoute(c *netlink.Conn, r *wire.Route, at map[string]int) (err error) {
	route := netlink.Route{Index: at[r.Interface], Priority: r.Metric}
	if route.Destination, err = netip.ParsePrefix(r.Destination); err != nil {
		return err
	}
	if r.Gateway != "" {
		if route.Gateway, err = netip.ParseAddr(r.Gateway); err != nil {
			return err
		}
	}
	if r.Source != "" {
		if route.Source, err = netip.ParseAddr(r.Source); err != nil {
			return err
		}
	}
	return c.Do(route.Message())
}
