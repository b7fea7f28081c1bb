// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
)

// As docker writes it, with parts that rkt has no use for.
const dockerConfig = `{"architecture":"arm64","variant":"v8","os":"linux","author":"me","created":"2026-01-02T03:04:05.678Z",
"container":"abc","docker_version":"27","history":[{"created_by":"x"}],
"config":{"Hostname":"","User":"web:www","AttachStdin":false,
"ExposedPorts":{"8080":{},"80/tcp":{},"53/UDP":{},"8000-8010/tcp":{},"0/tcp":{},"${PORT}/tcp":{},"70000/tcp":{},"9-8/tcp":{},"1/icmp":{}},
"Env":["PATH=/bin","EMPTY=","A=b=c","JUSTNAME","=odd"],"Cmd":["--serve"],"Entrypoint":["/bin/app","-x"],
"Volumes":{"/var/lib/my_db":{},"/var/lib/my-db/":{},"data":{},"/data/":{},"/Ü":{}},
"WorkingDir":"srv/../app","Labels":{"a":"1"},"StopSignal":"SIGQUIT","Healthcheck":{"Test":["CMD","x"]},"OnBuild":["RUN x"]},
"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]}}`

func manifest(layers ...string) Manifest {
	m := Manifest{MediaType: DockerManifest, Annotations: map[string]string{"k": "v"}}
	for _, l := range layers {
		m.Layers = append(m.Layers, Descriptor{MediaType: dockerLayer, Digest: digest(l), Size: 5})
	}
	return m
}

