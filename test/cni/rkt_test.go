// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rkt/rkt/test/images"
	"github.com/rkt/rkt/test/rkt"
)

// installed builds rkt, once, in a directory that the outer process removes.
var installed = sync.OnceValues(func() (rkt.Install, error) { return rkt.Build(filepath.Join(os.Getenv(inside), "plain"), "") })

// a world is the tests' host with rkt on it.
type world struct {
	*host
	*rkt.Host
	tiny string // the image's ID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, installed)
}

func newWorldOf(t *testing.T, build func() (rkt.Install, error)) *world {
	t.Helper()
	install, err := build()
	if err != nil {
		t.Fatal(err)
	}
	layout, err := images.Layout()
	if err != nil {
		t.Skip(err)
	}
	w := &world{host: newHost(t), Host: rkt.New(t, install)}
	w.conf = filepath.Join(w.LocalConfig(), "net.d")
	w.extra = filepath.Join(w.LocalConfig(), "plugins", "net")
	w.run = "/run/rkt/cni"
	for _, dir := range []string{w.conf, w.extra} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.tiny = w.Must("fetch", "--full", "oci:"+layout+":"+images.Tiny).Out()
	return w
}

// start runs a script in a pod, after which it says "ready" and waits.
func (w *world) start(t *testing.T, script string, flags ...string) (p *rkt.Process, uuid string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "uuid")
	args := append([]string{"run", "--uuid-file-save=" + file}, flags...)
	p = w.Start(append(args, w.tiny, "--exec=/bin/sh", "--", "-c", script+"; echo ready; exec sleep 1000")...)
	p.Expect("ready")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(string(text))
}

// listed is what rkt net inspect says, as JSON.
func (w *world) listed(t *testing.T, names ...string) (list []struct {
	Name, Kind, File, Status string
	Hidden, Shared           bool
	Leases                   []struct{ Address, Holder, IfName, State, Check string }
}) {
	t.Helper()
	out := w.Must(append([]string{"net", "inspect", "--check", "--json"}, names...)...).Stdout
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return list
}

// table is what rkt net list prints, with a bar between cells.
func (w *world) table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(w.Must("net", "list").Stdout) {
		b.WriteString(strings.Join(strings.Fields(line), "|") + "\n")
	}
	return b.String()
}

func expect(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in:\n%s", what, want, text)
		}
	}
}

const chainConf = `{'cniVersion': '0.4.0', 'name': 'web', 'plugins': [
	{'type': 'bridge', 'bridge': 'web0', 'isGateway': true, 'ipMasq': true, 'capabilities': {'ips': true},
		'ipam': {'type': 'host-local', 'ranges': [[{'subnet': '10.80.1.0/24'}]], 'routes': [{'dst': '0.0.0.0/0'}]},
		'dns': {'nameservers': ['10.80.1.1'], 'search': ['example.test']}},
	{'type': 'tuning', 'capabilities': {'mac': true}},
	{'type': 'portmap', 'capabilities': {'portMappings': true}, 'snat': true},
	{'type': 'firewall'}]}`

