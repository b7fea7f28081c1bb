// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// DriverName is contract.Attached's Driver.
const DriverName = "cni"

// maxPorts bounds the ports of a pod that go to a plugin: each number of a range
// is an entry of its own there.
const maxPorts = 4096

// A Source is the networks that are configured in Dirs.
type Source struct {
	Runner
	Dirs []Dir
	// Register is a directory of the machine's (see registry).
	Register string

	loaded *Networks
}

// New is a source of the networks in dirs, with plugins from path.
func New(path []string, register string, foreign bool, dirs []string) *Source {
	s := &Source{Runner: Runner{Path: path}, Register: register}
	for _, d := range dirs {
		s.Dirs = append(s.Dirs, Dir{d, foreign})
	}
	return s
}

// PluginPath is where plugins are looked for: in the configuration's own
// directories (net.d, where rkt 1.x looked as well, and plugins/net beside it),
// where the user says, and where distributions put them.
func PluginPath(netD, more []string) []string {
	var path []string
	add := func(dirs ...string) {
		for _, d := range dirs {
			if !slices.Contains(path, d) {
				path = append(path, d)
			}
		}
	}
	add(netD...)
	for _, d := range netD {
		add(filepath.Join(filepath.Dir(d), "plugins", "net"))
	}
	add(more...)
	add("/usr/lib/rkt/plugins/net", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
	return path
}

// Networks reads the configurations, once.
func (s *Source) Networks() (*Networks, error) {
	if s.loaded == nil {
		all, err := Load(s.Dirs)
		if err != nil {
			return nil, err
		}
		s.loaded = all
	}
	return s.loaded, nil
}

// Find is network.Source's.
func (s *Source) Find(name string) (network.Driver, error) {
	all, err := s.Networks()
	if err != nil {
		return nil, err
	}
	n, ok := all.find(name)
	switch {
	case ok:
		return &driver{s, n}, nil
	case len(all.Broken) > 0: // the name may be in it
		return nil, fmt.Errorf("no configuration has that name, but there is a broken one: %w", all.Broken[0])
	}
	return nil, network.ErrUnknown
}

// Former is network.Source's. The driver gives back by records, and can do
// nothing else: the configuration may be another now, or gone.
func (s *Source) Former(a contract.Attached) (network.Driver, error) {
	if a.Driver != DriverName {
		return nil, network.ErrUnknown
	}
	return &driver{s, nil}, nil
}

// Kept is network.Keeper's.
func (s *Source) Kept(podDir string) ([]contract.Attached, error) {
	dir := filepath.Join(podDir, recordDir)
	names, err := configFiles(dir, ".json")
	if err != nil {
		return nil, fmt.Errorf("cannot list the records of attachments: %w", err)
	}
	var list []contract.Attached
	for _, name := range names {
		rec, err := readRecord(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, contract.Attached{NetName: rec.Network.Name, NetConf: rec.Network.File, IfName: rec.IfName, Driver: DriverName})
	}
	return list, nil
}

// Names is network.Source's.
func (s *Source) Names() ([]string, error) {
	all, err := s.Networks()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all.List {
		names = append(names, n.Name)
	}
	return names, nil
}

// driver is one network.
type driver struct {
	*Source
	n *Network
}

// Traits are guessed from how the usual plugins are configured.
func (d *driver) Traits() network.Traits {
	t := network.Traits{Name: DriverName}
	if d.n == nil {
		return t
	}
	t.Forwards = d.n.Capable(PortMappings)
	for _, p := range d.n.Plugins {
		t.Masquerade = t.Masquerade || p.flag("ipMasq")
		t.DefaultRoute = t.DefaultRoute || p.flag("isDefaultGateway") || p.defaultRoute()
	}
	return t
}

// flag is a member of the configuration that is true.
func (p *Plugin) flag(key string) bool {
	var on bool
	return json.Unmarshal(p.conf[key], &on) == nil && on
}

// defaultRoute tells whether the address plugin is told to hand out a default
// route.
func (p *Plugin) defaultRoute() bool {
	var ipam struct {
		Routes []struct {
			Dst string `json:"dst"`
		} `json:"routes"`
	}
	return json.Unmarshal(p.conf["ipam"], &ipam) == nil &&
		slices.ContainsFunc(ipam.Routes, func(r struct {
			Dst string `json:"dst"`
		}) bool {
			return r.Dst == "0.0.0.0/0" || r.Dst == "::/0"
		})
}

// Add is network.Driver's.
func (d *driver) Add(ctx context.Context, a *network.Attachment) (contract.Attached, error) {
	none := contract.Attached{}
	netns, err := namespacePath(a.NetNS)
	if err != nil {
		return none, err
	}
	rec := &Record{Network: d.n, ContainerID: string(a.UUID), IfName: a.Network.IfName, NetNS: netns, Path: d.Path}
	if rec.Args, rec.Capabilities, err = ParseArgs(a.Network.Args); err != nil {
		return none, err
	}
	if len(a.Ports) > 0 {
		if err := rec.Capabilities.Set(PortMappings, mappings(a.Ports)); err != nil {
			return none, err
		}
	}
	if err := rec.limit(a.Bandwidth); err != nil {
		return none, err
	}
	if err := d.Prepare(ctx, rec); err != nil {
		return none, err
	}
	unlock, err := registry(d.Register).lock(d.n.Name, flock.Shared)
	if err != nil {
		return none, err
	}
	defer unlock()
	file := recordFile(a.PodDir, rec.IfName)
	// 0700: a network's configuration may have its plugins' secrets.
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return none, fmt.Errorf("cannot keep a record: %w", err)
	}
	if err := registry(d.Register).enter(d.n.Name, member{rec.ContainerID, rec.IfName, a.DataDir}); err != nil {
		return none, err
	}
	failpoint.Hit("cni/registered")
	rec.keep = func() error { return rec.save(file) }
	if err := rec.note(); err != nil {
		return none, err
	}
	failpoint.Hit("cni/recorded")
	res, err := d.Runner.Add(ctx, rec)
	failpoint.Hit("cni/added")
	var attached contract.Attached
	if err == nil {
		attached, err = d.attached(a, rec, res)
		if err == nil {
			err = rec.note()
		}
		if err != nil {
			err = d.undo(ctx, rec, len(d.n.Plugins), err)
		}
	}
	if err != nil {
		var left *LeftError
		if !errors.As(err, &left) { // what is left is for Del, which needs the record
			err = errors.Join(err, d.forget(a, d.n.Name))
		}
		return none, err
	}
	return attached, nil
}

