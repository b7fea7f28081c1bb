// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestChain: five plugins in a chain, with arguments for each, and every one of
// them seen to work, to notice when its work is broken, and to give back.
func TestChain(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall", "bandwidth", "tuning")
	h := newHost(t)
	before := h.state()
	t.Cleanup(func() { run(t, "ip", "link", "del", "chain0") })
	h.configure("10-chain.conflist", `{'cniVersion': '1.0.0', 'name': 'chain', 'plugins': [
		{'type': 'bridge', 'bridge': 'chain0', 'isGateway': true, 'ipMasq': true, 'hairpinMode': true, 'capabilities': {'ips': true},
			'ipam': {'type': 'host-local', 'ranges': [[{'subnet': '10.88.1.0/24'}], [{'subnet': 'fd00:88:1::/64'}]], 'routes': [{'dst': '0.0.0.0/0'}, {'dst': '::/0'}]},
			'dns': {'nameservers': ['10.88.1.1'], 'search': ['example.test']}},
		{'type': 'tuning', 'sysctl': {'net.ipv4.conf.eth0.arp_filter': '1'}, 'capabilities': {'mac': true}},
		{'type': 'portmap', 'capabilities': {'portMappings': true}},
		{'type': 'firewall'},
		{'type': 'bandwidth', 'capabilities': {'bandwidth': true}}]}`)
	p := h.pod()
	a := p.attachment("chain", "eth0", "ips=10.88.1.77", "mac=02:88:00:00:00:77",
		"ingressRate=100000000", "ingressBurst=8000000", "egressRate=50000000", "egressBurst=4000000")
	a.Ports = []contract.Port{{Name: "web", Protocol: "tcp", HostPort: 8080, PodPort: 80, Count: 2}, {Name: "dns", Protocol: "udp", HostPort: 5353, PodPort: 53}}
	at := p.mustAdd(a)

	if at.IP != "10.88.1.77" || at.Mask != "255.255.255.0" || at.Gateway != "10.88.1.1" || at.MAC != "02:88:00:00:00:77" ||
		!strings.HasPrefix(at.IP6, "fd00:88:1::") || at.Prefix6 != 64 || at.Driver != "cni" || at.NetConf != filepath.Join(h.conf, "10-chain.conflist") ||
		at.PluginPath != "/usr/lib/cni/bridge" || !strings.HasPrefix(at.HostIfName, "veth") || at.Resolv != "nameserver 10.88.1.1\nsearch example.test\n" {
		t.Errorf("attached: %+v", at)
	}
	if out := p.in("ip", "addr", "show", "eth0"); !strings.Contains(out, "inet 10.88.1.77/24") || !strings.Contains(out, "02:88:00:00:00:77") || !strings.Contains(out, at.IP6+"/64") {
		t.Errorf("ip says: %s", out)
	}
	if out := p.in("cat", "/proc/sys/net/ipv4/conf/eth0/arp_filter"); out != "1\n" {
		t.Errorf("arp_filter %s", out)
	}
	if out := run(t, "tc", "qdisc", "show", "dev", at.HostIfName); !strings.Contains(out, "tbf") || !strings.Contains(out, "rate 100Mbit") {
		t.Errorf("tc says: %s", out)
	}
	p.serve("tcp", "10.88.1.77:80", "first")
	p.serve("tcp", "10.88.1.77:81", "second")
	p.serve("udp", "10.88.1.77:53", "third")
	for _, one := range [][3]string{
		{"tcp", "10.88.1.77:80", "first 10.88.1.1"},
		{"tcp", "10.88.1.1:8080", "first "}, {"tcp", "10.88.1.1:8081", "second "}, {"tcp", "127.0.0.1:8080", "first "}, {"udp", "10.88.1.1:5353", "third "},
	} {
		if out, err := ask(one[0], one[1]); err != nil || !strings.HasPrefix(out, one[2]) {
			t.Errorf("%s %s: %q, %v", one[0], one[1], out, err)
		}
	}
	// Another pod on the same network, and an address that is taken.
	q := h.pod()
	b := q.attachment("chain", "eth0", "ips=10.88.1.77")
	if _, err := q.add(b); err == nil || !strings.Contains(err.Error(), `plugin "bridge"`) || !strings.Contains(err.Error(), "10.88.1.77") {
		t.Errorf("the taken address: %v", err)
	}
	b = q.attachment("chain", "eth0")
	q.mustAdd(b)
	if out, err := q.ask("tcp", "10.88.1.77:80"); err != nil || !strings.HasPrefix(out, "first ") {
		t.Errorf("from the other pod: %q, %v", out, err)
	}

	// Its configuration is gone by the time it ends.
	if err := os.Remove(filepath.Join(h.conf, "10-chain.conflist")); err != nil {
		t.Fatal(err)
	}
	p.mustDel(a)
	q.mustDel(b)
	p.mustDel(a) // again
	p.kill()
	q.kill()
	h.unchanged(before, "chain0")
}

