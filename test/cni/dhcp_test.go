// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDHCP: an address from a server on another host of the same wire, through
// the plugin dhcp and its daemon, and given back to it.
func TestDHCP(t *testing.T) {
	needs(t, "macvlan", "dhcp")
	if err := exec.Command("busybox", "udhcpd", "--help").Run(); err != nil && exec.Command("sh", "-c", "busybox --list | grep -qx udhcpd").Run() != nil {
		t.Skip("needs busybox with udhcpd")
	}
	h := newHost(t)
	before := h.state()
	far := h.pod()
	run(t, "ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire", "netns", strconv.Itoa(far.pid))
	run(t, "ip", "link", "set", "wire0", "up")
	far.in("ip", "link", "set", "wire", "up")
	far.in("ip", "addr", "add", "10.86.1.1/24", "dev", "wire")
	h.configure("10-dhcp.conflist", `{'cniVersion': '0.4.0', 'name': 'dhcp', 'plugins': [{'type': 'macvlan', 'master': 'wire0', 'ipam': {'type': 'dhcp'}}]}`)
	// Nobody is there who could ask, nor give back; the record waits for one.
	early := h.pod()
	b := early.attachment("dhcp", "eth0")
	_, err := early.add(b)
	if err == nil || !strings.HasPrefix(err.Error(), `plugin "macvlan": `) || !strings.Contains(err.Error(), "dhcp.sock") {
		t.Fatalf("without the daemon: %v", err)
	}

	dir := t.TempDir()
	conf := fmt.Sprintf("start 10.86.1.50\nend 10.86.1.59\ninterface wire\nlease_file %s/leases\npidfile %s/pid\noption subnet 255.255.255.0\noption router 10.86.1.1\noption lease 600\n", dir, dir)
	for name, text := range map[string]string{"conf": conf, "leases": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := background(t, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", far.pid), "busybox", "udhcpd", "-f", filepath.Join(dir, "conf"))
	background(t, filepath.Join(pluginDir, "dhcp"), "daemon")
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat("/run/cni/dhcp.sock"); err == nil {
			break
		} else if time.Since(start) > patience {
			t.Fatal("the dhcp daemon does not start")
		}
	}
	early.kill()
	early.mustDel(b)

	p := h.pod()
	a := p.attachment("dhcp", "eth0")
	at := p.mustAdd(a)
	ip, err := netip.ParseAddr(at.IP)
	if err != nil || !netip.MustParsePrefix("10.86.1.48/28").Contains(ip) || at.Mask != "255.255.255.0" || at.Gateway != "10.86.1.1" {
		t.Errorf("attached: %+v, %v", at, err)
	}
	if err := h.source().Check(t.Context(), a); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	far.serve("tcp", "10.86.1.1:80", "far")
	if out, err := p.ask("tcp", "10.86.1.1:80"); err != nil || out != "far "+at.IP {
		t.Errorf("%q, %v", out, err)
	}
	// The server writes what it knows when it is asked to: 8 bytes, and for each
	// address 36, the first four of which are the seconds left, and then the
	// address (struct dyn_lease of busybox).
	lease := func(over bool) func() bool {
		return func() bool {
			_ = server.Process.Signal(syscall.SIGUSR1)
			time.Sleep(20 * time.Millisecond) // a step of a loop that waits for the answer
			text, err := os.ReadFile(filepath.Join(dir, "leases"))
			for ; err == nil && len(text) >= 8+36; text = text[36:] {
				if entry := text[8:]; string(entry[4:8]) == string(ip.AsSlice()) {
					return over == (string(entry[:4]) == "\x00\x00\x00\x00")
				}
			}
			return false
		}
	}
	await(t, "the server's lease", lease(false))
	p.mustDel(a)
	await(t, "the lease's end", lease(true))
	p.kill()
	far.kill()
	run(t, "ip", "link", "del", "wire0")
	h.unchanged(before)
}

// background starts a program that ends with the test.
func background(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