// TestRun: a pod on a chain of plugins, from its start to its end.
func TestRun(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall", "tuning")
	w := newWorld(t)
	before := w.state()
	w.configure("10-web.conflist", chainConf)
	w.configure("20-side.conf", `{'name': 'side', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.80.2.0/24'}}`)
	p, uuid := w.start(t, "ip -o addr; cat /etc/resolv.conf; (while :; do echo hello | nc -l -p 80; done) & :",
		"--net=web:ips=10.80.1.7;mac=02:80:00:00:00:07,side:IP=10.80.2.9", "--port=www:tcp:80:8088")
	expect(t, "in the pod", p.Output(), "inet 10.80.1.7/24", "inet 10.80.2.9/24", "nameserver 10.80.1.1", "search example.test")
	answers := func(address string) {
		t.Helper()
		var out string
		var err error
		for start := time.Now(); time.Since(start) < patience; time.Sleep(20 * time.Millisecond) {
			if out, err = ask("tcp", address); err == nil && out == "hello\n" {
				return
			}
		}
		t.Errorf("%s: %q, %v", address, out, err)
	}
	answers("10.80.1.7:80")
	answers("10.80.1.1:8088")
	answers("127.0.0.1:8088")
	answers("10.80.2.9:80")
	expect(t, "status", w.Must("status", uuid).Stdout, "web:ip4=10.80.1.7", "side:ip4=10.80.2.9")
	expect(t, "list", w.Must("list").Stdout, "web:ip4=10.80.1.7")
	expect(t, "status --json", w.Must("status", "--json", uuid).Stdout, `"mac":"02:80:00:00:00:07"`, `"pluginPath":"/usr/lib/cni/bridge"`,
		`"netConf":"`+filepath.Join(w.conf, "10-web.conflist")+`"`, `"mask":"255.255.255.0"`)
	expect(t, "net list", w.table(t), "web|bridge|10.80.1.0/24|1|0|"+w.conf+"/10-web.conflist\n", "\ndefault|builtin|-|0|0|-\n")
	expect(t, "net inspect", w.Must("net", "inspect", "web").Stdout, "plugins=bridge, tuning, portmap, firewall", "lease=10.80.1.7 used "+uuid+" eth0")
	side := w.listed(t, "side")[0]
	if len(side.Leases) != 1 || side.Leases[0].Check != "unknown" || side.Status != "unknown" || side.Leases[0].IfName != "eth1" {
		t.Errorf("side: %+v", side)
	}
	w.Must("stop", uuid)
	if status := p.Wait(); status != 128+15 && status != 0 {
		t.Errorf("exit status %d", status)
	}
	expect(t, "status", w.Must("status", uuid).Stdout, "state=exited", "web:ip4=10.80.1.7")
	w.unchanged(before, "web0")
	run(t, "ip", "link", "del", "web0")
	if out := w.Must("net", "gc").Stdout; out != "" {
		t.Errorf("net gc had something to give back: %s", out)
	}
}

// TestKilled: what a pod held that was killed with its supervisor, rkt net gc
// gives back, and so does rkt gc; also when the configuration is gone.
func TestKilled(t *testing.T) {
	needs(t, "bridge", "host-local", "portmap", "firewall", "tuning")
	for _, how := range []string{"net gc", "gc --grace-period=0s"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			before := w.state()
			w.configure("10-web.conflist", chainConf)
			p, uuid := w.start(t, "true", "--net=web", "--port=www:tcp:80:8088")
			if err := os.Remove(filepath.Join(w.conf, "10-web.conflist")); err != nil {
				t.Fatal(err)
			}
			p.Signal(syscall.SIGKILL)
			p.Wait()
			w.Gone()
			if len(w.state()) == len(before) {
				t.Error("the pod left nothing; the test is no use")
			}
			out := w.Must(strings.Fields(how)...)
			w.unchanged(before, "web0")
			run(t, "ip", "link", "del", "web0")
			if how == "net gc" {
				expect(t, "status", w.Must("status", uuid).Stdout, "state=exited")
			}
			_ = out
		})
	}
}

// TestLost: the pod's directory is gone, and with it all that rkt knew.
func TestLost(t *testing.T) {
	needs(t, "ptp", "host-local")
	w := newWorld(t)
	before := w.state()
	w.configure("10-side.conf", `{'name': 'side', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.81.2.0/24'}}`)
	p, uuid := w.start(t, "true", "--net=side")
	q, other := w.start(t, "true", "--net=side")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	await(t, "the pod's end", func() bool { return strings.Contains(w.Rkt("status", uuid).Stdout, "state=exited") })
	if err := os.RemoveAll(filepath.Join(w.Dir, "pods", "run", uuid)); err != nil {
		t.Fatal(err)
	}
	expect(t, "net list", w.table(t), "side|ptp|10.81.2.0/24|2|1|")
	expect(t, "net inspect", w.Must("net", "inspect", "side").Stdout, "lease=10.81.2.2 nobody "+uuid+" eth0", "lease=10.81.2.3 used "+other+" eth0")
	expect(t, "net gc", w.Must("net", "gc").Stdout, `gave back 10.81.2.2 of network "side": pod `+uuid)
	expect(t, "net list", w.table(t), "side|ptp|10.81.2.0/24|1|0|")
	w.Must("stop", "--force", other)
	q.Wait()
	w.unchanged(before)
}

