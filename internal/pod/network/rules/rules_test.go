// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/nft"
)

func TestTable(t *testing.T) {
	a, b := Table("/srv/a"), Table("/srv/b")
	if Table(DefaultDataDir) != "rkt" || a == b || !strings.HasPrefix(string(a), "rkt-") || Group("/srv/a") == Group("/srv/b") {
		t.Errorf("%s %s", a, b)
	}
}

// conn is in a network namespace of the test's own; nft looks from outside of
// our code.
func conn(t *testing.T) *nft.Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	runtime.LockOSThread() // the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	c, err := nft.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func list(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", append([]string{"list"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft list %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func port(hostIP, podIP string, hostPort, podPort uint16) Forward {
	return Forward{Protocol: unix.IPPROTO_TCP, HostIP: netip.MustParseAddr(hostIP), HostPort: hostPort,
		PodIP: netip.MustParseAddr(podIP), PodPort: podPort, Holder: "somebody", Loopback6: true}
}

// TestEnsure holds what the kernel has against the words that nft finds for it.
func TestEnsure(t *testing.T) {
	c := conn(t)
	networks := []Network{
		{Subnets: []netip.Prefix{netip.MustParsePrefix("172.16.28.0/22"), netip.MustParsePrefix("fd00:1::/64")}, Masquerade: true},
		{Subnets: []netip.Prefix{netip.MustParsePrefix("255.255.0.0/16")}, Closed: true}, // to the end of all addresses
	}
	forwards := []Forward{port("0.0.0.0", "172.16.28.2", 8080, 80), port("::", "fd00:1::2", 8080, 80), port("2001:db8::1", "fd00:1::2", 8081, 80), port("192.0.2.1", "172.16.28.2", 443, 444)}
	asked := 0
	ensure := func() bool {
		made, err := Ensure(c, "rkt-test", func() ([]Network, []Forward, error) {
			asked++
			return networks, forwards, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	if !ensure() || ensure() || asked != 1 {
		t.Errorf("made twice, or not at all; asked %d times", asked)
	}
	text := list(t, "table", "inet", "rkt-test")
	for _, words := range []string{
		"set networks4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 172.16.28.0/22, 255.255.0.0/16 }",
		"set masquerade4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 172.16.28.0/22 }",
		"set closed4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 255.255.0.0/16 }",
		"elements = { fd00:1::/64 }",
		`tcp . 8080 comment "somebody" : 172.16.28.2 . 80`,
		`tcp . 8080 comment "somebody" : fd00:1::2 . 80`,
		`192.0.2.1 . tcp . 443 comment "somebody" : 172.16.28.2 . 444`,
		"type filter hook prerouting priority raw; policy accept;",
		`iifname "rktv*" ip daddr 127.0.0.0/8 drop`,
		`iifname "rktv*" fib saddr . iif oif 0 drop`,
		"type filter hook forward priority filter; policy accept;",
		"type nat hook prerouting priority dstnat; policy accept;",
		"type nat hook output priority -100; policy accept;",
		"type nat hook postrouting priority srcnat; policy accept;",
		"dnat ip to ip daddr . meta l4proto . th dport map @one4",
		"meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6",
		"ip saddr @masquerade4 ip daddr != @networks4 masquerade",
		"ip6 daddr ::1 meta l4proto . th dport != @loopback6 return",
		"set loopback6 {\n\t\ttype inet_proto . inet_service\n\t\telements = { tcp . 8080 }",
		"ip6 saddr ::1 masquerade",
		`iifname != "rktv*" ip daddr @masquerade4 drop`,
	} {
		if !strings.Contains(text, words) {
			t.Errorf("nft's words lack %q", words)
		}
	}
	if t.Failed() {
		t.Log(text)
	}

	// A table of another edition is replaced, whatever is in it.
	if out, err := exec.Command("nft", "delete table inet rkt-test; add table inet rkt-test { comment \"old\"; chain x { drop; } ; }").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !ensure() || list(t, "table", "inet", "rkt-test") != text {
		t.Error("a table of another edition was not replaced")
	}
	if err := Remove(c, "rkt-test"); err != nil {
		t.Error(err)
	}
	if err := Remove(c, "rkt-test"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if text := list(t, "ruleset"); text != "" {
		t.Errorf("left: %s", text)
	}
}

func TestForwards(t *testing.T) {
	c := conn(t)
	const table nft.Table = "rkt-test"
	if _, err := Ensure(c, table, func() ([]Network, []Forward, error) { return nil, nil, nil }); err != nil {
		t.Fatal(err)
	}
	empty := list(t, "table", "inet", string(table))
	var many []Forward
	for i := range uint16(3000) { // more than one message holds
		many = append(many, port("0.0.0.0", "10.0.0.2", 1000+i, 2000+i))
	}
	if err := AddForwards(c, table, many); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(list(t, "map", "inet", string(table), "any4"), " : 10.0.0.2 . "); n != len(many) {
		t.Errorf("nft shows %d ports, want %d", n, len(many))
	}
	// All or none.
	more := []Forward{port("0.0.0.0", "10.0.0.3", 500, 80), port("0.0.0.0", "10.0.0.3", 1000, 80)}
	if err := AddForwards(c, table, more); !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("a port that leads elsewhere: %v", err)
	}
	if strings.Contains(list(t, "table", "inet", string(table)), "10.0.0.3") {
		t.Error("half of a change was made")
	}
	if holder, which, err := Foreign(c, "rkt-other", more); err != nil || holder != "somebody" || which.HostPort != 1000 {
		t.Errorf("as another data directory sees it: %q %+v %v", holder, which, err)
	}
	if holder, _, err := Foreign(c, table, more); err != nil || holder != "" {
		t.Errorf("as its own sees it: %q %v", holder, err)
	}
	// What is not there does not keep the rest.
	if err := DeleteForwards(c, table, append(more[:1:1], many...)); err != nil {
		t.Fatal(err)
	}
	if text := list(t, "table", "inet", string(table)); text != empty {
		t.Errorf("left:\n%s", text)
	}
}

func TestConflict(t *testing.T) {
	want := []Forward{port("192.0.2.1", "10.0.0.2", 80, 80)}
	v4 := versions[0]
	for _, c := range []struct {
		key  []byte
		one  bool
		hits bool
	}{
		{[]byte{6, 0, 0, 0, 0, 80, 0, 0}, false, true},
		{[]byte{17, 0, 0, 0, 0, 80, 0, 0}, false, false},
		{[]byte{6, 0, 0, 0, 0, 81, 0, 0}, false, false},
		{[]byte{192, 0, 2, 1, 6, 0, 0, 0, 0, 80, 0, 0}, true, true},
		{[]byte{192, 0, 2, 2, 6, 0, 0, 0, 0, 80, 0, 0}, true, false},
		{[]byte{192, 0}, true, false},
		{nil, false, false},
	} {
		if got := conflict(want, nft.Element{Key: [][]byte{c.key}}, v4, c.one) >= 0; got != c.hits {
			t.Errorf("%v: %v", c.key, got)
		}
	}
}
