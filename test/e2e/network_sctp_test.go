// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// TestSCTP: ports of SCTP lead into pods, over both versions of IP, from the host
// by loopback and by its address, and from another host; a port that somebody has
// is refused. It needs no more than tools/vm's machine has, for few hosts have a
// kernel with SCTP; beside it go TCP and UDP, on that machine's kernel.
func TestSCTP(t *testing.T) {
	h := host(t)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err != nil {
		t.Skipf("needs a kernel with SCTP (make vm has one): %v", err)
	} else {
		unix.Close(fd)
	}
	peer := buildPeer(t)
	ip := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	// The second host.
	holder := exec.Command("sleep", "1000")
	holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	pid := strconv.Itoa(holder.Process.Pid)
	ns, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nl, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	if err := nl.AddVeth(netlink.Veth{Name: "up0", Peer: "eth0", NetNS: int(ns.Fd())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "up0").Run() })
	for _, dev := range []string{"up0", "eth0"} { // no wait for duplicates of addresses
		file := "/proc/sys/net/ipv6/conf/" + dev + "/accept_dad"
		if dev == "up0" {
			err = os.WriteFile(file, []byte("0"), 0)
		} else {
			err = netlink.In(ns, func() error { return os.WriteFile(file, []byte("0"), 0) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	second := []string{"nsenter", "-t", pid, "-n"}
	ip("ip", "addr", "add", uplink4+"/24", "dev", "up0")
	ip("ip", "addr", "add", uplink6+"/64", "dev", "up0")
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"link", "set", "eth0", "up"}, {"addr", "add", second4 + "/24", "dev", "eth0"}, {"addr", "add", second6 + "/64", "dev", "eth0"}} {
		ip(append(append(second, "ip"), args...)...)
	}

	id := tinyID(t, h)
	args := append([]string{"run", "--volume=peer,kind=host,readOnly=true,source=" + peer, "--port=s:sctp:80:8080", "--port=t:tcp:80:8080",
		"--port=u:udp:80:8080", id, "--mount=volume=peer,target=/peer"}, sh("exec /peer/peer serve 'sctp:[::]:80' 'tcp:[::]:80' 'udp:[::]:80'")...)
	p := h.Start(args...)
	p.Expect("ready")
	for _, protocol := range []string{"sctp", "tcp", "udp"} {
		for _, from := range []struct {
			what, address, want string
			by                  []string
		}{
			{"loopback", "127.0.0.1", "172.16.28.1", nil},
			{"IPv6 loopback", "[::1]", "::1", nil},
			{"the host's address", uplink4, uplink4, nil},
			{"the host's IPv6 address", "[" + uplink6 + "]", uplink6, nil},
			{"the second host", uplink4, second4, second},
			{"the second host, IPv6", "[" + uplink6 + "]", second6, second},
		} {
			argv := append(from.by[:len(from.by):len(from.by)], peer+"/peer", "ask", protocol+":"+from.address+":8080")
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			got := strings.TrimSpace(string(out))
			if from.want == "::1" { // the gateway's, of a subnet chosen at random
				from.want = got
				if !strings.HasPrefix(got, "fd") || !strings.HasSuffix(got, "::1") {
					from.want = "the gateway's address"
				}
			}
			if err != nil || got != from.want {
				t.Errorf("%s over %s: %q, %v; want %s", protocol, from.what, got, err, from.want)
			}
		}
	}
	r := h.Rkt(append([]string{"run", "--port=s:sctp:80:8080", id}, sh("echo started")...)...)
	if r.Status != 254 || !strings.Contains(r.Stderr, `port "s": port 8080 of the host is held by pod `) {
		t.Errorf("a pod's port: status %d\n%s", r.Status, r.Stderr)
	}
	server := exec.Command(peer+"/peer", "serve", "sctp:127.0.0.1:8090")
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	r = h.Rkt(append([]string{"run", "--port=s:sctp:80:8090", id}, sh("echo started")...)...)
	if r.Status != 254 || !strings.Contains(r.Stderr, "port 8090 of the host is in use") {
		t.Errorf("a port of the host's: status %d\n%s", r.Status, r.Stderr)
	}
	p.Signal(unix.SIGTERM)
	p.Wait()
	if out, err := exec.Command(peer+"/peer", "ask", "sctp:127.0.0.1:8080").CombinedOutput(); err == nil {
		t.Errorf("answered after the pod's end: %s", out)
	}
	h.Must("gc", "--grace-period=0s")
}
