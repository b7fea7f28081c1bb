// SPDX-License-Identifier: Apache-2.0

package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func ask(id uint16, kind uint16, name string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, kind), classIN)
}

func neighbours(name string) ([]netip.Addr, bool) {
	switch name {
	case "db":
		return []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("10.0.0.3")}, true
	case "web.example":
		return []netip.Addr{netip.MustParseAddr("10.0.0.4")}, true
	case "many":
		return slices.Repeat([]netip.Addr{netip.MustParseAddr("fd00::5")}, 100), true
	}
	return nil, false
}

// start serves on loopback, with another resolver behind it that knows one name.
func start(t *testing.T) *Resolver {
	t.Helper()
	serve := func(lookup Lookup, upstream []netip.AddrPort) *Resolver {
		r := &Resolver{lookup: lookup, upstream: func() []netip.AddrPort { return upstream }, pending: make(chan struct{}, maxPending)}
		// The port that UDP has found free may be another test's by TCP.
		err := r.listen(netip.MustParseAddrPort("127.0.0.1:0"))
		for tries := 1; errors.Is(err, unix.EADDRINUSE) && tries < 20; tries++ {
			err = r.listen(netip.MustParseAddrPort("127.0.0.1:0"))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		go r.Serve(context.Background())
		return r
	}
	behind := serve(func(name string) ([]netip.Addr, bool) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, name == "www.example"
	}, nil)
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	return serve(neighbours, []netip.AddrPort{dead, behind.udp.LocalAddr().(*net.UDPAddr).AddrPort()})
}

// TestResolver asks with the resolver of Go's library, which shares no code with
// ours, over both transports.
func TestResolver(t *testing.T) {
	r := start(t)
	for _, network := range []string{"udp", "tcp"} {
		dns := &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, r.udp.LocalAddr().String())
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for name, want := range map[string]string{
			"db.": "10.0.0.2 10.0.0.3 fd00::2", "DB.": "10.0.0.2 10.0.0.3 fd00::2", "web.example.": "10.0.0.4",
			"nobody.": "no such host", "www.example.": "192.0.2.1",
		} {
			got, err := dns.LookupHost(ctx, name)
			slices.Sort(got)
			text := strings.Join(got, " ")
			if err != nil {
				text = err.Error()
			}
			if !strings.Contains(text, want) || err == nil && text != want {
				t.Errorf("%s over %s: %q, want %q", name, network, text, want)
			}
		}
	}
}

// TestHostile: what is no question has no answer, or one that says so, and never
// ends the resolver.
func TestHostile(t *testing.T) {
	r := start(t)
	answer := func(b []byte) []byte { return r.answer(t.Context(), "udp", b, maxUDP) }
	if answer(nil) != nil || answer([]byte{1, 2, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0}) != nil {
		t.Error("half a header, or an answer, is answered")
	}
	for what, b := range map[string][]byte{
		"no question":     {1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"two":             {1, 2, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1},
		"a pointer":       {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1},
		"cut":             ask(1, typeA, "db")[:16],
		"too long a name": ask(1, typeA, strings.Repeat("abcdefg.", 40)+"x"),
	} {
		got := answer(b)
		if len(got) != headerSize || got[0] != b[0] || got[1] != b[1] || got[2]&0x80 == 0 || got[3]&0xf != codeRefusedForm {
			t.Errorf("%s: %v", what, got)
		}
	}
	update := ask(1, typeA, "db")
	update[2] |= 5 << 3
	if got := answer(update); got == nil || got[3]&0xf != codeCannot {
		t.Errorf("an update: %v", got)
	}
	// A label with a dot in it is another name.
	odd := append(ask(7, typeA, "x")[:headerSize], 11)
	odd = append(append(odd, "web.example"...), 0, 0, typeA, 0, classIN)
	if got := answer(odd); got == nil || binary.BigEndian.Uint16(got[6:]) != 0 {
		t.Errorf("a label with a dot: %v", got)
	}
	// What does not fit says that there is more.
	got := answer(ask(1, typeAAAA, "many"))
	if len(got) > maxUDP || got[2]&0x02 == 0 {
		t.Errorf("%d bytes, flags %x", len(got), got[2])
	}
	if all := r.answer(t.Context(), "tcp", ask(1, typeAAAA, "many"), maxMessage); binary.BigEndian.Uint16(all[6:]) != 100 || all[2]&0x02 != 0 {
		t.Errorf("over TCP: %d addresses", binary.BigEndian.Uint16(all[6:]))
	}
	// A name that we have, but not of that kind, is there.
	if got := answer(ask(1, 15, "db")); got[3]&0xf != 0 || binary.BigEndian.Uint16(got[6:]) != 0 {
		t.Errorf("MX: %v", got)
	}
}

func TestServers(t *testing.T) {
	got := servers("# nameserver 9.9.9.9\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0 x\nnameserver\nnameserver x\nsearch a\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n")
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("192.0.2.2:53")}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestDig is the same through another program's eyes, where it is installed.
func TestDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Skip("needs dig")
	}
	r := start(t)
	at := r.udp.LocalAddr().(*net.UDPAddr)
	for _, flag := range []string{"+notcp", "+tcp"} {
		out, err := exec.Command("dig", "@"+at.IP.String(), "-p", at.AddrPort().String()[strings.LastIndex(at.String(), ":")+1:], flag, "+noedns", "db", "AAAA").Output()
		if err != nil || !strings.Contains(string(out), "fd00::2") || !strings.Contains(string(out), "status: NOERROR") || bytes.Contains(out, []byte("WARNING")) && !bytes.Contains(out, []byte("recursion requested")) {
			t.Errorf("dig %s: %v\n%s", flag, err, out)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask(1, typeA, "db"))
	f.Add(ask(1, typeAny, "many"))
	f.Add([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	r := &Resolver{lookup: neighbours, upstream: func() []netip.AddrPort { return nil }}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := r.answer(context.Background(), "udp", b, maxUDP)
		if got == nil {
			return
		}
		if len(got) > max(maxUDP, headerSize+len(b)) || got[0] != b[0] || got[1] != b[1] || got[2]&0x80 == 0 {
			t.Errorf("to %v: %v", b, got)
		}
	})
}
