// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func network(name string) []pod.NetworkRequest { return []pod.NetworkRequest{{Name: name}} }

func TestOptions(t *testing.T) {
	for words, ask := range map[string]func(*fixture){
		`no app has a port "http"`: func(f *fixture) { f.req.Ports = []pod.ExposedPort{{Name: "http", HostPort: 80}} },
		`port "http" cannot be forwarded with --net=host`: func(f *fixture) {
			f.req.Options.Networks = network("host")
			f.req.Ports = []pod.ExposedPort{{Name: "http", HostPort: 80}}
		},
		`cannot be forwarded with --net=none`: func(f *fixture) {
			f.req.Options.Networks = network("none")
			f.req.Ports = []pod.ExposedPort{{Name: "http", HostPort: 80}}
		},
		"host name": func(f *fixture) { f.req.Options.Hostname = "a b" },
		"has one app": func(f *fixture) {
			f.req.Options.Interactive = true
			f.req.Apps = append(f.req.Apps, AppRequest{Image: f.rec, Name: "b"})
		},
		"not an IP":   func(f *fixture) { f.req.Options.DNS.Servers = []string{"x"} },
		"does not go": func(f *fixture) { f.req.Options.DNS.Domain = "x"; f.req.Options.DNSMode = "host" },
		"other entries": func(f *fixture) {
			f.req.Options.HostsFromHost = true
			f.req.Options.Hosts = []pod.HostsEntry{{IP: "1.1.1.1", Names: []string{"a"}}}
		},
		"not a host name": func(f *fixture) { f.req.Options.Hosts = []pod.HostsEntry{{IP: "1.1.1.1", Names: []string{"a\nb"}}} },
	} {
		t.Run(words, func(t *testing.T) {
			f := newFixture(t)
			ask(f)
			f.refused(words)
		})
	}
	f := newFixture(t)
	f.req.Options = Options{Networks: network("host"), Hostname: "box", Interactive: true, Term: "vt100", StopSeconds: 3,
		DNS:      pod.DNS{Servers: []string{"1.1.1.1", "8.8.8.8"}, Search: []string{"a.example", "b.example"}, Options: []string{"ndots:1"}, Domain: "example"},
		Hosts:    []pod.HostsEntry{{IP: "127.0.0.1", Names: []string{"me"}}, {IP: "10.0.0.1", Names: []string{"x", "y"}}},
		Insecure: contract.Insecure{Paths: true}}
	_, c, _ := f.pod()
	if c.Network != "host" || c.Hostname != "box" || !c.Interactive || c.StopSeconds != 3 || !c.Insecure.Paths || c.HostsIfMissing {
		t.Errorf("%+v", c)
	}
	wantResolv := "# Written by rkt.\n\nsearch a.example b.example\nnameserver 1.1.1.1\nnameserver 8.8.8.8\noptions ndots:1\ndomain example\n"
	if *c.Resolv != wantResolv {
		t.Errorf("resolv.conf %q", *c.Resolv)
	}
	for _, line := range []string{"127.0.0.1\tlocalhost localhost.localdomain box me\n", "10.0.0.1\tx y\n"} {
		if !strings.Contains(*c.Hosts, line) {
			t.Errorf("hosts %q lacks %q", *c.Hosts, line)
		}
	}
	if !slices.Contains(c.Apps[0].Environment, "TERM=vt100") {
		t.Errorf("environment %q", c.Apps[0].Environment)
	}
}