// TestCheck: CHECK by another process, which knows the namespace by another
// path; and each plugin notices what was broken behind its back. (Debian's
// portmap 1.1 finds its own work wrong, so it is not in the chain.)
func TestCheck(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall", "tuning")
	h := newHost(t)
	before := h.state()
	t.Cleanup(func() { run(t, "ip", "link", "del", "check0") })
	h.configure("10-check.conflist", `{'cniVersion': '0.4.0', 'name': 'check', 'plugins': [
		{'type': 'bridge', 'bridge': 'check0', 'isDefaultGateway': true, 'ipam': {'type': 'host-local', 'subnet': '10.87.1.0/24'}},
		{'type': 'tuning', 'sysctl': {'net.ipv4.conf.eth0.arp_filter': '1'}},
		{'type': 'firewall'}]}`)
	p := h.pod()
	a := p.attachment("check", "eth0")
	at := p.mustAdd(a)
	p.ns.Close() // the descriptor has another number from now on
	pad, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer pad.Close()
	if p.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid)); err != nil {
		t.Fatal(err)
	}
	a.NetNS = p.ns
	check := func(broken string) {
		t.Helper()
		err := h.source().Check(context.Background(), a)
		switch {
		case broken == "" && err != nil:
			t.Errorf("CHECK of what is good: %v", err)
		case broken != "" && (err == nil || !strings.HasPrefix(err.Error(), `plugin "`+broken+`": `)):
			t.Errorf("CHECK with the work of plugin %q broken: %v", broken, err)
		}
	}
	check("")
	p.in("ip", "addr", "del", at.IP+"/24", "dev", "eth0")
	check("bridge")
	p.in("ip", "addr", "add", at.IP+"/24", "dev", "eth0")
	p.in("ip", "route", "add", "default", "via", at.Gateway)
	check("")
	p.in("sysctl", "-q", "-w", "net.ipv4.conf.eth0.arp_filter=0")
	check("tuning")
	p.in("sysctl", "-q", "-w", "net.ipv4.conf.eth0.arp_filter=1")
	run(t, "iptables", "-F", "CNI-FORWARD")
	check("firewall")
	p.mustDel(a)
	p.kill()
	h.unchanged(before, "check0")
}

// TestOldConfigurations: what lies in net.d since rkt 1.x works as it is, DEL
// with the namespace and, after a crash, without it.
func TestOldConfigurations(t *testing.T) {
	needs(t, "ptp", "bridge", "host-local")
	for kind, conf := range map[string]string{
		"ptp":        `{'name': 'old', 'type': 'ptp', 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.89.1.0/24', 'routes': [{'dst': '0.0.0.0/0'}]}}`,
		"ptp 0.1.0":  `{'cniVersion': '0.1.0', 'name': 'old', 'type': 'ptp', 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.89.1.0/24', 'routes': [{'dst': '0.0.0.0/0'}]}}`,
		"ptp 0.3.1":  `{'cniVersion': '0.3.1', 'name': 'old', 'type': 'ptp', 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.89.1.0/24', 'routes': [{'dst': '0.0.0.0/0'}]}}`,
		"bridge":     `{'name': 'old', 'type': 'bridge', 'bridge': 'old0', 'isGateway': true, 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.89.2.0/24'}}`,
		"bridge 1.0": `{'cniVersion': '1.0.0', 'name': 'old', 'type': 'bridge', 'bridge': 'old0', 'isGateway': true, 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.89.2.0/24'}}`,
	} {
		for _, crash := range []bool{false, true} {
			name := kind
			if crash {
				name += " crash"
			}
			t.Run(name, func(t *testing.T) {
				h := newHost(t)
				before := h.state()
				h.configure("10-old.conf", conf)
				p := h.pod()
				a := p.attachment("old", "eth0", "IP="+map[bool]string{true: "10.89.1.9", false: "10.89.2.9"}[strings.HasPrefix(kind, "ptp")])
				at := p.mustAdd(a)
				if !strings.HasSuffix(at.IP, ".9") || at.Args != a.Network.Args[0] {
					t.Errorf("attached: %+v", at)
				}
				p.serve("tcp", at.IP+":80", "hello")
				if out, err := ask("tcp", at.IP+":80"); err != nil || !strings.HasPrefix(out, "hello ") {
					t.Errorf("%q, %v", out, err)
				}
				if rules := run(t, "iptables-save", "-t", "nat"); !strings.Contains(rules, string(p.id)) || !strings.Contains(rules, "MASQUERADE") {
					t.Errorf("no masquerading: %s", rules)
				}
				if crash {
					p.kill()
				}
				p.mustDel(a)
				p.kill()
				if strings.HasPrefix(kind, "bridge") {
					run(t, "ip", "link", "del", "old0")
				}
				h.unchanged(before)
			})
		}
	}
}

