// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/test/rkt"
)

// A world is the network around the machine that pods run on, which is the
// test's own network namespace: a second host, in another, on a wire between
// them. Addresses are those of documentation (RFC 5737, RFC 3849).
type world struct {
	t       *testing.T
	h       *rkt.Host
	id      string // of the tiny image
	peer    string // directory of the program
	outside int    // pid of a process in the second host's namespace
	clean   string // rules before the first pod
}

const (
	uplink4, second4 = "192.0.2.1", "192.0.2.2"
	uplink6, second6 = "2001:db8::1", "2001:db8::2"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"ip", "nft", "nsenter", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	w := &world{t: t, peer: buildPeer(t)}
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	w.outside = holder.Process.Pid
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
		_ = exec.Command("ip", "link", "del", "up0").Run()
	})
	w.ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(w.outside))
	w.ip("link", "set", "up0", "up")
	w.ip("addr", "add", uplink4+"/24", "dev", "up0")
	w.ip("-6", "addr", "add", uplink6+"/64", "dev", "up0", "nodad")
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"link", "set", "eth0", "up"}, {"addr", "add", second4 + "/24", "dev", "eth0"},
		{"-6", "addr", "add", second6 + "/64", "dev", "eth0", "nodad"}} {
		w.must(w.second(append([]string{"ip"}, args...)...))
	}
	w.clean = w.rules()
	w.h = host(t)
	w.id = tinyID(t, w.h)
	return w
}

// buildPeer builds the program peer, or finds it where there is no Go, and returns
// its directory.
func buildPeer(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("RKT_TEST_PEER"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/peer", "./test/peer")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build peer: %v\n%s", err, out)
	}
	return dir
}

func (w *world) ip(args ...string) string {
	w.t.Helper()
	return w.must(exec.Command("ip", args...))
}

// second is a command on the second host.
func (w *world) second(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(w.outside), "-n"}, argv...)...)
}

func (w *world) must(cmd *exec.Cmd) string {
	w.t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// ask lets the test's own side speak, by python and not by our own code.
const askPython = `
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.settimeout(3)
s.connect((sys.argv[2], int(sys.argv[3])))
s.send(b"who am I?")
print(s.recv(1500).decode())
`

// servePython answers everyone with their address.
const servePython = `
import socket, sys
def host(a): return a[0].replace("::ffff:", "").encode()
def tcp():
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(50); print("ready", flush=True)
    while True:
        c, a = s.accept(); c.sendall(host(a)); c.close()
tcp()
`

// from asks from the host itself.
func (w *world) fromHost(protocol, address string, port int) (string, error) {
	out, err := exec.Command("python3", "-c", askPython, protocol, address, strconv.Itoa(port)).Output()
	return strings.TrimSpace(string(out)), err
}

// fromSecond asks from the second host.
func (w *world) fromSecond(protocol, address string, port int) (string, error) {
	out, err := w.second("python3", "-c", askPython, protocol, address, strconv.Itoa(port)).Output()
	return strings.TrimSpace(string(out)), err
}

// answers fails the test unless the answer is as wanted.
func (w *world) answers(what, want string) func(string, error) {
	return func(got string, err error) {
		w.t.Helper()
		if err != nil || got != want {
			w.t.Errorf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
}

// silent fails the test if there was an answer.
func (w *world) silent(what string) func(string, error) {
	return func(got string, err error) {
		w.t.Helper()
		if err == nil {
			w.t.Errorf("%s: answered %q; want nothing", what, got)
		}
	}
}

// serve starts a server on the test's side; it ends with the test.
func (w *world) serve(cmd *exec.Cmd) {
	w.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b := make([]byte, 16)
	if _, err := out.Read(b); err != nil {
		w.t.Fatalf("server: %v", err)
	}
}

// A netPod is a pod that runs and serves.
type netPod struct {
	*rkt.Process
	w    *world
	uuid string
	ip   []string // version 4 of each network, in order
	ip6  []string
}

// args are those of a pod of the tiny image with the program peer in it.
func (w *world) args(flags []string, script string) []string {
	args := append([]string{"run", "--volume=peer,kind=host,readOnly=true,source=" + w.peer}, flags...)
	args = append(args, w.id, "--mount=volume=peer,target=/peer")
	return append(args, sh(script)...)
}

// run runs a script in a pod to its end.
func (w *world) run(flags []string, script string) rkt.Result {
	w.t.Helper()
	return w.h.Rkt(w.args(flags, script)...)
}

// pod starts a pod that serves at the given places.
func (w *world) pod(flags []string, places ...string) *netPod {
	w.t.Helper()
	return w.podScript(flags, "exec /peer/peer serve "+strings.Join(places, " "))
}

// podScript starts a pod with a script that says "ready".
func (w *world) podScript(flags []string, script string) *netPod {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "uuid")
	p := &netPod{w: w, Process: w.h.Start(w.args(append([]string{"--uuid-file-save=" + file}, flags...), script)...)}
	p.Expect("ready")
	p.uuid = readUUID(w.t, file)
	var status struct {
		Networks []struct{ NetName, IfName, IP, IP6 string }
	}
	if err := json.Unmarshal([]byte(w.h.Must("status", "--json", p.uuid).Stdout), &status); err != nil {
		w.t.Fatal(err)
	}
	for _, n := range status.Networks {
		p.ip, p.ip6 = append(p.ip, n.IP), append(p.ip6, n.IP6)
	}
	return p
}

// ask asks from inside the pod.
func (p *netPod) ask(protocol, address string, port int) (string, error) {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	r := p.w.h.Rkt("enter", p.uuid, "/peer/peer", "ask", protocol+":"+address+":"+strconv.Itoa(port))
	if r.Status != 0 {
		return r.Out(), &exec.Error{Name: "peer", Err: os.ErrDeadlineExceeded}
	}
	return r.Out(), nil
}

// end ends the pod and waits for it.
func (p *netPod) end() {
	p.w.t.Helper()
	p.Signal(unix.SIGTERM)
	p.Wait()
}

// rules are all nftables rules of the host, without what counts.
func (w *world) rules() string {
	w.t.Helper()
	return w.must(exec.Command("nft", "--stateless", "list", "ruleset"))
}

// leases are the names of all lease files.
func (w *world) leases() (names []string) {
	for _, pattern := range []string{"networks/*/leases/[^.]*", "networks/ports/[^.]*"} {
		found, _ := filepath.Glob(filepath.Join(w.h.Dir, pattern))
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

// nothingLeft fails the test if pods that ended still hold something, or if gc
// leaves something on the host.
func (w *world) nothingLeft() {
	w.t.Helper()
	if l := w.leases(); l != nil {
		w.t.Errorf("leases are left: %q", l)
	}
	w.h.Must("gc", "--grace-period=0s")
	if r := w.rules(); r != w.clean {
		w.t.Errorf("rules are left:\n%s", r)
	}
	// The kernel removes the interfaces of a namespace that ended in its own time.
	for until := time.Now().Add(rkt.Patience); ; time.Sleep(10 * time.Millisecond) {
		links := w.ip("-o", "link")
		if !strings.Contains(links, "rktv") {
			return
		}
		if time.Now().After(until) {
			w.t.Errorf("interfaces are left:\n%s", links)
			return
		}
	}
}