// TestPrecedence: a file of the administrator's is the network "default", a
// file of the user's comes before it, and --net=all is everything, in order.
func TestPrecedence(t *testing.T) {
	needs(t, "ptp", "host-local")
	w := newWorld(t)
	before := w.state()
	conf := func(name, subnet string) string {
		return fmt.Sprintf(`{'name': '%s', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '%s'}}`, name, subnet)
	}
	w.configure("50-default.conf", conf("default", "10.82.1.0/24"))
	w.configure("10-last.conf", conf("last", "10.82.2.0/24"))
	w.configure("foreign/05-shared.conf", conf("shared", "10.82.3.0/24"))
	w.configure("foreign/06-default.conf", conf("default", "10.82.4.0/24"))
	w.configure("foreign/07-broken.conf", `{'name': 5}`)
	out := w.Must("run", w.tiny, "--exec=/bin/sh", "--", "-c", "ip -o -4 addr show dev eth0").Stdout
	expect(t, "default", out, "inet 10.82.1.2/24")
	r := w.Rkt("run", "--net=shared", w.tiny, "--exec=/bin/true")
	if r.Status != 254 || !strings.Contains(r.Stderr, `networks not found: "shared"`) {
		t.Errorf("a network nobody told rkt of: %d %s", r.Status, r.Stderr)
	}

	user := t.TempDir()
	for file, text := range map[string]string{
		"net.d/90-default.conf": conf("default", "10.82.5.0/24"),
		"paths.d/p.json":        `{'rktKind': 'paths', 'rktVersion': 'v1', 'cni-networks': ['` + w.foreign + `']}`,
	} {
		path := filepath.Join(user, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "'", `"`)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.Flags = append(w.Flags, "--user-config="+user)
	r = w.Rkt("run", "--net=all", w.tiny, "--exec=/bin/sh", "--", "-c", "ip -o -4 addr")
	if r.Status != 0 {
		t.Errorf("--net=all: %s", r.Stderr)
	}
	// 10-last, 90-default, the built-in default-restricted, 05-shared.
	expect(t, "all", r.Stdout, "inet 10.82.2.", "inet 10.82.5.", "inet 172.31.", "inet 10.82.3.")
	for i, subnet := range []string{"10.82.2.", "10.82.5.", "172.31.", "10.82.3."} {
		expect(t, "all", r.Stdout, "eth"+strconv.Itoa(i)+"    inet "+subnet)
	}
	expect(t, "net list", w.table(t), "\ndefault|ptp|10.82.5.0/24|", "\n(default)|builtin|", "\n(default)|ptp|10.82.1.0/24|", "\n(default)|ptp|10.82.4.0/24|", "\nshared|ptp|")
	expect(t, "net list says", w.Must("net", "list").Stderr, "07-broken.conf")
	r = w.Rkt("run", "--net=nowhere", w.tiny, "--exec=/bin/true")
	if r.Status != 254 || !strings.Contains(r.Stderr, "07-broken.conf") {
		t.Errorf("a name that may be in the broken file: %d %s", r.Status, r.Stderr)
	}
	w.unchanged(before)
}

// TestRefused: whatever is wrong with a network keeps the pod from starting, is
// told with the names of both, and leaves nothing.
func TestRefused(t *testing.T) {
	needs(t, "bridge", "host-local")
	w := newWorld(t)
	before := w.state()
	w.plugin("unlucky", `cat >/dev/null; [ $CNI_COMMAND = DEL ] && exit 0; echo '{"code": 7, "msg": "no such luck"}'; exit 1`)
	w.configure("10-unlucky.conflist", `{'cniVersion': '0.4.0', 'name': 'unlucky', 'plugins': [
		{'type': 'bridge', 'bridge': 'luck0', 'isGateway': true, 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.83.1.0/24'}}, {'type': 'unlucky'}]}`)
	w.configure("20-missing.conf", `{'name': 'missing', 'type': 'missing'}`)
	w.configure("30-good.conf", `{'name': 'good', 'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.83.2.0/24'}}`)
	refused := func(net string, wants ...string) {
		t.Helper()
		r := w.Rkt("run", "--net="+net, w.tiny, "--exec=/bin/sh", "--", "-c", "echo started")
		if r.Status != 254 || strings.Contains(r.Stdout, "started") {
			t.Errorf("--net=%s: %d %s", net, r.Status, r.Stdout)
		}
		expect(t, "--net="+net, r.Stderr, wants...)
		w.unchanged(before, "luck0")
	}
	refused("good,unlucky", `network "unlucky": plugin "unlucky": no such luck (code 7)`)
	refused("missing", `network "missing": plugin "missing" is not in `)
	refused("good:mac=02:83:00:00:00:01", `network "good": no plugin of it has the capability mac`)
	refused("good:IP=10.99.0.1", `network "good": plugin "ptp": `, "10.99.0.1")
	refused("nowhere", `networks not found: "nowhere"`)
	w.configure("40-broken.conf", `{'name': 'broken', 'type': 'x/y'}`)
	refused("good", w.conf+`/40-broken.conf": type "x/y" is not the name of a file`)
	if out := w.Must("list", "--no-legend").Stdout; strings.Contains(out, "running") {
		t.Errorf("list: %s", out)
	}
	if err := os.Remove(filepath.Join(w.conf, "40-broken.conf")); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "del", "luck0")
}

