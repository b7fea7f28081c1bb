// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMessage(t *testing.T) {
	m := NewMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE).Bytes(1, 2, 3, 4).Text(3, "eth0")
	m.Nest(5, func() { m.U32(1, 7).OldNest(2, func() { m.BE32(1, 1) }) })
	list := replies(append(m.finish(9, unix.NLM_F_ACK), 1, 2, 3))
	if len(list) != 1 || list[0].Seq != 9 || list[0].Type != unix.RTM_NEWLINK ||
		list[0].Flags != unix.NLM_F_CREATE|unix.NLM_F_REQUEST|unix.NLM_F_ACK {
		t.Fatalf("%+v", list)
	}
	var got []string
	Attributes(list[0].Data[4:], func(typ uint16, value []byte) {
		switch typ {
		case 3:
			got = append(got, String(value))
		case 5:
			Attributes(value, func(typ uint16, value []byte) {
				if typ == 1 && Uint32(value) == 7 {
					got = append(got, "seven")
				}
				if typ == 2 {
					Attributes(value, func(_ uint16, value []byte) {
						if bytes.Equal(value, []byte{0, 0, 0, 1}) {
							got = append(got, "one")
						}
					})
				}
			})
		}
	})
	if strings.Join(got, " ") != "eth0 seven one" {
		t.Errorf("%q", got)
	}
}

// What a kernel would never say must not harm us either.
func FuzzReplies(f *testing.F) {
	m := NewMessage(unix.NLMSG_ERROR, 0).Bytes(0xea, 0xff, 0xff, 0xff).Bytes(make([]byte, 16)...).Text(1, "why")
	f.Add(m.finish(1, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED))
	f.Add(Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), Index: 3}.Message().finish(2, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range replies(b) {
			_ = kernelError(r)
			parseLink(r.Data)
			parseAddress(r.Data)
			parseRoute(r.Data)
		}
	})
}

