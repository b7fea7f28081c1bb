// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func TestFind(t *testing.T) {
	n := &Networks{DataDir: "/nowhere"}
	for _, name := range []string{"default", "default-restricted"} {
		d, err := n.Find(name)
		if err != nil || d.Traits().Masquerade != (name == "default") || d.Traits().DefaultRoute != (name == "default") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		if _, err := n.Former(contract.Attached{NetName: name, Driver: DriverName}); err != nil {
			t.Error(err)
		}
	}
	for _, err := range []error{second(n.Find("lan")), second(n.Former(contract.Attached{NetName: "default", Driver: "cni"}))} {
		if !errors.Is(err, network.ErrUnknown) {
			t.Error(err)
		}
	}
}

func second(_ network.Driver, err error) error { return err }

// The subnets of a network are all different, of one size, and private.
func TestSubnets(t *testing.T) {
	for _, d := range definitions() {
		seen := map[netip.Prefix]bool{}
		first := netip.MustParsePrefix(d.first)
		for p := range d.subnets {
			if seen[p] || p.Masked() != p || p.Bits() != first.Bits() || !p.Addr().IsPrivate() {
				t.Fatalf("%s: %s", d.name, p)
			}
			seen[p] = true
		}
		if len(seen) < 200 || !seen[first] {
			t.Errorf("%s has %d subnets", d.name, len(seen))
		}
	}
}

func TestFree(t *testing.T) {
	p := netip.MustParsePrefix("172.16.28.0/22")
	route := func(dst string, kind, index int) netlink.Route {
		return netlink.Route{Destination: netip.MustParsePrefix(dst), Type: kind, Index: index}
	}
	for _, c := range []struct {
		route netlink.Route
		want  bool
	}{
		{route("0.0.0.0/0", unix.RTN_UNICAST, 1), true},
		{route("128.0.0.0/1", unix.RTN_UNICAST, 1), true},
		{route("172.16.0.0/12", unix.RTN_UNICAST, 1), false},
		{route("172.16.31.255/32", unix.RTN_LOCAL, 1), false},
		{route("172.16.32.0/24", unix.RTN_UNICAST, 1), true},
		{route("172.16.28.5/32", unix.RTN_UNICAST, 9), true}, // ours
		{route("172.16.0.0/12", unix.RTN_BLACKHOLE, 1), true},
	} {
		if free(p, []netlink.Route{c.route}, map[int]bool{9: true}, nil) != c.want {
			t.Errorf("with a route to %s: want %v", c.route.Destination, c.want)
		}
	}
	if free(p, nil, nil, []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16")}) {
		t.Error("another network's subnet is free")
	}
}

func TestArgs(t *testing.T) {
	w, err := parseArgs([]string{"ip=172.16.28.5", "IP6=fd00::5"})
	if err != nil || w.ip4.String() != "172.16.28.5" || w.ip6.String() != "fd00::5" {
		t.Errorf("%+v, %v", w, err)
	}
	for _, a := range []string{"IP", "IP=", "IP=::1", "IP6=::ffff:1.2.3.4", "IP6=fe80::1%eth0", "X=1"} {
		if _, err := parseArgs([]string{a}); err == nil {
			t.Errorf("%q was accepted", a)
		}
	}
}

func testPool(t *testing.T, uuid pod.UUID, alive func(pod.UUID) bool) pool {
	t.Helper()
	l, err := lease.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	k, err := l.Kind("leases")
	if err != nil {
		t.Fatal(err)
	}
	return pool{k, lease.Holder{UUID: uuid, Note: "eth0"}, alive}
}

const (
	someone = pod.UUID("11111111-1111-4111-8111-111111111111")
	another = pod.UUID("22222222-2222-4222-8222-222222222222")
)