// TestStubborn: what cannot be undone when a start fails is kept in mind, and
// given back when its plugin can.
func TestStubborn(t *testing.T) {
	needs(t, "ptp", "host-local")
	w := newWorld(t)
	before := w.state()
	w.plugin("stubborn", `echo '{"code": 7, "msg": "not today"}'; exit 1`)
	w.configure("10-stubborn.conflist", `{'cniVersion': '0.4.0', 'name': 'stubborn', 'plugins': [
		{'type': 'ptp', 'ipMasq': true, 'ipam': {'type': 'host-local', 'subnet': '10.79.1.0/24'}}, {'type': 'stubborn'}]}`)
	r := w.Rkt("run", "--net=stubborn", w.tiny, "--exec=/bin/true")
	if r.Status != 254 {
		t.Errorf("exit status %d", r.Status)
	}
	expect(t, "run", r.Stderr, `network "stubborn": plugin "stubborn": not today (code 7)`, `cannot undo what was done: plugin "stubborn": not today`)
	pods := w.Pods()
	if len(pods) != 1 {
		t.Fatalf("pods: %v", pods)
	}
	expect(t, "net inspect", w.Must("net", "inspect", "stubborn").Stdout, "lease=10.79.1.2 ended "+pods[0]+" eth0")
	for range 2 {
		if r := w.Rkt("gc", "--grace-period=0s"); r.Status == 0 || !strings.Contains(r.Stderr, `plugin "stubborn": not today`) {
			t.Errorf("gc: %d %s", r.Status, r.Stderr)
		}
	}
	if again := w.Pods(); len(again) != 1 {
		t.Errorf("the pod and what it holds is forgotten: %v", again)
	}
	w.plugin("stubborn", `exit 0`)
	w.Must("net", "gc")
	w.unchanged(before)
	w.Must("gc", "--grace-period=0s")
	if pods := w.Pods(); len(pods) != 0 {
		t.Errorf("pods: %v", pods)
	}
}

// TestInterrupted: the user does not wait for a plugin that hangs.
func TestInterrupted(t *testing.T) {
	needs(t, "ptp", "host-local")
	w := newWorld(t)
	before := w.state()
	w.plugin("hangs", `[ $CNI_COMMAND = DEL ] && exit 0; echo hanging >&2; exec sleep 1000`)
	w.configure("10-hang.conflist", `{'cniVersion': '0.4.0', 'name': 'hang', 'plugins': [
		{'type': 'ptp', 'ipam': {'type': 'host-local', 'subnet': '10.84.1.0/24'}}, {'type': 'hangs'}]}`)
	p := w.Start("run", "--net=hang", w.tiny, "--exec=/bin/true")
	var helper int
	await(t, "the plugin", func() bool {
		for _, child := range children(p.PID()) {
			for _, plugin := range children(child) {
				if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", plugin)); filepath.Base(exe) == "sleep" {
					helper = child
				}
			}
		}
		return helper != 0
	})
	if err := syscall.Kill(helper, syscall.SIGINT); err != nil { // as the terminal does
		t.Fatal(err)
	}
	if status := p.Wait(); status == 0 {
		t.Errorf("exit status %d", status)
	}
	expect(t, "output", p.Output(), `network "hang": interrupted`)
	w.unchanged(before)
}