// apart moves the test into a network namespace of its own; the thread ends with
// the test.
func apart(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestInterfaces makes what ip then shows, and finds what ip made.
func TestInterfaces(t *testing.T) {
	inner := make(chan *os.File)
	release := make(chan bool)
	go func() { // another namespace
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		f, _ := os.Open("/proc/thread-self/ns/net")
		inner <- f
		<-release
	}()
	defer close(release)
	there := <-inner
	defer there.Close()
	apart(t)
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Link("rktv0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v", err)
	}
	v := Veth{Name: "rktv0", Peer: "eth0", NetNS: int(there.Fd()), MTU: 1400, Group: 4711}
	if err := c.AddVeth(v); err != nil {
		t.Fatal(err)
	}
	if err := c.AddVeth(v); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same again: %v", err)
	}
	l, err := c.Link("rktv0")
	if err != nil || l.MTU != 1400 || l.Group != 4711 || l.MAC == [6]byte{} {
		t.Errorf("%+v, %v", l, err)
	}
	err = c.Do(Settings(l.Index, map[uint16]uint32{RouteLocalnet: 1, SendRedirects: 0}),
		Address(l.Index, netip.MustParsePrefix("10.1.0.1/32")), Address(l.Index, netip.MustParsePrefix("fd00::1/128")),
		Route{Destination: netip.MustParsePrefix("10.1.0.2/32"), Index: l.Index}.Message(),
		Route{Destination: netip.MustParsePrefix("fd00::2/128"), Index: l.Index}.Message())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"route_localnet 1", "send_redirects 0"} {
		name, want, _ := strings.Cut(file, " ")
		// By a process of its own: a thread's /proc/sys is that of its process.
		if out, err := exec.Command("cat", "/proc/sys/net/ipv4/conf/rktv0/"+name).Output(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s is %q, %v", name, out, err)
		}
	}
	for args, words := range map[string]string{
		"addr show dev rktv0":     "inet 10.1.0.1/32 scope global noprefixroute",
		"-6 addr show dev rktv0":  "inet6 fd00::1/128 scope global nodad",
		"route show":              "10.1.0.2 dev rktv0 proto static scope link",
		"-6 route show dev rktv0": "fd00::2 proto static",
	} {
		if out := ip(t, strings.Fields(args)...); !strings.Contains(out, words) {
			t.Errorf("ip %s lacks %q:\n%s", args, words, out)
		}
	}
	in, err := DialIn(there, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	eth, err := in.Link("eth0")
	if err == nil {
		err = in.Do(Up(eth.Index), Address(eth.Index, netip.MustParsePrefix("10.1.0.2/24")),
			Route{Destination: netip.MustParsePrefix("10.1.0.1/32"), Index: eth.Index}.Message(),
			Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.1.0.1"), Index: eth.Index}.Message())
	}
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "route", "add", "192.0.2.0/24", "via", "10.1.0.2", "dev", "rktv0", "onlink")
	routes, err := c.Routes(false)
	found := false
	for _, r := range routes {
		found = found || r.Destination == netip.MustParsePrefix("192.0.2.0/24") && r.Gateway == netip.MustParseAddr("10.1.0.2") &&
			r.Index == l.Index && r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST
	}
	if err != nil || !found {
		t.Errorf("the route that ip made is not found in %+v, %v", routes, err)
	}
	// A route to another place replaces the first.
	if err := c.Do(Route{Destination: netip.MustParsePrefix("10.1.0.2/32"), Index: 1}.Message()); err == nil {
		t.Error("a route over an interface that is down was taken")
	}
	if err := c.DeleteLink("rktv0"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteLink("rktv0"); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// An error comes with the kernel's own words, and the others of a packet are
// carried out.
func TestErrors(t *testing.T) {
	apart(t)
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Do(Address(4711, netip.MustParsePrefix("10.0.0.1/32")), Up(1))
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("%v", err)
	}
	if out := ip(t, "link", "show", "lo"); !strings.Contains(out, "UP") {
		t.Errorf("the second message was not carried out:\n%s", out)
	}
	err = c.Do(Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("10.9.9.9"), Index: 1}.Message())
	if k := (*KernelError)(nil); !errors.As(err, &k) || k.Text == "" || !strings.Contains(err.Error(), k.Text) {
		t.Errorf("%v has no words of the kernel's", err)
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{"eth0": true, "": false, ".": false, "..": false, "a/b": false, "a b": false, "a:b": false,
		"123456789012345": true, "1234567890123456": false} {
		if ValidName(name) != want {
			t.Errorf("%q", name)
		}
	}
}

// TestRedirect: what comes in by one interface leaves by another: a frame that one
// end of a veth sends is read from the tap, and the other way round.
func TestRedirect(t *testing.T) {
	apart(t)
	ip(t, "link", "add", "one", "type", "veth", "peer", "name", "two")
	ip(t, "addr", "add", "10.9.8.7/24", "dev", "two")
	ip(t, "-6", "addr", "add", "fd00::7/64", "dev", "two")
	ip(t, "link", "set", "one", "up")
	ip(t, "link", "set", "two", "up")
	tap, err := OpenTap("tap0")
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(tap)
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err1 := c.Link("one")
	b, err2 := c.Link("two")
	l, err3 := c.Link("tap0")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Addresses(b.Index); err != nil || len(list) != 2 || list[0].String() != "10.9.8.7/24" || list[1].String() != "fd00::7/64" {
		t.Errorf("addresses %v, %v", list, err)
	}
	if list, err := c.Addresses(a.Index); err != nil || len(list) != 0 {
		t.Errorf("addresses of an interface without: %v, %v", list, err)
	}
	if err := c.Do(append(append(Redirect(b.Index, l.Index), Redirect(l.Index, b.Index)...), Change(l.Index, "vm0", 1400), Up(l.Index))...); err != nil {
		t.Fatal(err)
	}
	if out := ip(t, "link", "show", "vm0"); !strings.Contains(out, "mtu 1400") {
		t.Errorf("the tap: %s", out)
	}
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0xff88) // ETH_P_802_EX1, in network order
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	if err := unix.Bind(raw, &unix.SockaddrLinklayer{Protocol: 0xff88, Ifindex: a.Index}); err != nil {
		t.Fatal(err)
	}
	frame := append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, []byte(strings.Repeat("to the tap ", 8))...)
	if err := unix.Sendto(raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: a.Index}); err != nil {
		t.Fatal(err)
	}
	const header = 10 // struct virtio_net_hdr
	buf := make([]byte, 2048)
	for { // IPv6 says things, too
		fds := []unix.PollFd{{Fd: int32(tap), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 5000); err == nil && n == 0 {
			t.Fatal("nothing came to the tap")
		}
		if n, err := unix.Read(tap, buf); err == nil && bytes.Equal(buf[min(header, n):n], frame) {
			break
		}
	}
	heard, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0xb588)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(heard)
	if err := unix.Bind(heard, &unix.SockaddrLinklayer{Protocol: 0xb588, Ifindex: a.Index}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(tap, append(make([]byte, header), frame...)); err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(5e9)
	if err := unix.SetsockoptTimeval(heard, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(heard, buf, 0); err != nil || !bytes.Equal(buf[:n], frame) {
		t.Errorf("from the tap came %d bytes, %v", n, err)
	}
}