// TestMacvlan: a second host on the same wire, and two interfaces in one pod.
func TestMacvlan(t *testing.T) {
	needs(t, "macvlan", "host-local", "ptp")
	h := newHost(t)
	before := h.state()
	far := h.pod() // the other host
	run(t, "ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire", "netns", strconv.Itoa(far.pid))
	run(t, "ip", "link", "set", "wire0", "up")
	far.in("ip", "link", "set", "wire", "up")
	far.in("ip", "addr", "add", "10.90.1.1/24", "dev", "wire")
	h.configure("10-wire.conf", `{'name': 'wire', 'type': 'macvlan', 'master': 'wire0', 'mode': 'bridge', 'ipam': {'type': 'host-local', 'subnet': '10.90.1.0/24', 'rangeStart': '10.90.1.10'}}`)
	h.configure("20-ptp.conf", `{'name': 'side', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.90.2.0/24'}}`)
	p := h.pod()
	a, b := p.attachment("wire", "eth0"), p.attachment("side", "eth1")
	at, bt := p.mustAdd(a), p.mustAdd(b)
	if at.IP != "10.90.1.10" || bt.IP != "10.90.2.2" {
		t.Errorf("attached: %+v, %+v", at, bt)
	}
	far.serve("tcp", "10.90.1.1:80", "far")
	if out, err := p.ask("tcp", "10.90.1.1:80"); err != nil || out != "far 10.90.1.10" {
		t.Errorf("%q, %v", out, err)
	}
	p.serve("tcp", "10.90.2.2:80", "near")
	if out, err := ask("tcp", "10.90.2.2:80"); err != nil || !strings.HasPrefix(out, "near ") {
		t.Errorf("%q, %v", out, err)
	}
	p.mustDel(b)
	p.mustDel(a)
	p.kill()
	run(t, "ip", "link", "del", "wire0")
	far.kill()
	h.unchanged(before)
}

// TestFailingChain: real plugins before one that fails, in each way and place:
// nothing of them is left, and a pod starts the next time.
func TestFailingChain(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall")
	for name, script := range map[string]string{
		"fails":      `cat >/dev/null; [ $CNI_COMMAND = DEL ] && exit 0; echo '{"code": 7, "msg": "no such luck"}'; exit 1`,
		"fails both": `echo '{"code": 7, "msg": "no such luck"}'; exit 1`,
		"nonsense":   `cat >/dev/null; [ $CNI_COMMAND = DEL ] || echo nonsense`,
		"killed":     `[ $CNI_COMMAND = DEL ] || kill -9 $$`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			before := h.state()
			t.Cleanup(func() { run(t, "ip", "link", "del", "fail0") })
			h.plugin("unlucky", script)
			h.configure("10-fail.conflist", `{'cniVersion': '0.4.0', 'name': 'fail', 'plugins': [
				{'type': 'bridge', 'bridge': 'fail0', 'isGateway': true, 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.91.1.0/24'}},
				{'type': 'portmap', 'capabilities': {'portMappings': true}}, {'type': 'firewall'}, {'type': 'unlucky'}]}`)
			p := h.pod()
			a := p.attachment("fail", "eth0")
			a.Ports = []contract.Port{{Name: "web", Protocol: "tcp", HostPort: 8080, PodPort: 80}}
			_, err := p.add(a)
			if err == nil || !strings.HasPrefix(err.Error(), `plugin "unlucky": `) {
				t.Errorf("error %v", err)
			}
			if out := p.in("ip", "-o", "link"); strings.Contains(out, "eth0") {
				t.Errorf("in the pod is left: %s", out)
			}
			record := filepath.Join(p.dir(), "net", "eth0.json")
			if name == "fails both" {
				// It never said that it has given back what it may hold, so the
				// record stays until it does.
				if err := p.del(a); err == nil {
					t.Error("a DEL that failed is done")
				}
				if _, err := os.Stat(record); err != nil {
					t.Errorf("no record: %v", err)
				}
				h.plugin("unlucky", "exit 0")
				p.mustDel(a)
			}
			if _, err := os.Stat(record); !os.IsNotExist(err) {
				t.Errorf("the record is left: %v", err)
			}
			h.unchanged(before, "fail0")
			p.kill()
		})
	}
}

