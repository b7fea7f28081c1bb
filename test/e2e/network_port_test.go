// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/rkt"
)

// TestPorts: a port of the host leads into the pod from everywhere: the host
// itself, by loopback and by its address, the world, other pods, and the pod
// itself; with TCP and UDP, IPv4 and IPv6.
func TestPorts(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--port=web:tcp:80:8080", "--port=dns:udp:53:8053"}, "tcp::80", "udp::53")
	q := w.pod(nil, "tcp::80")
	gateway6 := p.ip6[0][:strings.LastIndex(p.ip6[0], ":")] + ":1"
	for protocol, port := range map[string]int{"tcp": 8080, "udp": 8053} {
		w.answers(protocol+" over loopback", "172.16.28.1")(w.fromHost(protocol, "127.0.0.1", port))
		w.answers(protocol+" over another address of loopback", "172.16.28.1")(w.fromHost(protocol, "127.1.2.3", port))
		w.answers(protocol+" over IPv6 loopback", gateway6)(w.fromHost(protocol, "::1", port))
		w.answers(protocol+" by the host's address", uplink4)(w.fromHost(protocol, uplink4, port))
		w.answers(protocol+" by the host's IPv6 address", uplink6)(w.fromHost(protocol, uplink6, port))
		w.answers(protocol+" from the world", second4)(w.fromSecond(protocol, uplink4, port))
		w.answers(protocol+" from the world, IPv6", second6)(w.fromSecond(protocol, uplink6, port))
		w.answers(protocol+" from a pod", "172.16.28.1")(q.ask(protocol, uplink4, port))
		w.answers(protocol+" from a pod, IPv6", gateway6)(q.ask(protocol, uplink6, port))
		w.answers(protocol+" from a pod by the gateway", "172.16.28.1")(q.ask(protocol, "172.16.28.1", port))
		w.answers(protocol+" from the pod itself", "172.16.28.1")(p.ask(protocol, uplink4, port))
		w.answers(protocol+" from the pod itself, IPv6", gateway6)(p.ask(protocol, uplink6, port))
	}
	// Another pod's ports beside, and again when one of the two is gone.
	r := w.pod([]string{"--port=web:tcp:80:8088", "--port=six:tcp:80:[::1]:8089"}, "tcp::80")
	for _, port := range []int{8080, 8088, 8089} {
		w.answers("port "+strconv.Itoa(port)+" of two pods over ::1", gateway6)(w.fromHost("tcp", "::1", port))
	}
	w.silent("a port of ::1 over 127.0.0.1")(w.fromHost("tcp", "127.0.0.1", 8089))
	w.serve(exec.Command("python3", "-c", servePython, "::1", "8090"))
	w.answers("the host's own over ::1", "::1")(w.fromHost("tcp", "::1", 8090))
	r.end()
	w.answers("over ::1 when the other pod is gone", gateway6)(w.fromHost("tcp", "::1", 8080))
	p.end()
	w.silent("after the pod's end")(w.fromHost("tcp", "127.0.0.1", 8080))
	w.silent("after the pod's end, over ::1")(w.fromHost("tcp", "::1", 8080))
	if r := w.rules(); strings.Contains(r, "8080") || strings.Contains(r, p.ip[0]) {
		t.Errorf("rules of the pod are left:\n%s", r)
	}
	q.end()
	w.nothingLeft()
}