func TestComplete(t *testing.T) {
	f := newFixture(t)
	f.req.Options.Hostname = "first"
	f.app().ReadOnlyRootFS = true
	p, _, _ := f.pod()
	if err := Complete(p, f.req.Flavor, Options{}); err == nil {
		t.Error("completed before it was prepared")
	}
	if err := p.To(lifecycle.Prepared); err != nil {
		t.Fatal(err)
	}
	if err := Complete(p, f.req.Flavor, Options{Hostname: "a b"}); err == nil || !strings.Contains(err.Error(), string(p.ID())) {
		t.Errorf("%v", err)
	}
	if c, err := p.Contract(); err != nil || c.Network != "contained" || c.Networks[0].Name != "default" || c.Hostname != "first" {
		t.Errorf("after a refusal: %+v, %v", c, err)
	}
	// The flavor is another one by now.
	less := Flavor{Path: f.req.Flavor.Path, Manifest: f.req.Flavor.Manifest}
	less.Manifest.Features = slices.DeleteFunc(slices.Clone(less.Manifest.Features), func(g contract.Feature) bool { return g == contract.ReadOnlyRoot })
	if u := (*UnsupportedError)(nil); !errors.As(Complete(p, less, Options{Networks: network("host")}), &u) || u.Feature != contract.ReadOnlyRoot {
		t.Errorf("a flavor that has lost a feature: %v", u)
	}
	if err := Complete(p, f.req.Flavor, Options{Networks: network("host"), Hostname: "second", Interactive: true, Term: "xterm", DNSMode: "host"}); err != nil {
		t.Fatal(err)
	}
	c, err := p.Contract()
	if err != nil || c.Network != "host" || c.Hostname != "second" || !c.Interactive || len(c.Apps) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err == nil && (c.Resolv == nil || *c.Resolv != string(host)) {
		t.Errorf("resolv.conf %v", c.Resolv)
	}
}

func (f *fixture) manifest(text string) {
	f.t.Helper()
	m, err := pod.ParseManifest(strings.NewReader(text))
	if err != nil {
		f.t.Fatal(err)
	}
	f.req.Apps, f.req.Manifest, f.req.Images = nil, m, []image.Record{f.rec}
}

func TestManifest(t *testing.T) {
	f := newFixture(t)
	f.rec.App.User, f.rec.App.Environment, f.rec.App.StopSignal = "7", []string{"A=image"}, "SIGINT"
	f.rec.App.Mounts = []image.MountPoint{{Name: "keep", Path: "/keep", KeepContent: true}}

	// No app section: the image's.
	f.manifest(`{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"x","image":{"id":"sha256-aa"}}]}`)
	_, c, m := f.pod()
	if a := c.Apps[0]; a.Name != "x" || a.User != "7" || !slices.Contains(a.Environment, "A=image") || a.StopSignal != "2" {
		t.Errorf("%+v", a)
	}
	if m.Apps[0].Image.ID != f.rec.ID {
		t.Errorf("image %s", m.Apps[0].Image.ID)
	}

	// An app section replaces it.
	f.manifest(`{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"x","image":{"id":"sha256-aa"},
		"app":{"exec":["/bin/y"],"user":"1","group":"2"}}]}`)
	_, c, _ = f.pod()
	if a := c.Apps[0]; a.User != "1" || a.Group != "2" || slices.Contains(a.Environment, "A=image") || !slices.Equal(a.Exec, []string{"/bin/y"}) {
		t.Errorf("%+v", a)
	}

	// Merged, it is laid over it.
	f.manifest(`{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"x","image":{"id":"sha256-aa"},
		"app":{"exec":[],"user":"","group":"","environment":[{"name":"B","value":"2"}]},
		"annotations":[{"name":"coreos.com/rkt/merge","value":"true"},{"name":"coreos.com/rkt/args","value":"[\"-v\"]"},
			{"name":"coreos.com/rkt/stage2/stdout","value":"log"}]}],
		"annotations":[{"name":"coreos.com/rkt/network","value":"host"},{"name":"coreos.com/rkt/hostname","value":"h"},
			{"name":"coreos.com/rkt/stop-seconds","value":"4"},{"name":"coreos.com/rkt/host-ipc","value":"true"},
			{"name":"coreos.com/rkt/dns","value":"{\"servers\":[\"1.1.1.1\"]}"},
			{"name":"coreos.com/rkt/hosts","value":"[{\"ip\":\"10.0.0.1\",\"names\":[\"n\"]}]"}]}`)
	p, c, m := f.pod()
	a := c.Apps[0]
	if a.User != "7" || !slices.Contains(a.Environment, "A=image") || !slices.Contains(a.Environment, "B=2") ||
		!slices.Equal(a.Exec, []string{"/bin/web", "-v"}) || a.Stdout != contract.Log {
		t.Errorf("%+v", a)
	}
	if c.Network != "host" || c.Hostname != "h" || c.StopSeconds != 4 || !c.HostIPC || c.Resolv == nil || !strings.Contains(*c.Hosts, "10.0.0.1\tn\n") {
		t.Errorf("%+v", c)
	}
	// What was stored stands for itself: it makes the same pod again.
	b, err := p.ManifestBytes()
	if err != nil {
		t.Fatal(err)
	}
	f.manifest(string(b))
	_, again, m2 := f.pod()
	again.UUID, again.Cgroup, c.Cgroup = c.UUID, "", ""
	again.Apps[0].Upper, again.Apps[0].Work = a.Upper, a.Work
	if d := cmp.Diff(c, again); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(m, m2); d != "" {
		t.Error(d)
	}
	// run-prepared without a word on the network keeps the manifest's.
	if err := p.To(lifecycle.Prepared); err != nil {
		t.Fatal(err)
	}
	if err := Complete(p, f.req.Flavor, Options{}); err != nil {
		t.Fatal(err)
	}
	if c, _ := p.Contract(); c.Network != "host" || c.Hostname != "h" || !c.HostIPC {
		t.Errorf("%+v", c)
	}
	// What is said goes before it.
	if err := Complete(p, f.req.Flavor, Options{Networks: network("none"), Hostname: "i", OwnIPC: true}); err != nil {
		t.Fatal(err)
	}
	if c, _ := p.Contract(); c.Network != "none" || c.Hostname != "i" || c.HostIPC {
		t.Errorf("%+v", c)
	}
}

