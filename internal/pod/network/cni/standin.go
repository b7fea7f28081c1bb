// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// standIn makes a network namespace that has what DEL looks for in a pod's: the
// interfaces of the record's result, down, with their addresses. Plugins need
// it: bridge and ptp find the masquerading rules that they have to remove by the
// addresses of the interface, and where the namespace is gone they leave them.
// For a record without a result, whose ADD was cut short, the addresses are those
// that host-local gave the pod. The caller closes it, and with that it is gone.
func standIn(rec *Record) (*os.File, error) {
	res, err := rec.Outcome()
	if err == nil && res == nil {
		res, err = rec.guess()
	}
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot open the own network namespace: %w", err)
	}
	defer own.Close()
	ns, err := newNamespace(rec.IfName, res)
	fd, ferr := descriptor(own)
	if ferr == nil {
		ferr = os.NewSyscallError("setns", unix.Setns(fd, unix.CLONE_NEWNET))
	}
	if ferr == nil {
		runtime.UnlockOSThread()
	} // else the thread ends with its goroutine
	if err = errors.Join(err, ferr); err != nil {
		if ns != nil {
			ns.Close()
		}
		return nil, fmt.Errorf("cannot stand in for the pod's network namespace: %w", err)
	}
	return ns, nil
}

// newNamespace moves the thread into a new namespace and returns that, also with
// an error.
func newNamespace(ifName string, res *Result) (ns *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, err
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return ns, err
	}
	defer c.Close()
	names := []string{ifName}
	for _, in := range res.Interfaces {
		if in.Sandbox != "" && in.Name != "" && in.Name != "lo" && !slices.Contains(names, in.Name) {
			names = append(names, in.Name)
		}
	}
	for i, name := range names {
		if err := c.Do(pair(name)); err != nil {
			return ns, fmt.Errorf("cannot make interface %s: %w", name, err)
		}
		l, err := c.Link(name)
		if err != nil {
			return ns, err
		}
		_, ips := res.Of(name)
		for _, ip := range ips {
			if ip.Interface < 0 && i > 0 {
				continue
			}
			if err := c.Do(netlink.Address(l.Index, ip.Address)); err != nil {
				return ns, err
			}
		}
	}
	return ns, nil
}

// pair is a message that makes a pair of interfaces, one of them with that name:
// no kernel that has networks for pods is without those.
func pair(name string) *netlink.Message {
	m := netlink.NewMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL).Bytes(make([]byte, unix.SizeofIfInfomsg)...)
	return m.Text(unix.IFLA_IFNAME, name).Nest(unix.IFLA_LINKINFO, func() { m.Text(unix.IFLA_INFO_KIND, "veth") })
}

// guess is what ADD may have come to: the pod's interface, with the addresses
// that are leased to the pod.
func (r *Record) guess() (*Result, error) {
	leases, err := r.Network.Leases()
	if err != nil {
		return nil, err
	}
	res := &Result{Interfaces: []Interface{{Name: r.IfName, Sandbox: r.NetNS}}}
	for _, l := range leases {
		if l.ContainerID == r.ContainerID && (l.IfName == r.IfName || l.IfName == "") {
			res.IPs = append(res.IPs, IP{Address: netip.PrefixFrom(l.Address, l.Address.BitLen()), Interface: 0})
		}
	}
	return res, nil
}