// TestPortsRestricted: ports lead into a closed network, too, whose pods have no
// way back to the world.
func TestPortsRestricted(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--net=default-restricted", "--port=web:tcp:80:8080"}, "tcp::80")
	w.answers("from the world", "172.31.0.1")(w.fromSecond("tcp", uplink4, 8080))
	w.answers("over loopback", "172.31.0.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	// Of two networks it is the one that masquerades.
	q := w.pod([]string{"--net=default-restricted,default", "--port=web:tcp:80:8081"}, "tcp::80")
	w.answers("of two networks", second4)(w.fromSecond("tcp", uplink4, 8081))
	p.end()
	q.end()
	w.nothingLeft()
}

// TestPortsAddress: a port of one address of the host's is no other's.
func TestPortsAddress(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--port=web:tcp:80:127.0.0.1:8080", "--port=six:tcp:80:[" + uplink6 + "]:8080"}, "tcp::80")
	q := w.pod([]string{"--port=web:tcp:80:" + uplink4 + ":8080"}, "tcp::80")
	w.answers("over loopback", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	w.answers("IPv6", second6)(w.fromSecond("tcp", uplink6, 8080))
	w.answers("the other address", second4)(w.fromSecond("tcp", uplink4, 8080))
	w.silent("an address without")(w.fromHost("tcp", "127.0.0.2", 8080))
	q.end()
	w.silent("after its pod's end")(w.fromSecond("tcp", uplink4, 8080))
	w.answers("the others stay", second6)(w.fromSecond("tcp", uplink6, 8080))
	p.end()
	w.nothingLeft()
}

// TestPortsRange: a row of ports, as an image declares it, and the name of a
// port that an image has.
func TestPortsRange(t *testing.T) {
	w := newWorld(t)
	manifest := filepath.Join(t.TempDir(), "pod")
	text := `{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"x","image":{"id":"` + w.id + `"},
"app":{"exec":["/peer/peer","serve","tcp::7000","tcp::7001","tcp::7002","tcp::7003"],"user":"0","group":"0",
"mountPoints":[{"name":"peer","path":"/peer"}],
"ports":[{"name":"row","protocol":"tcp","port":7000,"count":3}]}}],
"volumes":[{"name":"peer","kind":"host","source":"` + w.peer + `","readOnly":true}],
"ports":[{"name":"row","hostPort":9100}]}`
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := w.h.Start("run", "--pod-manifest="+manifest)
	p.Expect("ready")
	for i := range 3 {
		w.answers("port "+strconv.Itoa(9100+i), second4)(w.fromSecond("tcp", uplink4, 9100+i))
	}
	w.silent("the port behind")(w.fromSecond("tcp", uplink4, 9103))
	r := w.run([]string{"--port=web:tcp:80:9102"}, "echo started")
	if r.Status != 254 || !strings.Contains(r.Stderr, `port "web": port 9102 of the host is held by pod `) {
		t.Errorf("a port in the middle: status %d\n%s", r.Status, r.Stderr)
	}
	p.Signal(unix.SIGTERM)
	p.Wait()
	w.nothingLeft()
}

// TestPortsTaken: a port that somebody has is refused with the holder's name.
func TestPortsTaken(t *testing.T) {
	w := newWorld(t)
	w.serve(exec.Command("python3", "-c", servePython, "::", "8090"))
	w.serve(exec.Command("python3", "-c", servePython, "127.0.0.1", "8091"))
	p := w.pod([]string{"--port=web:tcp:80:8080"}, "tcp::80")
	other := rkt.New(t, install)
	otherID := tinyID(t, other)
	before := w.leases()
	for flag, words := range map[string]string{
		"--port=web:tcp:80:8080":           `network "default": port "web": port 8080 of the host is held by pod ` + p.uuid,
		"--port=web:tcp:80:127.0.0.1:8080": "is held by pod " + p.uuid,
		"--port=web:tcp:80:8090":           "port 8090 of the host is in use by process ",
		"--port=web:tcp:80:8091":           "port 8091 of the host is in use by process ",
	} {
		r := w.run([]string{flag}, "echo started")
		if r.Status != 254 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, words) {
			t.Errorf("%s: status %d, %q\n%s\nwant %s", flag, r.Status, r.Stdout, r.Stderr, words)
		}
	}
	r := w.run([]string{"--port=a:tcp:80:9000", "--port=b:tcp:81:9000"}, "echo started")
	if r.Status != 254 || !strings.Contains(r.Stderr, `ports "a" and "b" want the same port 9000 of the host`) {
		t.Errorf("one port twice: status %d\n%s", r.Status, r.Stderr)
	}
	if after := w.leases(); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("refused pods left leases: %q, before %q", after, before)
	}
	// Another protocol is another port.
	if r := w.run([]string{"--port=web:udp:80:8080"}, "echo started"); r.Status != 0 {
		t.Errorf("the port of another protocol: status %d\n%s", r.Status, r.Stderr)
	}
	// Pods of another data directory count, too, and are told apart in subnets.
	r = other.Rkt(append([]string{"run", "--port=web:tcp:80:8080", otherID}, sh("echo started")...)...)
	if r.Status != 254 || !strings.Contains(r.Stderr, "port 8080 of the host is held by pod "+p.uuid+" of another data directory") {
		t.Errorf("another data directory: status %d\n%s", r.Status, r.Stderr)
	}
	r = other.Rkt(append([]string{"run", "--port=web:tcp:80:8082", otherID}, sh("ip -4 -o addr show dev eth0")...)...)
	if r.Status != 0 || !strings.Contains(r.Stdout, "inet 172.16.0.") {
		t.Errorf("a pod of another data directory: status %d, %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	w.answers("the first still has it", "172.16.28.1")(w.fromHost("tcp", "127.0.0.1", 8080))
	other.Must("gc", "--grace-period=0s")
	p.end()
	w.nothingLeft()
}

// TestPortsLoopbackStaysPrivate: that loopback reaches pods does not let pods
// reach what listens on the host's loopback only (CVE-2020-8558).
func TestPortsLoopbackStaysPrivate(t *testing.T) {
	w := newWorld(t)
	w.serve(exec.Command("python3", "-c", servePython, "127.0.0.1", "8095"))
	w.serve(exec.Command("python3", "-c", servePython, "::1", "8096"))
	w.answers("the host itself", "127.0.0.1")(w.fromHost("tcp", "127.0.0.1", 8095))
	w.answers("the host itself", "::1")(w.fromHost("tcp", "::1", 8096))
	// The pod has rights to send what it likes: 127/8 by way of the host.
	script := `ip addr del 127.0.0.1/8 dev lo; ip link set lo down; ip route flush table local
ip route add local IP/32 dev eth0 table local
ip route add 127.0.0.0/8 via 172.16.28.1 dev eth0 || exit 3
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet 2>/dev/null
/peer/peer ask tcp:127.0.0.1:8095 && exit 4
set -- $(ip -6 route show default); ip -6 route add ::1 via $3 dev eth0 || exit 5
before=$(cat /sys/class/net/eth0/statistics/tx_packets)
/peer/peer ask 'tcp:[::1]:8096' && exit 6
test $(cat /sys/class/net/eth0/statistics/tx_packets) -gt $((before+1)) || exit 7
exit 0`
	args := w.args([]string{"--net=default:IP=172.16.28.44", "--port=web:tcp:80:8080"}, strings.ReplaceAll(script, "IP/32", "172.16.28.44/32"))
	i := slices.Index(args, "--mount=volume=peer,target=/peer")
	args = slices.Insert(args, i+1, "--caps-retain=CAP_NET_ADMIN,CAP_NET_RAW")
	w.h.Flags = append(w.h.Flags, "--insecure-options=image,paths")
	r := w.h.Rkt(args...)
	if r.Status != 0 {
		t.Errorf("status %d (4 is: the host's loopback was reached)\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	// Without the rule it would.
	for line := range strings.Lines(w.must(exec.Command("nft", "list", "tables"))) {
		if table := strings.TrimSpace(line); strings.HasPrefix(table, "table inet rkt") {
			w.must(exec.Command("nft", append([]string{"flush", "chain"}, append(strings.Fields(table)[1:], "guard")...)...))
		}
	}
	if r := w.h.Rkt(args...); r.Status != 4 {
		t.Errorf("without the rule: status %d; this test cannot fail\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	w.nothingLeft()
}

// TestPortsFlows: who sends datagrams without a pause, from the same port, reaches
// the pod that has the port now and not the one that had it.
func TestPortsFlows(t *testing.T) {
	w := newWorld(t)
	const sender = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5555)); s.settimeout(3); s.connect(("192.0.2.1", 8053))
s.send(b"x")
try: print(s.recv(100).decode())
except Exception as e: print(type(e).__name__)
`
	send := func() string { return w.must(w.second("python3", "-c", sender)) }
	for round := range 2 {
		p := w.pod([]string{"--port=dns:udp:53:8053"}, "udp::53")
		if got := send(); got != second4 {
			t.Errorf("round %d: %q", round, got)
		}
		p.end()
	}
	if got := send(); got == second4 {
		t.Error("answered though no pod has the port")
	}
	w.nothingLeft()
}