// forget removes an attachment's record: nothing of it is left.
func (d *driver) forget(a *network.Attachment, name string) error {
	failpoint.Hit("cni/before-forgotten")
	if err := os.Remove(recordFile(a.PodDir, a.Network.IfName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove a record: %w", err)
	}
	failpoint.Hit("cni/forgotten")
	return registry(d.Register).leave(name, string(a.UUID), a.Network.IfName)
}

// Del is network.Driver's. It does what the record says, whatever has become of
// the configuration.
func (d *driver) Del(ctx context.Context, a *network.Attachment) error {
	file := recordFile(a.PodDir, a.Network.IfName)
	rec, err := readRecord(file)
	if errors.Is(err, fs.ErrNotExist) {
		return registry(d.Register).leave(a.Network.Name, string(a.UUID), a.Network.IfName)
	}
	if err != nil {
		return err
	}
	rec.keep = func() error { return rec.save(file) }
	unlock, err := registry(d.Register).lock(rec.Network.Name, flock.Shared)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.unmakeRecord(ctx, rec, a.NetNS); err != nil {
		return err
	}
	return d.forget(a, rec.Network.Name)
}

// Check runs CHECK for an attachment of a pod that is alive.
func (s *Source) Check(ctx context.Context, a *network.Attachment) error {
	rec, err := readRecord(recordFile(a.PodDir, a.Network.IfName))
	if err != nil {
		return err
	}
	netns, err := namespacePath(a.NetNS)
	if err != nil {
		return err
	}
	unlock, err := registry(s.Register).lock(rec.Network.Name, flock.Shared)
	if err != nil {
		return err
	}
	defer unlock()
	return s.Runner.Check(ctx, rec, netns)
}

// unmakeRecord runs DEL with the pod's namespace, or with a stand-in for it.
func (d *driver) unmakeRecord(ctx context.Context, rec *Record, ns *os.File) error {
	if ns == nil {
		if err := awaitEnd(rec); err != nil {
			return err
		}
		stand, err := standIn(rec)
		if err != nil {
			return err
		}
		if stand != nil {
			defer stand.Close()
			ns = stand
		}
	}
	netns := ""
	if ns != nil {
		var err error
		if netns, err = namespacePath(ns); err != nil {
			return err
		}
	}
	return d.Runner.Del(ctx, rec, netns)
}

// awaitEnd waits until the kernel has taken the pod's namespace down, as far as
// the host sees it. An address that is given to the next pod before that would
// lose its route with the interface of the last one. It does not wait for ever:
// somebody may be keeping the namespace.
func awaitEnd(rec *Record) error {
	if rec.HostIndex == 0 {
		return nil
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	for range awaits {
		l, err := c.LinkAt(rec.HostIndex)
		if errors.Is(err, unix.ENODEV) || err == nil && l.Kind != "veth" {
			return nil
		}
		if err != nil {
			return err
		}
		time.Sleep(awaitStep)
	}
	return nil
}

// awaits times awaitStep is how long that may take; it takes 10 to 20 ms.
const (
	awaits    = 2500
	awaitStep = 2 * time.Millisecond
)

// readRecord reads a record's file. A file that a crash of the machine has left
// empty is as good as none: nothing that a network is made of outlives that, but
// for address leases, which rkt net gc finds.
func readRecord(path string) (*Record, error) {
	text, err := config.ReadRegular(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of an attachment: %w", err)
	}
	if len(text) == 0 {
		return nil, fs.ErrNotExist
	}
	rec, err := DecodeRecord(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of an attachment %q: %w", path, err)
	}
	return rec, nil
}

// namespacePath names a network namespace for plugins. They run on the host,
// and would change the host's own network if it were that.
func namespacePath(ns *os.File) (string, error) {
	if ns == nil {
		return "", errors.New("the pod has no network namespace")
	}
	st, err := ns.Stat()
	if err != nil {
		return "", err
	}
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return "", err
	}
	if os.SameFile(st, own) {
		return "", errors.New("the pod's network namespace is the host's")
	}
	fd, err := descriptor(ns)
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), err
}