func children(pid int) (list []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(word)
			list = append(list, n)
		}
	}
	return list
}

// TestGarbage: plugins of version 1.1.0 are told which attachments are good, and
// asked for STATUS and CHECK.
func TestGarbage(t *testing.T) {
	needs(t, "ptp", "host-local")
	w := newWorld(t)
	before := w.state()
	seen := filepath.Join(t.TempDir(), "seen")
	// Debian's plugins are older than 1.1.0: this one talks to them for us.
	w.plugin("modern", `
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}';;
STATUS) [ ! -e `+seen+`.sick ] || { echo '{"code": 50, "msg": "unwell"}'; exit 1; };;
GC) cat > `+seen+`;;
*) sed s/1.1.0/1.0.0/g | `+pluginDir+`/ptp | sed s/1.0.0/1.1.0/g;;
esac`)
	w.configure("10-modern.conflist", `{'cniVersions': ['0.4.0', '1.1.0'], 'name': 'modern', 'plugins': [{'type': 'modern', 'ipam': {'type': 'host-local', 'subnet': '10.85.1.0/24'}}]}`)
	p, uuid := w.start(t, "true", "--net=modern")
	w.Must("net", "gc")
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	var gc struct {
		Valid []map[string]string `json:"cni.dev/valid-attachments"`
	}
	if err := json.Unmarshal(text, &gc); err != nil || len(gc.Valid) != 1 || gc.Valid[0]["containerID"] != uuid || gc.Valid[0]["ifname"] != "eth0" {
		t.Errorf("GC was told %s", text)
	}
	n := w.listed(t, "modern")[0]
	if n.Status != "ready" || len(n.Leases) != 1 || n.Leases[0].Check != "good" || n.Leases[0].State != "used" {
		t.Errorf("inspect: %+v", n)
	}
	if err := os.WriteFile(seen+".sick", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.Rkt("net", "inspect", "--check", "modern")
	if r.Status == 0 || !strings.Contains(r.Stdout, "unwell") || !strings.Contains(r.Stderr, `cannot use network "modern": plugin "modern": unwell (code 50)`) {
		t.Errorf("inspect: %+v", r)
	}
	w.Must("stop", "--force", uuid)
	p.Wait()
	w.unchanged(before)
}

// TestRktBandwidth: the isolator reaches a network by its plugin's capability, and
// is refused by one that has none.
func TestRktBandwidth(t *testing.T) {
	needs(t, "bridge", "host-local", "bandwidth")
	w := newWorld(t)
	t.Cleanup(func() { run(t, "ip", "link", "del", "band0") })
	const bridge = `{'type': 'bridge', 'bridge': 'band0', 'ipam': {'type': 'host-local', 'subnet': '10.88.9.0/24'}}`
	w.configure("10-band.conflist", `{'cniVersion': '1.0.0', 'name': 'band', 'plugins': [`+bridge+`, {'type': 'bandwidth', 'capabilities': {'bandwidth': true}}]}`)
	w.configure("11-plain.conflist", `{'cniVersion': '1.0.0', 'name': 'plain', 'plugins': [`+bridge+`]}`)
	p, _ := w.start(t, "true", "--net=band", "--network-bandwidth=1M")
	if out := run(t, "tc", "qdisc", "show"); strings.Count(out, "tbf") != 2 || strings.Count(out, "rate 8Mbit burst 128Kb") != 2 {
		t.Errorf("tc says: %s", out)
	}
	p.Signal(syscall.SIGTERM)
	p.Wait()
	for args, words := range map[string]string{
		"--net=plain": `network "plain": it cannot enforce the isolator resource/network-bandwidth: no plugin of it has the capability bandwidth`,
		"--net=band:ingressRate=8000;ingressBurst=8000": `network "band": it is limited twice`,
	} {
		r := w.Rkt("run", args, "--network-bandwidth=1M", w.tiny, "--exec=/bin/true")
		if r.Status != 254 || !strings.Contains(r.Stderr, words) {
			t.Errorf("%s: status %d\n%s", args, r.Status, r.Stderr)
		}
	}
	w.Must("gc", "--grace-period=0s")
}
