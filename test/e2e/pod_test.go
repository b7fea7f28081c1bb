// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/images"
)

// TestAppsShare: apps of a pod share the network, IPC, UTS and pid
// namespaces; each has its own root.
func TestAppsShare(t *testing.T) {
	h := host(t)
	img := image(t, images.Tiny)
	script := "for n in net ipc uts pid mnt; do echo $AC_APP_NAME $n $(readlink /proc/self/ns/$n); done; sleep 0.3"
	r := h.Rkt("run", "--net=none", img, "--name=one", "--exec=/bin/sh", "--", "-c", script, "---", img, "--name=two", "--exec=/bin/sh", "--", "-c", script)
	if r.Status != 0 {
		t.Fatalf("status %d\n%s", r.Status, r.Stderr)
	}
	ns := map[string]string{}
	for _, f := range regexp.MustCompile(`(one|two) (\w+) (\S+)`).FindAllStringSubmatch(r.Stdout, -1) {
		ns[f[1]+" "+f[2]] = f[3]
	}
	for _, n := range []string{"net", "ipc", "uts", "pid"} {
		own, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if ns["one "+n] == "" || ns["one "+n] != ns["two "+n] {
			t.Errorf("%s namespace: %q and %q, want the same", n, ns["one "+n], ns["two "+n])
		}
		if ns["one "+n] == own {
			t.Errorf("the %s namespace is the host's", n)
		}
	}
	if ns["one mnt"] == ns["two mnt"] {
		t.Errorf("the apps share a mount namespace")
	}
	if r := h.Rkt("run", "--net=host", img, "--exec=/bin/readlink", "--", "/proc/self/ns/net"); r.Out() != mustReadlink(t, "/proc/self/ns/net") {
		t.Errorf("--net=host: the app is in %q", r.Out())
	}
}

func mustReadlink(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAppsSeeEachOther: with a shared pid namespace an app finds the other's
// process, but not its files.
func TestAppsSeeEachOther(t *testing.T) {
	h := host(t)
	img := image(t, images.Tiny)
	r := h.Rkt("run", "--net=none",
		img, "--name=one", "--exec=/bin/sh", "--", "-c", "echo 1 > /mark-of-one; sleep 1000 & wait", "---",
		img, "--name=two", "--exec=/bin/sh", "--", "-c", "while ! ps | grep -v grep | grep -q 'sleep 1000'; do sleep 0.05; done; echo sees sleep; test -e /mark-of-one || echo own root; exit 3", "---")
	if r.Status != 3 || r.Stdout != "sees sleep\nown root\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}

func TestNetNone(t *testing.T) {
	h := host(t)
	r := h.Rkt(append([]string{"run", "--net=none", image(t, images.Tiny)}, sh("ip -o link | wc -l; ip -o addr show lo | grep -c '127.0.0.1/8'; ip route | wc -l")...)...)
	if r.Status != 0 || strings.Join(strings.Fields(r.Stdout), " ") != "1 1 0" {
		t.Errorf("the network none is not just loopback: %q\n%s", r.Stdout, r.Stderr)
	}
}

func TestHostnameHostsDNS(t *testing.T) {
	h := host(t)
	r := tiny(t, h, []string{"--hostname=box", "--hosts-entry=10.1.2.3=db,10.1.2.4=cache", "--dns=9.9.9.9", "--dns=1.1.1.1", "--dns-search=example.com", "--dns-opt=ndots:2", "--dns-domain=corp.example"}, nil,
		"hostname; cat /etc/hosts; echo --; cat /etc/resolv.conf")
	hosts, resolv, _ := strings.Cut(r.Stdout, "--\n")
	if !strings.HasPrefix(hosts, "box\n") {
		t.Errorf("hostname: %q\n%s", hosts, r.Stderr)
	}
	for _, want := range []string{`10\.1\.2\.3\s+db`, `10\.1\.2\.4\s+cache`, `127\.0\.0\.1\s.*localhost`} {
		if !regexp.MustCompile(want).MatchString(hosts) {
			t.Errorf("/etc/hosts has no %s:\n%s", want, hosts)
		}
	}
	for _, want := range []string{"nameserver 9.9.9.9\n", "nameserver 1.1.1.1\n", "search example.com\n", "options ndots:2\n", "domain corp.example\n"} {
		if !strings.Contains(resolv, want) {
			t.Errorf("/etc/resolv.conf has no %q:\n%s", want, resolv)
		}
	}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		if r := tiny(t, h, []string{"--dns=host"}, nil, "cat /etc/resolv.conf"); r.Stdout != string(host) {
			t.Errorf("--dns=host: %q, want the host's %q", r.Stdout, host)
		}
	}
	uuids := h.Pods()
	if r := tiny(t, h, nil, nil, "hostname"); !strings.HasPrefix(r.Out(), "rkt-") {
		t.Errorf("default hostname %q, want rkt-<uuid> (pods: %q)", r.Out(), uuids)
	}
}

// TestPodManifestJSON: an appc PodManifest over images in the store.
func TestPodManifestJSON(t *testing.T) {
	h := host(t)
	id := h.Must("fetch", "--full", image(t, images.Tiny)).Out()
	manifest := map[string]any{
		"acVersion": "0.8.11", "acKind": "PodManifest",
		"apps": []any{
			map[string]any{"name": "one", "image": map[string]any{"id": id}, "app": map[string]any{
				"exec": []string{"/bin/sh", "-c", "id -u; echo $WORD; cat /v/file; pwd"}, "user": "12", "group": "34", "workingDirectory": "/srv",
				"environment": []any{map[string]string{"name": "WORD", "value": "hello"}},
				"mountPoints": []any{map[string]any{"name": "v", "path": "/v", "readOnly": true}}}},
		},
		"volumes": []any{map[string]any{"name": "v", "kind": "host", "source": shared(t), "readOnly": true}},
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pod.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("run", "--net=host", "--pod-manifest="+file); r.Status != 0 || r.Stdout != "12\nhello\nfrom the host\n/srv\n" {
		t.Errorf("status %d, stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := h.Rkt("run", "--pod-manifest="+file, image(t, images.Tiny)); r.Status != 254 {
		t.Errorf("a pod manifest and an image: exit status %d, want 254", r.Status)
	}
}

// TestPodManifestYAML: a Kubernetes Pod wherever a pod manifest is taken.
func TestPodManifestYAML(t *testing.T) {
	h := host(t)
	s := serve(t, images.Tiny)
	file := filepath.Join(t.TempDir(), "pod.yaml")
	text := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: greeter
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: %[1]s/tiny:latest
    command: ["/bin/sh", "-c"]
    args: ["echo $WORD; touch /v/f; while ! test -e /v/done; do sleep 0.05; done"]
    env:
    - name: WORD
      value: hello
    volumeMounts:
    - name: v
      mountPath: /v
  - name: two
    image: %[1]s/tiny:latest
    command: ["/bin/sh", "-c", "while ! test -e /w/f; do sleep 0.05; done; echo two; touch /w/done; exit 6"]
    volumeMounts:
    - name: v
      mountPath: /w
  volumes:
  - name: v
    emptyDir: {}
`, s.Addr)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := h.Rkt("fetch", s.URL("tiny:latest")); r.Status != 0 {
		t.Fatalf("fetch: %s", r.Stderr)
	}
	if r := h.Rkt("run", "--net=none", "--pod-manifest="+file); r.Status != 6 || r.Stdout != "hello\ntwo\n" {
		t.Errorf("status %d, want 6; stdout %q\n%s", r.Status, r.Stdout, r.Stderr)
	}
}