// descriptor is the number of f's descriptor; f stays as it is, which Fd would
// not promise.
func descriptor(f *os.File) (number int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = c.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}

// mappings are ports in the form of the capability.
func mappings(ports []contract.Port) []PortMapping {
	var list []PortMapping
	for _, p := range ports {
		for i := range max(1, p.Count) {
			list = append(list, PortMapping{HostPort: p.HostPort + i, ContainerPort: p.PodPort + i, Protocol: p.Protocol, HostIP: p.HostIP})
		}
	}
	return list
}

// attached tells rkt's users what the pod was given. What results of the first
// versions do not tell, the kernel does.
func (d *driver) attached(a *network.Attachment, rec *Record, res *Result) (contract.Attached, error) {
	to := contract.Attached{NetName: d.n.Name, NetConf: d.n.File, IfName: rec.IfName, Driver: DriverName, Args: strings.Join(a.Network.Args, ";"),
		Resolv: res.DNS.resolv()}
	var err error
	if to.PluginPath, err = d.find(d.n.Kind()); err != nil {
		return to, err
	}
	mac, ips := res.Of(rec.IfName)
	for _, ip := range ips {
		addr, gateway := ip.Address.Addr(), ""
		if ip.Gateway.IsValid() {
			gateway = ip.Gateway.String()
		}
		switch {
		case addr.Is4() && to.IP == "":
			to.IP, to.Mask, to.Gateway = addr.String(), net.IP(net.CIDRMask(ip.Address.Bits(), 32)).String(), gateway
		case addr.Is6() && to.IP6 == "":
			to.IP6, to.Prefix6, to.Gateway6 = addr.String(), ip.Address.Bits(), gateway
		}
	}
	inside, err := netlink.DialIn(a.NetNS, unix.NETLINK_ROUTE)
	if err != nil {
		return to, err
	}
	defer inside.Close()
	l, err := inside.Link(rec.IfName)
	if err != nil {
		return to, fmt.Errorf("plugin %q: it made no interface: %w", d.n.Kind(), err)
	}
	if to.MAC = mac; mac == "" {
		to.MAC = net.HardwareAddr(l.MAC[:]).String()
	}
	if l.Kind != "veth" {
		return to, nil
	}
	host, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return to, err
	}
	defer host.Close()
	// A plugin may have put the other end anywhere.
	if other, err := host.LinkAt(l.Lower); err == nil && other.Kind == "veth" {
		rec.HostIndex, to.HostIfName = l.Lower, other.Name
	}
	return to, nil
}

// resolv is the content of a resolv.conf; "" for nothing.
func (d *DNS) resolv() string {
	var b strings.Builder
	for _, s := range d.Nameservers {
		b.WriteString("nameserver " + s + "\n")
	}
	search := d.Search
	if len(search) == 0 && d.Domain != "" {
		search = []string{d.Domain}
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if len(d.Options) > 0 {
		b.WriteString("options " + strings.Join(d.Options, " ") + "\n")
	}
	return b.String()
}
