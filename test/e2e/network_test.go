// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/test/images"
)

// TestNetworkDefault: a pod reaches the host and the world, by both versions of
// IP and with the host's address; the world does not reach the pod.
func TestNetworkDefault(t *testing.T) {
	w := newWorld(t)
	w.serve(w.second("python3", "-c", servePython, "::", "81"))
	w.serve(exec.Command("python3", "-c", servePython, "::", "82"))
	p := w.pod(nil, "tcp::80")
	for what, c := range map[string]struct{ address, want string }{
		"second host": {second4, uplink4}, "second host, IPv6": {second6, uplink6},
	} {
		w.answers(what, c.want)(p.ask("tcp", c.address, 81))
	}
	w.answers("host", p.ip[0])(p.ask("tcp", uplink4, 82))
	w.answers("host, IPv6", p.ip6[0])(p.ask("tcp", uplink6, 82))
	w.answers("pod from the host", "172.16.28.1")(w.fromHost("tcp", p.ip[0], 80))
	w.answers("pod from the host, IPv6", strings.TrimSuffix(p.ip6[0], "2")+"1")(w.fromHost("tcp", p.ip6[0], 80))

	// What the pod sees, by another program than ours.
	addr := w.h.Must("enter", p.uuid, "/bin/busybox", "ip", "addr", "show", "dev", "eth0").Stdout
	for _, words := range []string{"inet " + p.ip[0] + "/22", "inet6 " + p.ip6[0] + "/64"} {
		if !strings.Contains(addr, words) {
			t.Errorf("ip addr in the pod lacks %q:\n%s", words, addr)
		}
	}
	status := w.h.Must("status", p.uuid).Stdout
	if want := "default:ip4=" + p.ip[0] + ",ip6=" + p.ip6[0]; field(status, "networks") != want {
		t.Errorf("status: networks=%q, want %q", field(status, "networks"), want)
	}
	if list := w.h.Must("list").Stdout; !strings.Contains(list, "default:ip4="+p.ip[0]) {
		t.Errorf("list lacks the address:\n%s", list)
	}

	// Names are the user's to say, as on any network.
	r := w.run([]string{"--dns=192.0.2.53", "--hosts-entry=192.0.2.9=db", "--hostname=box"}, "cat /etc/resolv.conf; cat /etc/hosts")
	for _, words := range []string{"nameserver 192.0.2.53\n", "192.0.2.9\tdb\n", "127.0.0.1\tlocalhost localhost.localdomain box\n"} {
		if !strings.Contains(r.Stdout, words) {
			t.Errorf("the pod's files lack %q:\n%s%s", words, r.Stdout, r.Stderr)
		}
	}
	if r := w.run(nil, "test -e /etc/resolv.conf"); r.Status != 1 {
		t.Errorf("a resolv.conf that nobody asked for: status %d\n%s", r.Status, r.Stderr)
	}

	// A neighbour who takes this host for a router finds nobody.
	w.must(w.second("ip", "route", "add", "172.16.28.0/22", "via", uplink4))
	w.must(w.second("ip", "-6", "route", "add", p.ip6[0]+"/128", "via", uplink6))
	w.silent("pod from the second host")(w.fromSecond("tcp", p.ip[0], 80))
	w.silent("pod from the second host, IPv6")(w.fromSecond("tcp", p.ip6[0], 80))
	p.end()
	w.nothingLeft()
}

// TestNetworkPods: pods reach each other, with their own addresses.
func TestNetworkPods(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod([]string{"--net"}, "tcp::80", "udp::80"), w.pod([]string{"--net=default"}, "tcp::80")
	for _, protocol := range []string{"tcp", "udp"} {
		w.answers(protocol, b.ip[0])(b.ask(protocol, a.ip[0], 80))
		w.answers(protocol+", IPv6", b.ip6[0])(b.ask(protocol, a.ip6[0], 80))
	}
	w.answers("the other way", a.ip[0])(a.ask("tcp", b.ip[0], 80))
	if a.ip[0] == b.ip[0] || a.ip6[0] == b.ip6[0] {
		t.Errorf("both pods have %s or %s", a.ip[0], a.ip6[0])
	}
	a.end()
	b.end()
	w.nothingLeft()
}

