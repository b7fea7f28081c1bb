// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A queue is what tc says of an interface's.
type queue struct {
	Kind       string
	Options    struct{ Rate, Burst int64 }
	Bytes      int64
	Overlimits int64
}

// queueOf asks tc, which shares no code with us, as a command that may begin with
// another namespace.
func (w *world) queueOf(dev string, in ...string) queue {
	w.t.Helper()
	argv := append(in, "tc", "-s", "-j", "qdisc", "show", "dev", dev)
	text := w.must(exec.Command(argv[0], argv[1:]...))
	var list []queue
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		w.t.Fatalf("tc says %s (%v)", text, err)
	}
	return list[0]
}

const sendPython = `
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(bytes(int(sys.argv[3]))); s.shutdown(1); s.recv(1)
`

// TestNetworkBandwidth: a limit holds for what a pod gets and for what it sends, and
// the kernel has made packets wait for it; without one there is no queue at all.
func TestNetworkBandwidth(t *testing.T) {
	w := newWorld(t)
	if _, err := exec.LookPath("tc"); err != nil {
		t.Skip("needs tc")
	}
	const script = `echo ready; nc -l -p 90 >/dev/null; dd if=/dev/zero bs=1000 count=600 2>/dev/null | nc 192.0.2.2 91; echo sent; exec sleep 1000`
	w.serve(w.second("python3", "-c", `
import socket
s = socket.create_server(("0.0.0.0", 91)); print("ready", flush=True)
c, a = s.accept()
while c.recv(65536): pass
`))
	p := w.podScript([]string{"--network-bandwidth=1M"}, script)
	var pid int
	for _, app := range w.events(p.uuid).Apps {
		pid = app.PID
	}
	inside := []string{"nsenter", "-t", strconv.Itoa(pid), "-n"}
	var status struct {
		Networks []struct{ HostIfName string }
		Limits   struct {
			Bandwidth int64 `json:"network_bandwidth"`
		}
	}
	if err := json.Unmarshal([]byte(w.h.Must("status", "--json", p.uuid).Stdout), &status); err != nil {
		t.Fatal(err)
	}
	if status.Limits.Bandwidth != 1e6 {
		t.Errorf("status has the limit %d", status.Limits.Bandwidth)
	}
	host := status.Networks[0].HostIfName
	for where, q := range map[string]queue{"on the host": w.queueOf(host), "in the pod": w.queueOf("eth0", inside...)} {
		if q.Kind != "tbf" || q.Options.Rate != 1e6 || q.Options.Burst < 128<<10-100 || q.Options.Burst > 128<<10+100 {
			t.Errorf("%s: %+v", where, q)
		}
	}
	// Both send more than may pass at once.
	w.must(exec.Command("python3", "-c", sendPython, p.ip[0], "90", "600000"))
	p.Expect("sent")
	for where, q := range map[string]queue{"to the pod": w.queueOf(host), "from the pod": w.queueOf("eth0", inside...)} {
		if q.Bytes < 600000 || q.Overlimits == 0 {
			t.Errorf("%s nothing has waited: %+v", where, q)
		}
	}
	q := w.pod(nil, "tcp::80")
	if err := json.Unmarshal([]byte(w.h.Must("status", "--json", q.uuid).Stdout), &status); err != nil {
		t.Fatal(err)
	}
	if of := w.queueOf(status.Networks[0].HostIfName); of.Kind != "noqueue" {
		t.Errorf("a pod without a limit has %+v", of)
	}
	q.end()
	p.end()
	// Faster than 32 bits can say, slower than anything, and of an app.
	for size, rate := range map[string]string{"10G": "10000000000", "1Ki": "1024"} {
		args := w.args(nil, "cat /sys/class/net/eth0/address; echo ready; exec sleep 1000")
		args = append(args[:len(args)-4:len(args)-4], append([]string{"--network-bandwidth=" + size}, args[len(args)-4:]...)...)
		r := w.h.Start(args...)
		r.Expect("ready")
		out := w.must(exec.Command("sh", "-c", "tc -j qdisc show | grep -o '\"rate\":[0-9]*'"))
		if !strings.Contains(out, `"rate":`+rate) {
			t.Errorf("%s: tc says %s", size, out)
		}
		r.Signal(unix.SIGTERM)
		r.Wait()
	}
	for words, flags := range map[string][]string{
		"with --net=host: the pod's network is the host's": {"--net=host", "--network-bandwidth=1M"},
		"has CAP_NET_ADMIN, with which it could lift":      {"--insecure-options=capabilities", "--network-bandwidth=1M"},
	} {
		var global []string
		if strings.HasPrefix(flags[0], "--insecure") {
			global, flags = []string{"--insecure-options=image,capabilities"}, flags[1:]
		}
		r := w.h.Rkt(append(global, w.args(flags, "echo started")...)...)
		if r.Status != 254 || !strings.Contains(r.Stderr, words) {
			t.Errorf("%q: status %d\n%s", flags, r.Status, r.Stderr)
		}
	}
	w.nothingLeft()
}

// TestNetworkBandwidthKilled: of a pod that is killed with rkt, gc leaves nothing: no port, no
// route to ::1, no queue.
func TestNetworkBandwidthKilled(t *testing.T) {
	w := newWorld(t)
	p := w.pod([]string{"--port=web:tcp:80:8080", "--network-bandwidth=1M"}, "tcp::80")
	if local := w.ip("-6", "route", "show", "table", "local"); !strings.Contains(local, "local ::1 dev rktv") {
		t.Errorf("no route to ::1 on the pod's interface:\n%s", local)
	}
	p.Signal(unix.SIGKILL)
	p.Wait()
	w.h.Must("gc", "--grace-period=0s")
	w.nothingLeft()
	if local := w.ip("-6", "route", "show", "table", "local"); strings.Contains(local, "::1 dev rktv") {
		t.Errorf("a route is left:\n%s", local)
	}
	q := w.pod([]string{"--port=web:tcp:80:8080", "--network-bandwidth=2M"}, "tcp::80")
	gateway6 := q.ip6[0][:strings.LastIndex(q.ip6[0], ":")] + ":1"
	w.answers("the next pod over ::1", gateway6)(w.fromHost("tcp", "::1", 8080))
	q.end()
	w.nothingLeft()
}
