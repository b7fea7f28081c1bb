// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/netlink"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network"
	"github.com/rkt/rkt/internal/pod/network/cni"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// pluginDir is where Debian has its plugins.
const pluginDir = "/usr/lib/cni"

// patience guards against hanging.
const patience = 30 * time.Second

// a host is configuration, data and register directories on the tests' host.
type host struct {
	t         testing.TB
	conf      string // rkt's net.d
	foreign   string // a directory like /etc/cni/net.d
	data, run string
	extra     string // a directory of plugins of the test's own
}

func newHost(t testing.TB) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{t, filepath.Join(dir, "net.d"), filepath.Join(dir, "cni"), filepath.Join(dir, "data"), filepath.Join(dir, "run"), filepath.Join(dir, "plugins")}
	for _, d := range []string{h.conf, h.foreign, h.data, h.extra} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// source is what a new process of rkt's would make.
func (h *host) source() *cni.Source {
	return &cni.Source{Runner: cni.Runner{Path: []string{h.extra, pluginDir}, Patience: patience},
		Dirs: []cni.Dir{{Path: h.conf}, {Path: h.foreign, Foreign: true}}, Register: h.run}
}

// configure writes a configuration, with quotes for ' in it.
func (h *host) configure(file, text string) {
	h.t.Helper()
	dir := h.conf
	if rest, ok := strings.CutPrefix(file, "foreign/"); ok {
		dir, file = h.foreign, rest
	}
	text = strings.ReplaceAll(text, "'", `"`)
	if !json.Valid([]byte(text)) {
		h.t.Fatalf("%s is not JSON: %s", file, text)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// plugin writes a plugin of the test's own.
func (h *host) plugin(name, script string) {
	h.t.Helper()
	// Written by a program of its own: were it open for writing here while
	// another goroutine forks, it could not be run.
	cmd := exec.Command("install", "-m", "755", "/dev/stdin", filepath.Join(h.extra, name))
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + script)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
}

// a pd is a pod, as far as networks see it: a namespace and a directory.
type pd struct {
	*host
	id  pod.UUID
	ns  *os.File
	pid int
	cmd *exec.Cmd

	sockets []io.Closer // of the tests' own in the namespace; they keep it
}

// pod starts a pod: a process in a network namespace of its own.
func (h *host) pod() *pd {
	h.t.Helper()
	id, err := pod.NewUUID()
	if err != nil {
		h.t.Fatal(err)
	}
	p := &pd{host: h, id: id}
	if err := os.MkdirAll(p.dir(), 0o755); err != nil {
		h.t.Fatal(err)
	}
	p.cmd = exec.Command("sleep", "infinity")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is the thread's death
	err = p.cmd.Start()
	runtime.UnlockOSThread()
	if err != nil {
		h.t.Fatal(err)
	}
	p.pid = p.cmd.Process.Pid
	if p.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid)); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.kill)
	p.in("ip", "link", "set", "lo", "up")
	return p
}

func (p *pd) dir() string { return filepath.Join(p.data, "pods", "run", string(p.id)) }

// kill ends the pod's process, and with the last descriptor its namespace.
func (p *pd) kill() {
	for _, s := range p.sockets {
		_ = s.Close()
	}
	p.sockets = nil
	if p.ns != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = p.ns.Close()
		p.ns = nil
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != own {
			p.t.Errorf("%s is still in %s, and this process in %s", task, ns, own)
		}
	}
}

func (p *pd) attachment(name, ifName string, args ...string) *network.Attachment {
	return &network.Attachment{UUID: p.id, DataDir: p.data, PodDir: p.dir(), NetNS: p.ns,
		Network: contract.Network{Name: name, IfName: ifName, Args: args},
		Warn:    func(format string, args ...any) { p.t.Logf("warning: "+format, args...) }}
}

// add attaches the pod, as a process of its own would do it.
func (p *pd) add(a *network.Attachment) (contract.Attached, error) {
	p.t.Helper()
	d, err := p.source().Find(a.Network.Name)
	if err != nil {
		return contract.Attached{}, err
	}
	return d.Add(context.Background(), a)
}

func (p *pd) mustAdd(a *network.Attachment) contract.Attached {
	p.t.Helper()
	at, err := p.add(a)
	if err != nil {
		p.t.Fatal(err)
	}
	a.Attached = at
	return at
}

