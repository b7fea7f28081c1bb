// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
)

func testClaim(protocol, ip string, first, many int) claim {
	c := claim{protocol: protocol, first: first, many: many, podPort: 80, pod4: netip.MustParseAddr("10.0.0.2"), pod6: netip.MustParseAddr("fd00::2")}
	if ip != "" {
		c.ip = netip.MustParseAddr(ip)
	}
	return c
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		a, b claim
		want bool
	}{
		{testClaim("tcp", "", 80, 1), testClaim("tcp", "", 80, 1), true},
		{testClaim("tcp", "", 80, 1), testClaim("udp", "", 80, 1), false},
		{testClaim("tcp", "", 80, 1), testClaim("tcp", "", 81, 1), false},
		{testClaim("tcp", "", 80, 10), testClaim("tcp", "", 89, 1), true},
		{testClaim("tcp", "", 80, 10), testClaim("tcp", "", 90, 1), false},
		{testClaim("tcp", "192.0.2.1", 80, 1), testClaim("tcp", "", 80, 1), true},
		{testClaim("tcp", "192.0.2.1", 80, 1), testClaim("tcp", "0.0.0.0", 80, 1), true},
		{testClaim("tcp", "192.0.2.1", 80, 1), testClaim("tcp", "::", 80, 1), false},
		{testClaim("tcp", "192.0.2.1", 80, 1), testClaim("tcp", "192.0.2.2", 80, 1), false},
		{testClaim("tcp", "2001:db8::1", 80, 1), testClaim("tcp", "", 80, 1), true},
		{testClaim("tcp", "::", 80, 1), testClaim("tcp", "0.0.0.0", 80, 1), false},
	} {
		if c.a.conflicts(c.b) != c.want || c.b.conflicts(c.a) != c.want {
			t.Errorf("%s and %s: want %v", c.a.name(), c.b.name(), c.want)
		}
	}
}

func TestClaims(t *testing.T) {
	r := Request{UUID: "u", Attached: contract.Attached{NetName: "n", IP: "10.0.0.2"},
		Ports: []contract.Port{{Name: "a", Protocol: "tcp", HostPort: 80, PodPort: 8080, Count: 2}, {Name: "b", Protocol: "udp", HostPort: 80, PodPort: 1, HostIP: "::ffff:127.0.0.1"}}}
	claims, err := r.claims()
	if err != nil || len(claims) != 2 || claims[0].name() != "tcp-80-2-any" || claims[1].name() != "udp-80-1-127.0.0.1" || claims[0].note() != "10.0.0.2 - 8080" {
		t.Errorf("%+v, %v", claims, err)
	}
	if f := claims[0].forwards("u"); len(f) != 2 || f[1].HostPort != 81 || f[1].PodPort != 8081 || !f[1].HostIP.IsUnspecified() {
		t.Errorf("%+v", f)
	}
	for words, p := range map[string]contract.Port{
		"cannot be forwarded":  {Protocol: "icmp", HostPort: 1, PodPort: 1},
		"at most":              {Protocol: "tcp", HostPort: 1, PodPort: 1, Count: MaxPorts + 1},
		"is not an IP address": {Protocol: "tcp", HostPort: 1, PodPort: 1, HostIP: "x"},
		"has no address":       {Protocol: "tcp", HostPort: 1, PodPort: 1, HostIP: "2001:db8::1"},
		"want the same port":   {Protocol: "tcp", HostPort: 81, PodPort: 1},
	} {
		bad := r
		bad.Ports = append(r.Ports[:2:2], p)
		if _, err := bad.claims(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%+v: %v, want %s", p, err, words)
		}
	}
}

// A port that a socket has is found, whichever address that is of.
func TestFree(t *testing.T) {
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp": "[::]:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		err = testClaim("tcp", "", port, 1).free()
		if err == nil || !strings.Contains(err.Error(), "is in use by process ") || !strings.Contains(err.Error(), "(forward.test)") {
			t.Errorf("%s: %v", network, err)
		}
		if err := testClaim("udp", "", port, 1).free(); err != nil {
			t.Errorf("another protocol: %v", err)
		}
		if err := testClaim("tcp", "192.0.2.77", port, 1).free(); network == "tcp4" && err != nil {
			t.Errorf("another address, which the host does not even have: %v", err)
		}
		l.Close()
		if err := testClaim("tcp", "", port, 1).free(); err != nil {
			t.Errorf("%s, closed: %v", network, err)
		}
	}
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := testClaim("udp", "", u.LocalAddr().(*net.UDPAddr).Port, 1).free(); err == nil {
		t.Error("a datagram socket is not found")
	}
	if err := tryBind("tcp", netip.IPv4Unspecified(), 70000&0xffff); err != nil && !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EACCES) {
		t.Error(err)
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add("tcp-80-1-any", "10.0.0.2 fd00::2 80")
	f.Add("udp-80-10-::1", "- fd00::2 80")
	f.Add("sctp-80-1-127.0.0.1", "10.0.0.2 - 1")
	f.Fuzz(func(t *testing.T, name, note string) {
		c, ok := parseClaim(name, note)
		if !ok {
			return
		}
		again, ok := parseClaim(c.name(), c.note())
		if !ok || again != c {
			t.Errorf("%+v reads as %+v", c, again)
		}
		for _, p := range c.forwards("u") {
			if p.HostPort == 0 || p.PodPort == 0 || p.HostIP.Is4() != p.PodIP.Is4() {
				t.Errorf("%+v", p)
			}
		}
	})
}