func TestRecord(t *testing.T) {
	c, err := ParseConfig([]byte(dockerConfig))
	if err != nil {
		t.Fatal(err)
	}
	m := manifest("a")
	got, err := Record(digest("f"), m, c)
	if err != nil {
		t.Fatal(err)
	}
	want := image.Record{
		ID:        digest("f").ID(),
		Format:    image.OCI,
		Manifest:  digest("f"),
		MediaType: DockerManifest,
		Layers:    []image.Layer{{Blob: digest("a"), MediaType: dockerLayer, Size: 5, DiffID: digest("1")}},
		Labels:    map[string]string{"os": "linux", "arch": "aarch64"},
		Annotations: map[string]string{
			"k": "v", "authors": "me", "created": "2026-01-02T03:04:05Z",
		},
		App: &image.App{
			Entrypoint:  []string{"/bin/app", "-x"},
			Cmd:         []string{"--serve"},
			User:        "web",
			Group:       "www",
			WorkingDir:  "/app",
			Environment: []string{"PATH=/bin", "EMPTY=", "A=b=c"},
			Mounts: []image.MountPoint{
				{Name: "volume-data", Path: "/data", KeepContent: true},
				{Name: "volume-var-lib-my-db", Path: "/var/lib/my-db", KeepContent: true},
				{Name: "volume-var-lib-my-db-2", Path: "/var/lib/my_db", KeepContent: true},
				{Name: "volume-x", Path: "/Ü", KeepContent: true},
			},
			Ports: []image.Port{
				{Name: "53-udp", Protocol: "udp", Port: 53},
				{Name: "80-tcp", Protocol: "tcp", Port: 80},
				{Name: "8000-8010-tcp", Protocol: "tcp", Port: 8000, Count: 11},
				{Name: "8080-tcp", Protocol: "tcp", Port: 8080},
			},
			StopSignal: "SIGQUIT",
			UserLabels: map[string]string{"a": "1"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if len(m.Annotations) != 1 {
		t.Error("Record changed the manifest")
	}
}

func TestRecordOfNothing(t *testing.T) {
	c, err := ParseConfig([]byte(`{"rootfs":{"type":"layers"},"config":null}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Record(digest("f"), Manifest{MediaType: OCIManifest}, c)
	if err != nil {
		t.Fatal(err)
	}
	want := image.Record{ID: digest("f").ID(), Format: image.OCI, Manifest: digest("f"), MediaType: OCIManifest,
		Layers: []image.Layer{}, Labels: map[string]string{}, App: &image.App{}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestConfigRefusals(t *testing.T) {
	for raw, want := range map[string]string{
		``:                        "unexpected end",
		`{}`:                      "of type \"\", not of layers",
		`{"rootfs":{"type":"x"}}`: "not of layers",
		`{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}`:            "diff ID: cannot parse digest",
		`{"rootfs":{"type":"layers"},"config":{"Env":"x"}}`:               "cannot unmarshal",
		`{"rootfs":{"type":"layers"},"config":{"Env":["A=\u0000"]}}`:      "zero byte",
		`{"rootfs":{"type":"layers"},"config":{"User":"a\u0000"}}`:        "zero byte",
		`{"rootfs":{"type":"layers"},"config":{"Cmd":["\u0000"]}}`:        "zero byte",
		`{"rootfs":{"type":"layers"},"config":{"Volumes":{"\u0000":{}}}}`: "zero byte",
		`{"rootfs":{"type":"layers"}}` + strings.Repeat(" ", MaxDocument): "longer than",
	} {
		if _, err := ParseConfig([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot read image configuration: ") {
			t.Errorf("%.100s: %v; want %q", raw, err, want)
		}
	}
	c, err := ParseConfig([]byte(dockerConfig))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Record(digest("f"), manifest("a", "b"), c); err == nil || !strings.Contains(err.Error(), "manifest has 2 layers, its configuration 1") {
		t.Error(err)
	}
	for _, v := range []string{"/", "", "..", "/a/.."} {
		c.Config.Volumes = map[string]struct{}{v: {}}
		if _, err := Record(digest("f"), manifest("a"), c); err == nil || !strings.Contains(err.Error(), "would hide the image") {
			t.Errorf("volume %q: %v", v, err)
		}
	}
}

func TestCheckPlatform(t *testing.T) {
	amd, arm := Platform{OS: "linux", Architecture: "amd64"}, Platform{OS: "linux", Architecture: "arm64"}
	for _, c := range []struct {
		image, machine Platform
		ok             bool
	}{
		{amd, amd, true},
		{Platform{"linux", "amd64", "v2"}, amd, true},
		{Platform{"linux", "386", ""}, amd, true},
		{Platform{}, amd, true},
		{Platform{OS: "linux"}, arm, true},
		{Platform{"linux", "arm64", "v8"}, arm, true},
		{arm, amd, false},
		{amd, arm, false},
		{Platform{"windows", "amd64", ""}, amd, false},
	} {
		err := Config{Platform: c.image}.CheckPlatform(c.machine)
		if (err == nil) != c.ok {
			t.Errorf("%s on %s: %v", c.image, c.machine, err)
		}
	}
}

func TestAppcArch(t *testing.T) {
	for p, want := range map[Platform]string{
		{Architecture: "amd64"}: "amd64", {Architecture: "386"}: "i386", {Architecture: "arm64", Variant: "v8"}: "aarch64",
		{Architecture: "arm", Variant: "v7"}: "armv7l", {Architecture: "arm", Variant: "v6"}: "armv6l",
		{Architecture: "ppc64le"}: "ppc64le", {Architecture: "riscv64"}: "riscv64",
	} {
		if got := appcArch(p); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
}

// FuzzDocuments: whatever the bytes, no panic; and what is taken for a document
// is taken for the same document again when written anew.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(dockerConfig), "")
	f.Add([]byte(`{"schemaVersion":2,"config":`+desc(OCIConfig, "c", 1)+`,"layers":[`+desc(ociLayer, "1", 1)+`]}`), OCIManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+OCIManifest+`","digest":"`+string(digest("1"))+`","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`), "")
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), schema1)
	f.Fuzz(func(t *testing.T, raw []byte, declared string) {
		m, merr := ParseManifest(raw, declared)
		x, xerr := ParseIndex(raw, declared)
		if merr == nil && xerr == nil {
			t.Fatal("a manifest and an index")
		}
		if xerr == nil {
			_, _ = x.Select(Platform{OS: "linux", Architecture: "amd64"})
		}
		if merr == nil {
			again, err := json.Marshal(struct {
				MediaType string       `json:"mediaType"`
				Config    Descriptor   `json:"config"`
				Layers    []Descriptor `json:"layers"`
			}{m.MediaType, m.Config, m.Layers})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseManifest(again, m.MediaType); err != nil {
				t.Fatalf("%s: %v", again, err)
			}
		}
		c, err := ParseConfig(raw)
		if err != nil {
			return
		}
		for range c.RootFS.DiffIDs {
			m.Layers = append(m.Layers, Descriptor{})
		}
		m.Layers = m.Layers[:len(c.RootFS.DiffIDs)]
		r, err := Record(digest("f"), m, c)
		if err != nil {
			return
		}
		for _, mp := range r.App.Mounts {
			if mp.Path == "/" || !strings.HasPrefix(mp.Path, "/") || strings.Contains(mp.Path, "/../") {
				t.Fatalf("volume at %q", mp.Path)
			}
		}
	})
}
