// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
)

func TestUUID(t *testing.T) {
	seen := map[UUID]bool{}
	for range 100 {
		u, err := NewUUID()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseUUID(string(u)); err != nil {
			t.Error(err)
		}
		if u[14] != '4' || !strings.ContainsRune("89ab", rune(u[19])) {
			t.Errorf("%s is not version 4, variant 10", u)
		}
		if len(u.Short()) != 8 || !strings.HasPrefix(string(u), u.Short()) {
			t.Errorf("short form of %s is %s", u, u.Short())
		}
		if seen[u] {
			t.Errorf("%s twice", u)
		}
		seen[u] = true
	}
	for _, s := range []string{"", "x", "../../../../etc/passwd/aaaaaaaaaaaaaaa",
		"0A1b2c3d-0000-4000-8000-000000000000", "0a1b2c3d-0000-4000-8000-00000000000", "0a1b2c3d-0000-4000-8000-0000000000000",
		"0a1b2c3d00000-4000-8000-000000000000", "0a1b2c3d-0000-4000-8000-00000000000/"} {
		if u, err := ParseUUID(s); err == nil {
			t.Errorf("ParseUUID(%q) = %s", s, u)
		}
	}
	for s, want := range map[string]bool{"": false, "0a": true, "0a1b2c3d-": true, "0a1b2c3d0": false, ".": false, "0A": false, "*": false} {
		if got := ValidUUIDPrefix(s); got != want {
			t.Errorf("ValidUUIDPrefix(%q) = %v", s, got)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "a-b": true, "0": true, "a1-2b": true,
		"": false, "-a": false, "a-": false, "a--b": false, "A": false, "a.b": false, "a/b": false, "..": false, "a_b": false,
		strings.Repeat("a", 128): true, strings.Repeat("a", 129): false,
	} {
		if got := ValidName(s); got != want {
			t.Errorf("ValidName(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"example.com/reduce-worker": true, "a~b_c": true, "coreos.com/rkt/image": true,
		"": false, "a..b": false, "/a": false, "a/": false, "a:b": false,
	} {
		if got := ValidIdentifier(s); got != want {
			t.Errorf("ValidIdentifier(%q) = %v", s, got)
		}
	}
	for in, want := range map[string]string{
		"docker://registry-1.docker.io/library/busybox:latest": "busybox",
		"docker://localhost:5000/Etcd_V3@sha256:abc":           "etcd-v3",
		"coreos.com/etcd":   "etcd",
		"oci:/tmp/L:ref":    "l",
		"quay.io/a/b.c__d":  "b-c-d",
		"x/---":             "",
		"example.com/a/b/":  "",
		"--Nginx--":         "nginx",
		"oci:dir:some/name": "name",
	} {
		got := NameOf(in)
		if got != want {
			t.Errorf("NameOf(%q) = %q, want %q", in, got, want)
		}
		if got != "" && !ValidName(got) {
			t.Errorf("NameOf(%q) = %q is no name", in, got)
		}
	}
	if s := Sanitize(strings.Repeat("a_", 200)); !ValidName(s) {
		t.Errorf("Sanitize of a long text: %q", s)
	}
}

func ptr[T any](v T) *T { return &v }

func TestParseVolume(t *testing.T) {
	for in, want := range map[string]Volume{
		"data,kind=host,source=/srv":                               {Name: "data", Kind: "host", Source: "/srv"},
		"data,kind=host,source=/a=b,readOnly=true,recursive=false": {Name: "data", Kind: "host", Source: "/a=b", ReadOnly: ptr(true), Recursive: ptr(false)},
		"name=data,kind=host,source=/srv,readOnly=0":               {Name: "data", Kind: "host", Source: "/srv", ReadOnly: ptr(false)},
		"tmp,kind=empty": {Name: "tmp", Kind: "empty"},
		"tmp,kind=empty,mode=1777,uid=1000,gid=4294967294": {Name: "tmp", Kind: "empty", Mode: "1777", UID: ptr(1000), GID: ptr(4294967294)},
		"tmp,kind=empty,readOnly=true":                     {Name: "tmp", Kind: "empty", ReadOnly: ptr(true)},
		"data,kind=host,source=/literal%2Cpercent":         {Name: "data", Kind: "host", Source: "/literal%2Cpercent"},
	} {
		got, err := ParseVolume(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseVolume(%q) = %s, %v", in, cmp.Diff(want, got), err)
		}
	}
	for _, in := range []string{"", "data", "data,kind=host", "data,kind=host,source=relative", "Data,kind=empty",
		"data,kind=foo", "data,kind=host,source=/a,source=/b", "data,kind=host,source=/a,mode=0755",
		"data,kind=empty,source=/a", "data,kind=empty,mode=999", "data,kind=empty,mode=", "data,kind=empty,mode=10000",
		"data,kind=empty,uid=-1", "data,kind=empty,uid=4294967295", "data,kind=empty,recursive=true",
		"data,kind=host,source=/a,readonly=true", "data,kind=host,source=/a,readOnly=maybe", "a,b,kind=empty",
		"../x,kind=empty", "data,kind=host,source=/a\x00b", "data,kind=host,,source=/a"} {
		if v, err := ParseVolume(in); err == nil {
			t.Errorf("ParseVolume(%q) = %+v", in, v)
		}
	}
}

// The kernel's own list, as x/sys has it.
func TestCapabilities(t *testing.T) {
	all := AllCapabilities()
	if len(all) != unix.CAP_LAST_CAP+1 || all[unix.CAP_CHOWN] != "CAP_CHOWN" || all[unix.CAP_SYS_ADMIN] != "CAP_SYS_ADMIN" ||
		all[unix.CAP_LAST_CAP] != "CAP_CHECKPOINT_RESTORE" {
		t.Errorf("%d capabilities: %v", len(all), all)
	}
	for _, c := range DefaultCapabilities() {
		if !ValidCapability(c) {
			t.Errorf("%s is in the default set", c)
		}
	}
}

func TestParseMount(t *testing.T) {
	m, err := ParseMount("volume=data,target=/var/lib/x")
	if err != nil || m.Volume != "data" || m.Path != "/var/lib/x" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, in := range []string{"", "volume=data", "target=/x", "volume=data,target=x", "volume=data,target=/", "volume=data,target=/x/..",
		"volume=data,target=/x,target=/y", "data,target=/x", "volume=data,target=/x,readOnly=true"} {
		if m, err := ParseMount(in); err == nil {
			t.Errorf("ParseMount(%q) = %+v", in, m)
		}
	}
}

func TestParsePort(t *testing.T) {
	for in, want := range map[string]ExposedPort{
		"http:8080":           {Name: "http", HostPort: 8080},
		"http:127.0.0.1:8080": {Name: "http", HostIP: "127.0.0.1", HostPort: 8080},
		"http:[::1]:8080":     {Name: "http", HostIP: "::1", HostPort: 8080},
		"http:socket":         {Name: "http", Socket: true},
	} {
		if got, err := ParsePort(in); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "http", "http:", "http:0", "http:65536", "http:x:80", "http::80", "HTTP:80", "http:::1:80", "http:[fe80::1%eth0]:80", "http:-1", "http:127.0.0.1:socket", "http:tcp:socket", "http:tcp:0:socket"} {
		if p, err := ParsePort(in); err == nil {
			t.Errorf("ParsePort(%q) = %+v", in, p)
		}
	}
}

func TestParseHostsEntries(t *testing.T) {
	got, err := ParseHostsEntries("10.0.0.1=a,10.0.0.1=b,::1=c")
	want := []HostsEntry{{"10.0.0.1", []string{"a", "b"}}, {"::1", []string{"c"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, in := range []string{"", "10.0.0.1", "x=a", "10.0.0.1=a b", "10.0.0.1=a\n10.0.0.2", "10.0.0.1="} {
		if h, err := ParseHostsEntries(in); err == nil {
			t.Errorf("ParseHostsEntries(%q) = %v", in, h)
		}
	}
}

func TestDNS(t *testing.T) {
	ok := DNS{Servers: []string{"1.2.3.4", "fd00::1"}, Search: []string{"example.com.", "."}, Options: []string{"ndots:2"}, Domain: "example.com"}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for _, d := range []DNS{{Servers: []string{"dns.example"}}, {Search: []string{"a\nnameserver 6.6.6.6"}}, {Options: []string{"a b"}}, {Options: []string{""}}, {Domain: "-a"}} {
		if err := d.Validate(); err == nil {
			t.Errorf("%+v is valid", d)
		}
	}
}

func TestParseSeccomp(t *testing.T) {
	f, err := ParseSeccomp("mode=retain,errno=EPERM,read,@docker/default-whitelist")
	if err != nil || !f.Retain || f.Errno != "EPERM" || !slices.Equal(f.Names, []string{"read", "@docker/default-whitelist"}) {
		t.Errorf("%+v, %v", f, err)
	}
	if i := f.Isolator(); i.Name != IsolatorSeccompRetain || string(i.Value) != `{"set":["read","@docker/default-whitelist"],"errno":"EPERM"}` {
		t.Errorf("isolator %+v", i)
	}
	for _, in := range []string{"", "retain", "mode=foo,read", "mode=retain", "read,mode=retain", "mode=retain,errno=EPERM", "mode=retain,errno=perm,read",
		"mode=retain,@nosuch/group", "mode=retain,READ", "mode=retain,,read", "mode=retain,x=y,read"} {
		if f, err := ParseSeccomp(in); err == nil {
			t.Errorf("ParseSeccomp(%q) = %+v", in, f)
		}
	}
}

func TestIsolate(t *testing.T) {
	is, err := Isolate([]image.Isolator{
		{Name: IsolatorCapsRemove, Value: image.Raw(`{"set": ["CAP_MKNOD", "CAP_SYS_ADMIN"]}`)},
		{Name: IsolatorSeccompRemove, Value: image.Raw(`{"set": ["reboot"], "errno": "EPERM"}`)},
		{Name: IsolatorNoNewPrivs, Value: image.Raw(`true`)},
		{Name: IsolatorOOMScoreAdj, Value: image.Raw(`"-500"`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(is.Capabilities) != len(DefaultCapabilities())-1 || slices.Contains(is.Capabilities, "CAP_MKNOD") {
		t.Errorf("capabilities %v", is.Capabilities)
	}
	if is.Seccomp == nil || is.Seccomp.Retain || is.Seccomp.Errno != "EPERM" || !*is.NoNewPrivs || *is.OOMScoreAdj != -500 {
		t.Errorf("%+v", is)
	}
	none, err := Isolate([]image.Isolator{CapsIsolator(IsolatorCapsRetain, nil)})
	if err != nil || none.Capabilities == nil || len(none.Capabilities) != 0 {
		t.Errorf("retaining nothing: %+v, %v", none, err)
	}
	if is, err := Isolate(nil); err != nil || is.Capabilities != nil || is.Seccomp != nil {
		t.Errorf("nothing said: %+v, %v", is, err)
	}
	profile := image.Raw(`{"defaultAction":"SCMP_ACT_ALLOW"}`)
	if is, err := Isolate([]image.Isolator{(&Seccomp{Profile: profile}).Isolator()}); err != nil || string(is.Seccomp.Profile) != string(profile) {
		t.Errorf("a profile: %+v, %v", is, err)
	}
	if _, err := PodIsolate([]image.Isolator{(&Seccomp{Profile: profile}).Isolator()}); err == nil {
		t.Error("a profile of the pod")
	}
	for _, name := range []string{"os/linux/other", "x"} {
		_, err := Isolate([]image.Isolator{{Name: name, Value: image.Raw(`{}`)}})
		u, ok := err.(*UnknownIsolatorError)
		if !ok || u.Name != name || !strings.Contains(err.Error(), name) || u.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, l := range [][]image.Isolator{
		{{Name: IsolatorCapsRetain, Value: image.Raw(`{"set":["CAP_FOO"]}`)}},
		{{Name: IsolatorCapsRetain, Value: image.Raw(`{"set":["CAP_KILL"],"x":1}`)}},
		{{Name: IsolatorCapsRetain}},
		{{Name: IsolatorCapsRemove, Value: image.Raw(`{"set":[]}`)}},
		{{Name: IsolatorOOMScoreAdj, Value: image.Raw(`1001`)}},
		{{Name: IsolatorOOMScoreAdj, Value: image.Raw(`1.5`)}},
		{{Name: IsolatorNoNewPrivs, Value: image.Raw(`"yes"`)}},
		{{Name: IsolatorSeccompRetain, Value: image.Raw(`{"set":["@unknown"]}`)}},
		{{Name: IsolatorSeccompProfile}},
		{{Name: IsolatorSeccompProfile, Value: image.Raw(`"file"`)}},
		{(&Seccomp{Profile: profile}).Isolator(), (&Seccomp{Names: []string{"reboot"}}).Isolator()},
		{CapsIsolator(IsolatorCapsRetain, nil), CapsIsolator(IsolatorCapsRemove, []string{"CAP_KILL"})},
		{NoNewPrivsIsolator(true), NoNewPrivsIsolator(false)},
	} {
		if is, err := Isolate(l); err == nil {
			t.Errorf("%+v: %+v", l, is)
		}
	}
}

// The example of appc's "Pod Manifest Schema", rebuilt with the same fields.
const example = `{
  "acVersion": "0.8.11", "acKind": "PodManifest",
  "apps": [{
    "name": "reduce-worker",
    "image": {"name": "example.com/reduce-worker", "id": "sha512-0a1b", "labels": [{"name": "version", "value": "1.0.0"}]},
    "app": {
      "exec": ["/bin/reduce-worker", "--debug=true"], "user": "0", "group": "0", "supplementaryGIDs": [400, 500],
      "eventHandlers": [{"name": "pre-start", "exec": ["/usr/bin/data-downloader"]}],
      "workingDirectory": "/opt/work",
      "environment": [{"name": "REDUCE_WORKER_DEBUG", "value": "true"}],
      "isolators": [{"name": "os/linux/oom-score-adj", "value": 100}],
      "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": true}],
      "ports": [{"name": "health", "port": 4000, "protocol": "tcp", "count": 1, "socketActivated": false}],
      "userAnnotations": {"a": "b"}, "userLabels": {"c": "d"}
    },
    "readOnlyRootFS": true,
    "mounts": [{"volume": "work", "path": "/var/lib/work"}],
    "annotations": [{"name": "foo", "value": "baz"}]
  }],
  "volumes": [{"name": "work", "kind": "host", "source": "/opt/tenant1/work", "readOnly": true},
              {"name": "buildoutput", "kind": "empty", "mode": "0700", "uid": 0, "gid": 7}],
  "isolators": [], "annotations": [{"name": "ip-address", "value": "10.1.2.3"}],
  "ports": [{"name": "health", "hostPort": 80, "hostIP": "127.0.0.1"}],
  "userAnnotations": {"e": "f"}, "userLabels": {"g": "h"}
}`

func TestManifestRoundTrip(t *testing.T) {
	m, err := ParseManifest(strings.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// Field for field the same JSON, but for defaults that are left out.
	var got, want any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(example), &want); err != nil {
		t.Fatal(err)
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.GoString(), `["socketActivated"]`) }, cmp.Ignore())
	if d := cmp.Diff(want, got, ignore); d != "" {
		t.Error(d)
	}
	again, err := DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, again); d != "" {
		t.Error(d)
	}
	if r := m.Apps[0].ImageReference(); r != "sha512-0a1b" {
		t.Errorf("reference %q", r)
	}
	m.Apps[0].Image.ID = ""
	if r := m.Apps[0].ImageReference(); r != "example.com/reduce-worker:1.0.0" {
		t.Errorf("reference %q", r)
	}
	m.Apps[0].Annotations.Set(AnnotationImage, "docker://x")
	if r := m.Apps[0].ImageReference(); r != "docker://x" {
		t.Errorf("reference %q", r)
	}
}

func TestManifestRefused(t *testing.T) {
	for name, edit := range map[string][2]string{
		"kind":             {`"acKind": "PodManifest"`, `"acKind": "ImageManifest"`},
		"version":          {`"acVersion": "0.8.11"`, `"acVersion": ""`},
		"unknown field":    {`"isolators": [], "ann`, `"hostPID": true, "isolators": [], "ann`},
		"app name":         {`"name": "reduce-worker"`, `"name": "../x"`},
		"no user":          {`"user": "0", `, ``},
		"image ID":         {`sha512-0a1b`, `md5-0a1b`},
		"image ID path":    {`sha512-0a1b`, `sha512-../../x`},
		"volume kind":      {`"kind": "host"`, `"kind": "nfs"`},
		"dangling mount":   {`{"volume": "work", "path"`, `{"volume": "wrok", "path"`},
		"relative mount":   {`"work", "path": "/var/lib/work"}],`, `"work", "path": "var/lib/work"}],`},
		"double volume":    {`"name": "buildoutput"`, `"name": "work"`},
		"event handler":    {`"pre-start"`, `"pre-stop"`},
		"relative handler": {`"/usr/bin/data-downloader"`, `"data-downloader"`},
		"working dir":      {`"/opt/work"`, `"opt/work"`},
		"env name":         {`REDUCE_WORKER_DEBUG`, `A=B`},
		"gid":              {`[400, 500]`, `[-1]`},
		"port":             {`"port": 4000`, `"port": 70000`},
		"port protocol":    {`"tcp"`, `"icmp"`},
		"host port":        {`"hostPort": 80`, `"hostPort": 0`},
		"host ip":          {`127.0.0.1`, `localhost`},
		"annotation":       {`"ip-address"`, `"IP"`},
		"label":            {`"name": "version"`, `"name": "name"`},
		"merge value":      {`{"name": "foo", "value": "baz"}`, `{"name": "coreos.com/rkt/merge", "value": "x"}`},
		"merge and exec":   {`{"name": "foo", "value": "baz"}`, `{"name": "coreos.com/rkt/merge", "value": "true"}`},
		"args, no merge":   {`{"name": "foo", "value": "baz"}`, `{"name": "coreos.com/rkt/args", "value": "[]"}`},
		"negative uid":     {`"uid": 0`, `"uid": -5`},
		"trailing":         {`"userLabels": {"g": "h"}` + "\n}", `"userLabels": {"g": "h"}} {}`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(example, edit[0], edit[1], 1)
			if text == example {
				t.Fatal("nothing was edited")
			}
			if _, err := ParseManifest(strings.NewReader(text)); err == nil {
				t.Error("was accepted")
			}
		})
	}
	if _, err := ParseManifest(strings.NewReader(strings.Repeat(" ", MaxManifestSize+1))); err == nil {
		t.Error("a manifest without bounds was accepted")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(example)
	f.Add(`{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"a","image":{"id":"sha256-00"}}]}`)
	f.Add(`{"apps":[{"mounts":[{"appVolume":{"kind":"empty"}}]}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseManifest(strings.NewReader(s))
		if err != nil {
			return
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatalf("accepted but cannot be encoded: %v", err)
		}
		if _, err := ParseManifest(strings.NewReader(string(b))); err != nil {
			t.Fatalf("encoded to what is refused: %v\n%s", err, b)
		}
		for i := range m.Apps {
			if n := m.Apps[i].Name; strings.ContainsAny(n, "/.\x00") || n == "" {
				t.Fatalf("app name %q", n)
			}
			if m.Apps[i].App != nil {
				_, _ = Isolate(m.Apps[i].App.Isolators)
			}
		}
	})
}

func FuzzParseVolume(f *testing.F) {
	f.Add("data,kind=host,source=/srv,readOnly=true,recursive=false")
	f.Add("tmp,kind=empty,mode=1777,uid=1,gid=2")
	f.Add("name=x,kind=empty")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVolume(s)
		if err != nil {
			return
		}
		if !ValidName(v.Name) || v.Permissions() > 0o7777 {
			t.Fatalf("%+v", v)
		}
		if (v.Kind == HostVolume) != strings.HasPrefix(v.Source, "/") {
			t.Fatalf("%+v", v)
		}
	})
}

func FuzzParseMount(f *testing.F) {
	f.Add("volume=data,target=/x")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMount(s); err == nil && (!ValidName(m.Volume) || !strings.HasPrefix(m.Path, "/")) {
			t.Fatalf("%+v", m)
		}
	})
}

func FuzzParsePort(f *testing.F) {
	f.Add("http:[::1]:80")
	f.Add("http:127.0.0.1:80")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePort(s); err == nil && (p.HostPort < 1 || p.HostPort > 65535 || !ValidName(p.Name)) {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzParseSeccomp(f *testing.F) {
	f.Add("mode=retain,errno=EPERM,read,@appc.io/all")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseSeccomp(s)
		if err != nil {
			return
		}
		is, err := Isolate([]image.Isolator{p.Isolator()})
		if err != nil || !reflect.DeepEqual(is.Seccomp, p) {
			t.Fatalf("%+v, %+v, %v", p, is, err)
		}
	})
}

func TestAmbient(t *testing.T) {
	retain, remove := CapsIsolator(IsolatorCapsRetain, []string{"CAP_KILL", "CAP_CHOWN"}), CapsIsolator(IsolatorCapsRemove, []string{"CAP_KILL"})
	ambient := func(names ...string) image.Isolator { return CapsIsolator(IsolatorCapsAmbient, names) }
	for _, c := range []struct {
		list []image.Isolator
		want string
	}{
		{nil, ""},
		{[]image.Isolator{remove}, ""},
		{[]image.Isolator{retain}, "CAP_CHOWN CAP_KILL"},
		{[]image.Isolator{ambient("CAP_KILL"), retain}, "CAP_KILL"},
		{[]image.Isolator{retain, ambient()}, ""},
		{[]image.Isolator{ambient("CAP_SETUID")}, "CAP_SETUID"},
		{[]image.Isolator{remove, ambient("CAP_CHOWN")}, "CAP_CHOWN"},
	} {
		is, err := Isolate(c.list)
		if err != nil || strings.Join(is.Ambient, " ") != c.want {
			t.Errorf("%v: %+v, %v, want %q", c.list, is, err, c.want)
		}
	}
	for _, list := range [][]image.Isolator{{retain, ambient("CAP_SETUID")}, {remove, ambient("CAP_KILL")}, {ambient("CAP_SYS_ADMIN")}} {
		if _, err := Isolate(list); err == nil {
			t.Errorf("%v: no error, though the app may not have it", list)
		}
	}
	if _, err := PodIsolate([]image.Isolator{ambient()}); err == nil {
		t.Error("a pod takes it")
	}
}

func TestParseDevice(t *testing.T) {
	for text, want := range map[string]Device{
		"/dev/fuse":               {Source: "/dev/fuse"},
		"/dev/fuse:rw":            {Source: "/dev/fuse", Access: "rw"},
		"/dev/fuse:/dev/x":        {Source: "/dev/fuse", Target: "/dev/x"},
		"/dev/fuse:/dev/x:r":      {Source: "/dev/fuse", Target: "/dev/x", Access: "r"},
		"vendor.com/class=name":   {CDI: "vendor.com/class=name"},
		"nvidia.com/gpu=0:1":      {CDI: "nvidia.com/gpu=0:1"},
		"vendor.com/net.x=a.b_-c": {CDI: "vendor.com/net.x=a.b_-c"},
	} {
		if d, err := ParseDevice(text); err != nil || d != want {
			t.Errorf("%q: %+v, %v, want %+v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "fuse", "/dev/fuse:", "/dev/fuse:/dev/x:", "/dev/fuse:rr", "/dev/fuse:/dev/x:r:w", "vendor.com/class", "class=x", "a/b=", "a/b=c,d", "/dev/a\nb"} {
		if d, err := ParseDevice(text); err == nil {
			t.Errorf("%q: taken as %+v", text, d)
		}
	}
	list, err := AddDevices(nil, Devices{Devices: []Device{{Source: "/dev/a"}}})
	if err == nil {
		list, err = AddDevices(list, Devices{Rules: []string{"c 1:3 r"}})
	}
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	is, err := Isolate(list)
	if err != nil || len(is.Devices.Devices) != 1 || len(is.Devices.Rules) != 1 {
		t.Errorf("%+v, %v", is, err)
	}
	for _, value := range []string{`{"devices": [{"source": "dev"}]}`, `{"devices": [{}]}`, `{"devices": [{"source": "/a", "access": "x"}]}`, `{"devices": [{"cdi": "a/b=c", "source": "/x"}]}`, `{"device": []}`} {
		if _, err := Isolate([]image.Isolator{{Name: IsolatorDevices, Value: image.Raw(value)}}); err == nil {
			t.Errorf("%s: no error", value)
		}
	}
	if _, err := PodIsolate(list); err == nil {
		t.Error("a pod takes devices")
	}
}

func TestLabels(t *testing.T) {
	for text, want := range map[string]string{
		"u:r:t":          "u:r:t:s0",
		"u:r:t:s0:c1,c2": "u:r:t:s0:c1,c2",
		"::t":            "system_u:system_r:t:s0",
	} {
		i, err := ParseSELinux(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if is, err := Isolate([]image.Isolator{i}); err != nil || is.SELinux != want {
			t.Errorf("%q: %+v, %v, want %q", text, is, err, want)
		}
	}
	for _, text := range []string{"", "u:r", "u r:r:t", "u:r:t:s0/1"} {
		if _, err := ParseSELinux(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	for _, profile := range []string{"", "a b", "a\nb"} {
		if _, err := AppArmorIsolator(profile); err == nil {
			t.Errorf("%q: no error", profile)
		}
	}
	i, err := AppArmorIsolator("docker-default")
	if err != nil {
		t.Fatal(err)
	}
	if is, err := Isolate([]image.Isolator{i}); err != nil || is.AppArmor != "docker-default" {
		t.Errorf("%+v, %v", is, err)
	}
	if _, err := PodIsolate([]image.Isolator{i}); err == nil {
		t.Error("a pod takes it")
	}
}