func TestPool(t *testing.T) {
	r := record{subnet4: netip.MustParsePrefix("10.0.0.0/29"), subnet6: netip.MustParsePrefix("fd00::/64")}
	p := testPool(t, someone, func(id pod.UUID) bool { return id == someone })
	var got []string
	for range 5 { // 2 to 6; 7 is the broadcast's
		a, b, err := p.take(r, wish{})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String(), b.String())
	}
	if want := "10.0.0.2 fd00::2 10.0.0.3 fd00::3 10.0.0.4 fd00::4 10.0.0.5 fd00::5 10.0.0.6 fd00::6"; strings.Join(got, " ") != want {
		t.Errorf("%q", got)
	}
	if _, _, err := p.take(r, wish{}); err == nil || !strings.Contains(err.Error(), "no address of 10.0.0.0/29 is free: pods hold all 5") {
		t.Errorf("%v", err)
	}
	// Nothing of an attempt that fails is held.
	if _, _, err := p.take(r, wish{ip6: netip.MustParseAddr("fd00::77")}); err == nil {
		t.Error("a sixth pod")
	}
	if names, _ := p.kind.Names(); len(names) != 10 {
		t.Errorf("%q", names)
	}
	// What was given back last is given out last.
	for _, a := range []string{"10.0.0.6", "10.0.0.3"} {
		if err := p.kind.GiveBack(a, someone); err != nil {
			t.Fatal(err)
		}
	}
	if a, _, err := p.take(r, wish{}); err != nil || a.String() != "10.0.0.3" {
		t.Errorf("after the sixth comes %s, %v", a, err)
	}
	// The dead give way.
	p.holder.UUID, p.alive = another, func(id pod.UUID) bool { return id == another }
	if a, b, err := p.take(r, wish{ip4: netip.MustParseAddr("10.0.0.4"), ip6: netip.MustParseAddr("fd00::abc")}); err != nil || a.String() != "10.0.0.4" || b.String() != "fd00::abc" {
		t.Errorf("%s %s %v", a, b, err)
	}
	for _, bad := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.0.8", "9.255.255.255"} {
		if _, _, err := p.take(r, wish{ip4: netip.MustParseAddr(bad)}); err == nil || !strings.Contains(err.Error(), "is not one of") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{"fd00::", "fd00::1", "fd00:0:0:1::2"} {
		if _, _, err := p.take(r, wish{ip6: netip.MustParseAddr(bad)}); err == nil {
			t.Errorf("%s was given", bad)
		}
	}
	// Without IPv6 there is none to be had.
	r.subnet6 = netip.Prefix{}
	if _, b, err := p.take(r, wish{}); err != nil || b.IsValid() {
		t.Errorf("%s, %v", b, err)
	}
	if _, _, err := p.take(r, wish{ip6: netip.MustParseAddr("fd00::5")}); err == nil || !strings.Contains(err.Error(), "no IPv6") {
		t.Errorf("%v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add((record{subnet4: netip.MustParsePrefix("172.16.28.0/22"), subnet6: netip.MustParsePrefix("fd00::/64"), mtu: 1400, where: "boot net:[1]"}).encode())
	f.Add([]byte(`{"subnet4":"10.0.0.0/8"}`))
	f.Add([]byte(`{"subnet4":"::/0"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		if again, err := parseRecord(r.encode()); err != nil || again != r {
			t.Errorf("%+v reads as %+v, %v", r, again, err)
		}
		if !r.subnet4.Contains(r.gateway4()) || r.subnet6.IsValid() && !r.subnet6.Contains(r.gateway6()) {
			t.Errorf("%+v", r)
		}
	})
}

func TestRecordOf(t *testing.T) {
	n := &Networks{DataDir: t.TempDir()}
	d := &driver{definitions()[0], n}
	if _, err := d.load(); !errors.Is(err, errNone) {
		t.Errorf("%v", err)
	}
	l, err := lease.Open(Dir(n.DataDir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := d.leases(l); err != nil {
		t.Fatal(err)
	}
	r := record{subnet4: netip.MustParsePrefix("10.0.0.0/22"), where: "here"}
	if err := d.store(r); err != nil {
		t.Fatal(err)
	}
	if got, err := d.load(); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	if rules := n.Rules(); len(rules) != 1 || !rules[0].Masquerade || !slices.Equal(rules[0].Subnets, []netip.Prefix{r.subnet4}) {
		t.Errorf("%+v", rules)
	}
}