// TestNetworkFalseSource: a pod with all rights over its network cannot speak
// in another's name.
func TestNetworkFalseSource(t *testing.T) {
	w := newWorld(t)
	a := w.pod(nil, "udp::80")
	const script = `ip addr add 172.16.29.77/32 dev eth0 || exit 3
ip route add %s/32 via 172.16.28.1 dev eth0 src SOURCE || exit 4
/peer/peer ask udp:%s:80 || exit 5`
	for source, status := range map[string]int{"172.16.28.40": 0, "172.16.29.77": 5} {
		args := w.args([]string{"--net=default:IP=172.16.28.40"}, strings.ReplaceAll(strings.ReplaceAll(script, "%s", a.ip[0]), "SOURCE", source))
		i := slices.Index(args, "--mount=volume=peer,target=/peer")
		args = slices.Insert(args, i+1, "--caps-retain=CAP_NET_ADMIN,CAP_NET_RAW")
		if r := w.h.Rkt(args...); r.Status != status {
			t.Errorf("as %s: status %d, want %d, %q\n%s", source, r.Status, status, r.Stdout, r.Stderr)
		}
	}
	a.end()
	w.nothingLeft()
}

// TestNetworkRestricted: pods of default-restricted reach the host and each
// other, and nobody else reaches them.
func TestNetworkRestricted(t *testing.T) {
	w := newWorld(t)
	w.serve(w.second("python3", "-c", servePython, "::", "81"))
	w.serve(exec.Command("python3", "-c", servePython, "::", "82"))
	a, b := w.pod([]string{"--net=default-restricted"}, "tcp::80"), w.pod([]string{"--net=default-restricted"}, "tcp::80")
	open := w.pod(nil, "tcp::80")
	w.answers("its like", a.ip[0])(a.ask("tcp", b.ip[0], 80))
	w.answers("its like, IPv6", a.ip6[0])(a.ask("tcp", b.ip6[0], 80))
	w.answers("host", a.ip[0])(a.ask("tcp", "172.31.0.1", 82))
	w.answers("from the host", "172.31.0.1")(w.fromHost("tcp", a.ip[0], 80))
	w.silent("second host")(a.ask("tcp", second4, 81))
	w.silent("second host, IPv6")(a.ask("tcp", second6, 81))
	w.silent("pod of the default network")(a.ask("tcp", open.ip[0], 80))
	w.silent("from a pod of the default network")(open.ask("tcp", a.ip[0], 80))
	// Not even with a route.
	if r := w.h.Rkt("enter", a.uuid, "/bin/busybox", "ip", "route"); strings.Contains(r.Stdout, "default") {
		t.Errorf("a restricted pod has a default route:\n%s", r.Stdout)
	}
	for _, p := range []*netPod{a, b, open} {
		p.end()
	}
	w.nothingLeft()
}

// TestNetworkSeveral: a pod of two networks has an interface in each, and one
// default route.
func TestNetworkSeveral(t *testing.T) {
	w := newWorld(t)
	w.serve(w.second("python3", "-c", servePython, "::", "81"))
	a := w.pod([]string{"--net=default-restricted,default"}, "tcp::80")
	b, c := w.pod([]string{"--net=default-restricted"}, "tcp::80"), w.pod(nil, "tcp::80")
	if len(a.ip) != 2 || !strings.HasPrefix(a.ip[0], "172.31.0.") || !strings.HasPrefix(a.ip[1], "172.16.28.") {
		t.Fatalf("addresses %q", a.ip)
	}
	w.answers("the world", uplink4)(a.ask("tcp", second4, 81))
	w.answers("the first network", a.ip[0])(a.ask("tcp", b.ip[0], 80))
	w.answers("the second", a.ip[1])(a.ask("tcp", c.ip[0], 80))
	w.answers("the second, IPv6", a.ip6[1])(a.ask("tcp", c.ip6[0], 80))
	w.answers("from the first", b.ip[0])(b.ask("tcp", a.ip[0], 80))
	w.answers("from the second", c.ip[0])(c.ask("tcp", a.ip[1], 80))
	want := "default-restricted:ip4=" + a.ip[0] + ",ip6=" + a.ip6[0] + ", default:ip4=" + a.ip[1] + ",ip6=" + a.ip6[1]
	if got := field(w.h.Must("status", a.uuid).Stdout, "networks"); got != want {
		t.Errorf("networks=%q, want %q", got, want)
	}
	for _, p := range []*netPod{a, b, c} {
		p.end()
	}
	w.nothingLeft()
}