// del gives back, as a process does that knows no configuration any more.
func (p *pd) del(a *network.Attachment) error {
	p.t.Helper()
	a.NetNS = p.ns
	d, err := p.source().Former(contract.Attached{Driver: cni.DriverName})
	if err != nil {
		p.t.Fatal(err)
	}
	return d.Del(context.Background(), a)
}

func (p *pd) mustDel(a *network.Attachment) {
	p.t.Helper()
	if err := p.del(a); err != nil {
		p.t.Fatal(err)
	}
}

// in runs a program in the pod's network.
func (p *pd) in(argv ...string) string {
	p.t.Helper()
	return run(p.t, append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", p.pid)}, argv...)...)
}

// run runs a program on the tests' host.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// serve answers each connection to the pod's port with text and the address of
// the other side.
func (p *pd) serve(protocol, address, text string) {
	p.t.Helper()
	if protocol == "udp" {
		var c net.PacketConn
		p.inside(func() (err error) { c, err = net.ListenPacket(protocol, address); return err })
		p.sockets = append(p.sockets, c)
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(from.String())
				_, _ = c.WriteTo([]byte(text+" "+host), from)
			}
		}()
		return
	}
	var l net.Listener
	p.inside(func() (err error) { l, err = net.Listen(protocol, address); return err })
	p.sockets = append(p.sockets, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, text+" "+host)
			_ = c.Close()
		}
	}()
}

// inside calls f in the pod's network. The thread comes back: one that does not
// ends with its goroutine, unless it is the program's first, which stays for good,
// and with it the namespace and the host's end of its links.
func (p *pd) inside(f func() error) {
	p.t.Helper()
	if err := netlink.In(p.ns, f); err != nil {
		p.t.Fatal(err)
	}
}

// ask connects from the tests' host and returns the answer.
func ask(protocol, address string) (string, error) {
	c, err := net.DialTimeout(protocol, address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if protocol == "udp" {
		if _, err := io.WriteString(c, "?"); err != nil {
			return "", err
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

// ask connects from the pod.
func (p *pd) ask(protocol, address string) (text string, err error) {
	p.t.Helper()
	p.inside(func() error { text, err = ask(protocol, address); return nil })
	return text, err
}

// state is everything on the host that a pod's networks could leave: links,
// rules that name it, leases, records.
func (h *host) state() []string {
	h.t.Helper()
	var list []string
	var links []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal([]byte(run(h.t, "ip", "-j", "link")), &links); err != nil {
		h.t.Fatal(err)
	}
	for _, l := range links {
		list = append(list, "link "+l.Name)
	}
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(run(h.t, save)) {
			// Plugins keep the chains that all their rules hang from.
			if strings.HasPrefix(line, "-A") && !keptRule(line) {
				list = append(list, save+" "+strings.TrimSpace(line))
			}
		}
	}
	for _, dir := range []string{"/var/lib/cni", h.run} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			name := filepath.Base(path)
			if err == nil && !d.IsDir() && name != "lock" && !strings.HasSuffix(name, ".lock") && !strings.HasPrefix(name, "last_reserved_ip") {
				list = append(list, "file "+path)
			}
			return nil
		})
	}
	slices.Sort(list)
	return list
}

// keptRule: a jump to a chain of the plugins' own, or a rule that marks.
func keptRule(line string) bool {
	for _, s := range []string{"-j CNI-HOSTPORT", "-j CNI-FORWARD", "-j CNI-ADMIN", "-j MARK --set-xmark 0x2000/0x2000", "--mark 0x2000/0x2000 -j MASQUERADE"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// unchanged compares the host with what it was, but for links that last (a
// bridge). Links that went with a namespace go in the kernel's own time.
func (h *host) unchanged(before []string, lasting ...string) {
	h.t.Helper()
	var differs []string
	for start := time.Now(); time.Since(start) < patience; time.Sleep(5 * time.Millisecond) {
		differs = nil
		after := slices.DeleteFunc(h.state(), func(s string) bool {
			return slices.Contains(lasting, strings.TrimPrefix(s, "link "))
		})
		onlyLinks := true
		for _, s := range after {
			if !slices.Contains(before, s) {
				differs = append(differs, "left on the host: "+s)
				onlyLinks = onlyLinks && strings.HasPrefix(s, "link ")
			}
		}
		for _, s := range before {
			if !slices.Contains(after, s) {
				differs = append(differs, "no longer on the host: "+s)
				onlyLinks = false
			}
		}
		if differs == nil || !onlyLinks {
			break
		}
	}
	for _, s := range differs {
		h.t.Error(s)
	}
}