// TestExhausted: two addresses for three pods.
func TestExhausted(t *testing.T) {
	needs(t, "ptp", "host-local")
	h := newHost(t)
	before := h.state()
	h.configure("10-small.conf", `{'name': 'small', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.92.1.0/29', 'rangeStart': '10.92.1.2', 'rangeEnd': '10.92.1.3'}}`)
	one, two, three := h.pod(), h.pod(), h.pod()
	a, b, c := one.attachment("small", "eth0"), two.attachment("small", "eth0"), three.attachment("small", "eth0")
	one.mustAdd(a)
	two.mustAdd(b)
	if _, err := three.add(c); err == nil || !strings.Contains(err.Error(), `plugin "ptp": `) || !strings.Contains(err.Error(), "no IP addresses available") {
		t.Errorf("error %v", err)
	}
	one.mustDel(a)
	if at := three.mustAdd(c); at.IP != "10.92.1.2" {
		t.Errorf("attached: %+v", at)
	}
	two.mustDel(b)
	three.mustDel(c)
	one.kill()
	two.kill()
	three.kill()
	h.unchanged(before)
}

// TestCollect: leases whose pods have left nothing else are given back; those of
// pods, of others, and of others' networks are not.
func TestCollect(t *testing.T) {
	needs(t, "ptp", "host-local")
	h := newHost(t)
	before := h.state()
	conf := `{'cniVersions': ['0.4.0', '1.0.0', '1.1.0'], 'name': 'NAME', 'plugins': [{'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.93.N.0/24'}}]}`
	h.configure("10-ours.conflist", strings.NewReplacer("NAME", "ours", "N", "1").Replace(conf))
	h.configure("foreign/10-theirs.conflist", strings.NewReplacer("NAME", "theirs", "N", "2").Replace(conf))
	living, lost, theirs := h.pod(), h.pod(), h.pod()
	a, b, c := living.attachment("ours", "eth0"), lost.attachment("ours", "eth0"), theirs.attachment("theirs", "eth0")
	living.mustAdd(a)
	living2 := living.attachment("theirs", "eth1")
	living.mustAdd(living2)
	lost.mustAdd(b)
	theirs.mustAdd(c)
	// Somebody removed the directories, and the machine lost power.
	for _, p := range []*pd{lost, theirs} {
		if err := os.RemoveAll(p.dir()); err != nil {
			t.Fatal(err)
		}
		p.kill()
	}
	stranger := "/var/lib/cni/networks/ours/10.93.1.200"
	if err := os.WriteFile(stranger, []byte(strings.Repeat("ab", 32)+"\r\neth0"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := func(pod.UUID) bool { return false }
	src := h.source()
	all, err := src.Networks()
	if err != nil {
		t.Fatal(err)
	}
	n, err := all.Find("ours")
	if err != nil {
		t.Fatal(err)
	}
	orphans, err := src.Orphans(n, none)
	if err != nil || len(orphans) != 1 || orphans[0].ContainerID != string(lost.id) || orphans[0].IfName != "eth0" {
		t.Errorf("orphans: %+v, %v", orphans, err)
	}
	for range 2 {
		if err := src.Collect(context.Background(), none); err != nil {
			t.Error(err)
		}
	}
	var ips []string
	leases, err := n.Leases()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		ips = append(ips, l.Address.String())
	}
	if got := strings.Join(ips, " "); got != "10.93.1.2 10.93.1.200" {
		t.Errorf("leases: %s", got)
	}
	if _, err := os.Stat("/var/lib/cni/networks/theirs/10.93.2.3"); err != nil {
		t.Errorf("a lease of a network that others share: %v", err)
	}
	living.mustDel(living2)
	living.mustDel(a)
	living.kill()
	_ = os.RemoveAll("/var/lib/cni/networks")
	_ = os.RemoveAll(filepath.Join(h.run, "theirs"))
	h.unchanged(before)
}