// TestNetworkArguments: addresses by argument, and what is wrong with them.
func TestNetworkArguments(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--net=default:IP=172.16.30.9", "--net=default-restricted"}, "tcp::80")
	if p.ip[0] != "172.16.30.9" || !strings.HasPrefix(p.ip[1], "172.31.0.") {
		t.Errorf("addresses %q", p.ip)
	}
	prefix := strings.TrimSuffix(p.ip6[0], p.ip6[0][strings.LastIndex(p.ip6[0], ":"):])
	q := w.pod([]string{"--net=default:IP6=" + prefix + ":abc;IP=172.16.30.10"}, "tcp::80")
	if q.ip[0] != "172.16.30.10" || q.ip6[0] != prefix+":abc" {
		t.Errorf("addresses %q, %q", q.ip, q.ip6)
	}
	w.answers("by address", q.ip6[0])(q.ask("tcp", p.ip6[0], 80))
	before := w.leases()
	for flag, words := range map[string]string{
		"--net=default:IP=172.16.30.9":                         `network "default": address in use: 172.16.30.9 is held by pod ` + p.uuid,
		"--net=default:IP6=" + prefix + ":abc":                 "is held by pod " + q.uuid,
		"--net=default:IP=10.1.2.3":                            "10.1.2.3 is not one of 172.16.28.0/22",
		"--net=default:IP=172.16.28.1":                         "172.16.28.1 is not one of",
		"--net=default:IP=172.16.28.0":                         "172.16.28.0 is not one of",
		"--net=default:IP=172.16.31.255":                       "172.16.31.255 is not one of",
		"--net=default:IP=fd00::1":                             "is not an IPv4 address",
		"--net=default:IP6=1.2.3.4":                            "is not an IPv6 address",
		"--net=default:MAC=00:11:22:33:44:55":                  `argument "MAC" is not known: there are IP, IP6 and names`,
		"--net=nowhere":                                        `networks not found: "nowhere"`,
		"--net=nowhere,default,elsewhere":                      `networks not found: "nowhere", "elsewhere"`,
		"--net=default-restricted,default:IP=172.16.30.9":      `network "default": address in use`,
		"--net=default,default-restricted:IP6=2001:db8:1:1::1": `network "default-restricted": address 2001:db8:1:1::1 is not one of`,
	} {
		r := w.run([]string{flag}, "echo started")
		if r.Status != 254 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, words) {
			t.Errorf("%s: status %d, %q\n%s\nwant %s", flag, r.Status, r.Stdout, r.Stderr, words)
		}
	}
	if after := w.leases(); !slices.Equal(before, after) {
		t.Errorf("refused pods left leases: %q, before %q", after, before)
	}
	p.end()
	q.end()
	w.nothingLeft()
}

// TestNetworkExhausted: a network without a free address says so, unless the
// dead hold some.
func TestNetworkExhausted(t *testing.T) {
	w := newWorld(t)
	p := w.pod(nil, "tcp::80")
	dir := filepath.Join(w.h.Dir, "networks", "default", "leases")
	fill := func(uuid string) {
		for n := 2; n < 1023; n++ {
			path := filepath.Join(dir, "172.16."+strconv.Itoa(28+n/256)+"."+strconv.Itoa(n%256))
			if _, err := os.Lstat(path); err == nil && uuid == p.uuid {
				continue
			}
			if err := os.WriteFile(path, []byte(uuid+" eth0\n"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(p.uuid)
	r := w.run(nil, "echo started")
	if r.Status != 254 || !strings.Contains(r.Stderr, `network "default": no address of 172.16.28.0/22 is free: pods hold all 1021`) {
		t.Errorf("status %d\n%s", r.Status, r.Stderr)
	}
	p.end()
	fill("00000000-0000-4000-8000-000000000000")
	if r := w.run(nil, "echo started"); r.Status != 0 || r.Out() != "started" {
		t.Errorf("the dead hold all addresses: status %d\n%s", r.Status, r.Stderr)
	}
	w.h.Must("gc", "--grace-period=0s")
	w.nothingLeft()
}

// TestNetworkSubnet: a subnet that the host has a route to is left alone.
func TestNetworkSubnet(t *testing.T) {
	w := newWorld(t)
	w.ip("route", "add", "172.16.0.0/16", "via", second4)
	w.ip("route", "add", "172.17.0.0/22", "dev", "up0")
	p := w.pod(nil, "tcp::80")
	if p.ip[0] != "172.17.4.2" {
		t.Errorf("address %s; the first subnet that nobody has is 172.17.4.0/22", p.ip[0])
	}
	w.answers("from the host", "172.17.4.1")(w.fromHost("tcp", p.ip[0], 80))
	// It stays while the pod runs, whatever comes.
	w.ip("route", "add", "172.17.4.0/24", "via", second4)
	q := w.pod(nil, "tcp::80")
	if !strings.HasPrefix(q.ip[0], "172.17.4.") {
		t.Errorf("a second pod has %s", q.ip[0])
	}
	p.end()
	q.end()
	r := w.pod(nil, "tcp::80")
	if !strings.HasPrefix(r.ip[0], "172.17.8.") {
		t.Errorf("a pod after that has %s", r.ip[0])
	}
	w.answers("from the host", "172.17.8.1")(w.fromHost("tcp", r.ip[0], 80))
	r.end()
	w.nothingLeft()
}

// TestNetworkOthersRules: others' rules stay as they are. If they drop what is
// forwarded the user is told, and what is not forwarded works.
func TestNetworkOthersRules(t *testing.T) {
	w := newWorld(t)
	const foreign = `table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain DOCKER {
		tcp dport 9999 accept
	}
}
table inet firewalld {
	chain raw_PREROUTING {
		type filter hook prerouting priority raw + 10; policy accept;
	}
}
`
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(foreign)
	w.must(cmd)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "ip", "filter").Run() })
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "firewalld").Run() })
	w.clean = w.rules()
	w.serve(w.second("python3", "-c", servePython, "::", "81"))
	p := w.pod([]string{"--port=web:tcp:80:8080"}, "tcp::80")
	if out := p.Output(); !strings.Contains(out, `the nftables chain "FORWARD" of table "filter" (ip) drops what is forwarded`) {
		t.Errorf("nobody is told of the rules that drop:\n%s", out)
	}
	w.answers("from the host", "172.16.28.1")(w.fromHost("tcp", p.ip[0], 80))
	w.answers("over loopback", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	w.silent("what is forwarded")(p.ask("tcp", second4, 81))
	if out := w.h.Must("net", "inspect", "default").Stdout; !strings.Contains(out, "\nblocked=the nftables chain \"FORWARD\" of table \"filter\" (ip)\n") {
		t.Errorf("net inspect does not tell of them:\n%s", out)
	}
	// Those rules are their owner's, who may let pods through.
	w.must(exec.Command("nft", "add", "rule", "ip", "filter", "FORWARD", "iifname", "rktv*", "accept"))
	w.must(exec.Command("nft", "add", "rule", "ip", "filter", "FORWARD", "oifname", "rktv*", "accept"))
	w.answers("once they accept", uplink4)(p.ask("tcp", second4, 81))
	if out := w.h.Must("net", "inspect", "default").Stdout; strings.Contains(out, "blocked=") {
		t.Errorf("net inspect still tells of them:\n%s", out)
	}
	w.must(exec.Command("nft", "flush", "chain", "ip", "filter", "FORWARD"))
	p.end()
	w.nothingLeft()
}