func TestManifestRefused(t *testing.T) {
	const head = `{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"x","image":{"id":"sha256-aa"}`
	for words, c := range map[string]struct {
		text string
		ask  func(*fixture)
	}{
		"resource/network-bandwidth": {head + `}],"isolators":[{"name":"resource/network-bandwidth","value":{"default":true,"limit":"1"}}]}`, nil},
		"belongs to an app":          {head + `}],"isolators":[{"name":"os/linux/oom-score-adj","value":1}]}`, nil},
		"limit-memory":               {head + `}],"isolators":[{"name":"resource/memory","value":{"limit":"1G"}}]}`, func(f *fixture) { f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetNone} }},
		"host's network":             {head + `}],"isolators":[{"name":"os/unix/sysctl","value":{"net.core.somaxconn":"1"}}],"annotations":[{"name":"coreos.com/rkt/network","value":"host"}]}`, nil},
		"os/unix/sysctl":             {head + `,"app":{"exec":["/x"],"user":"0","isolators":[{"name":"os/unix/sysctl","value":{}}]}}]}`, nil},
		"beside it":                  {head + `}]}`, func(f *fixture) { f.req.SetEnv = []string{"A=1"} }},
		"2 images":                   {head + `}]}`, func(f *fixture) { f.req.Images = append(f.req.Images, f.rec) }},
		"stdout":                     {head + `,"annotations":[{"name":"coreos.com/rkt/stage2/stdout","value":"tty"}]}]}`, nil},
		"no app has":                 {head + `}],"ports":[{"name":"p","hostPort":80}]}`, nil},
		"nothing vouches":            {head + `}]}`, func(f *fixture) { f.req.Images[0].Trust = image.TrustNone }},
		"what to run":                {head + `,"app":{"exec":[],"user":"0","group":"0"}}]}`, nil},
		"stop-seconds":               {head + `}],"annotations":[{"name":"coreos.com/rkt/stop-seconds","value":"soon"}]}`, nil},
	} {
		t.Run(words, func(t *testing.T) {
			f := newFixture(t)
			f.manifest(c.text)
			if c.ask != nil {
				c.ask(f)
			}
			f.refused(words)
		})
	}
}
