// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/nft"
)

// TestObstacles: firewalls as others make them.
func TestObstacles(t *testing.T) {
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
	defer c.Close()
	own := []netip.Prefix{netip.MustParsePrefix("172.16.28.0/22"), netip.MustParsePrefix("fd00:1:2:3::/64")}
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	const docker = `table ip filter { chain DOCKER-USER { %s }; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; } }`
	const firewalld = `table inet firewalld { chain zones { %s };
chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state established,related accept; jump zones; counter log prefix "x" reject with icmpx admin-prohibited; } }`
	blocked := map[string]string{
		"docker":    `the nftables chain "FORWARD" of table "filter" (ip)`,
		"firewalld": `the nftables chain "filter_FORWARD" of table "firewalld" (inet)`,
	}
	for name, x := range map[string]struct{ rules, want string }{
		"nothing":                   {"", ""},
		"docker":                    {strings.Replace(docker, "%s", "return", 1), blocked["docker"]},
		"docker, pods accepted":     {strings.Replace(docker, "%s", `iifname "rktv*" accept`, 1), ""},
		"firewalld":                 {strings.Replace(firewalld, "%s", `iifname "eth0" accept`, 1), blocked["firewalld"]},
		"firewalld, subnet trusted": {strings.Replace(firewalld, "%s", `ip saddr 172.16.28.0/22 accept`, 1), ""},
		"firewalld, IPv6 trusted":   {strings.Replace(firewalld, "%s", `ip6 saddr fd00:1:2:3::/64 accept`, 1), ""},
		"firewalld, another":        {strings.Replace(firewalld, "%s", `ip saddr 172.16.0.0/16 accept`, 1), blocked["firewalld"]},
		"a condition on the last":   {`table inet x { chain f { type filter hook forward priority 0; iifname "eth0" drop; }; }`, ""},
		"drops what comes in":       {`table inet x { chain f { type filter hook input priority 0; policy drop; }; }`, ""},
		"one rule that drops all":   {`table inet x { chain f { type filter hook forward priority 0; drop; }; }`, `the nftables chain "f" of table "x" (inet)`},
		"rkt's own":                 {`table inet rkt-abc { chain f { type filter hook forward priority 0; drop; }; }`, ""},
	} {
		run("nft", "flush ruleset; "+strings.ReplaceAll(x.rules, " }", "; }"))
		if got := strings.Join(obstacles(c, own), "; "); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	run("nft", "flush ruleset")
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		t.Skip("needs iptables-nft")
	}
	run("iptables-nft", "-A", "FORWARD", "-j", "REJECT")
	if got := obstacles(c, own); len(got) != 1 {
		t.Errorf("iptables' REJECT: %q", got)
	}
	run("iptables-nft", "-I", "FORWARD", "-i", "rktv+", "-j", "ACCEPT")
	if got := obstacles(c, own); got != nil {
		t.Errorf("iptables that accepts pods: %q", got)
	}
}