// TestNetworkFlushed: an administrator who flushes all rules loses rkt's until
// the next pod starts; then they are all there again.
func TestNetworkFlushed(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--port=web:tcp:80:8080"}, "tcp::80")
	w.must(exec.Command("nft", "flush", "ruleset"))
	w.silent("after the flush")(w.fromHost("tcp", "127.0.0.1", 8080))
	q := w.pod(nil, "tcp::80")
	w.answers("after the next start", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	p.end()
	q.end()
	w.nothingLeft()
}

// TestNetworkKilled: what a pod held that was killed with rkt comes back by gc,
// or when the next one needs it.
func TestNetworkKilled(t *testing.T) {
	w := newWorld(t)
	flags := []string{"--net=default:IP=172.16.28.50", "--port=web:tcp:80:8080"}
	p := w.pod(flags, "tcp::80")
	p.Signal(unix.SIGKILL)
	p.Wait()
	w.h.Gone()
	if l := w.leases(); len(l) != 3 {
		t.Fatalf("the killed pod holds %q; want two addresses and a port", l)
	}
	q := w.pod(flags, "tcp::80")
	w.answers("the next", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	q.Signal(unix.SIGKILL)
	q.Wait()
	w.h.Gone()
	w.h.Must("gc", "--grace-period=0s")
	w.nothingLeft()
}

// TestNetworkLongLived: a pod that its flavor's `run` attends to gives back what
// it held, too.
func TestNetworkLongLived(t *testing.T) {
	w := newWorld(t)
	p := w.podScript([]string{"--port=web:tcp:80:8080"}, "echo ready; sleep 3; exit 7")
	if status := p.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
	if l := w.leases(); l != nil {
		t.Errorf("leases are left: %q", l)
	}
	if r := w.rules(); strings.Contains(r, "8080") {
		t.Errorf("the port is still forwarded:\n%s", r)
	}
	w.nothingLeft()
}

// TestNetworkOfTheManifest: a manifest that wants no network has none, although
// without --net the command line would have begun the default one.
func TestNetworkOfTheManifest(t *testing.T) {
	h := host(t)
	id := h.Must("fetch", "--full", image(t, images.Tiny)).Out()
	file := filepath.Join(t.TempDir(), "pod.json")
	text := `{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"one","image":{"id":"` + id + `"},` +
		`"app":{"exec":["/bin/sh","-c","ip -o link | wc -l"],"user":"0","group":"0"}}],` +
		`"annotations":[{"name":"coreos.com/rkt/network","value":"none"}]}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("run", "--pod-manifest="+file); r.Status != 0 || r.Out() != "1" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(h.Dir, "pods", "run", h.Pods()[0], contract.NetworkFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pod was attached to networks: %v", err)
	}
}
