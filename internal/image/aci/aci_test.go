// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
)

const full = `{
  "acKind": "ImageManifest",
  "acVersion": "0.8.11",
  "name": "example.com/reduce-worker",
  "unknown": {"x": 1},
  "labels": [
    {"name": "version", "value": "1.0.0"},
    {"name": "os", "value": "linux"},
    {"name": "arch", "value": "amd64"}
  ],
  "app": {
    "exec": ["/usr/bin/reduce-worker", "-quiet"],
    "user": "www", "group": "100", "supplementaryGIDs": [5, 4294967294],
    "eventHandlers": [
      {"name": "pre-start", "exec": ["/usr/bin/prepare"]},
      {"name": "post-stop", "exec": ["/usr/bin/clean", "-x"]}
    ],
    "workingDirectory": "/opt/work",
    "environment": [{"name": "REDUCE_WORKER_DEBUG", "value": "true"}, {"name": "E", "value": ""}],
    "isolators": [
      {"name": "resource/cpu", "value": {"limit": "20"}},
      {"name": "os/linux/no-new-privileges", "value": true}
    ],
    "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": true}],
    "ports": [{"name": "health", "port": 4000, "protocol": "tcp", "count": 2, "socketActivated": true}],
    "userAnnotations": {"a": "b"}, "userLabels": {"c": "d"}
  },
  "annotations": [{"name": "authors", "value": "Carly"}, {"name": "homepage", "value": "https://example.com"}]
}`

func diffID() image.Digest { return image.Digest("sha512:" + strings.Repeat("ab", 64)) }

func TestRecord(t *testing.T) {
	m, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.DisplayName(); got != "example.com/reduce-worker:1.0.0" {
		t.Error(got)
	}
	manifest := image.Digest("sha256:" + strings.Repeat("c", 64))
	got, err := m.Record(manifest, image.Layer{Blob: "sha256:b", Size: 7, DiffID: diffID(), TreeSize: 9})
	if err != nil {
		t.Fatal(err)
	}
	want := image.Record{
		ID:          diffID().ID(),
		Format:      image.ACI,
		Name:        "example.com/reduce-worker",
		Manifest:    manifest,
		MediaType:   ManifestMediaType,
		Layers:      []image.Layer{{Blob: "sha256:b", MediaType: MediaType, Size: 7, DiffID: diffID(), TreeSize: 9}},
		Labels:      map[string]string{"version": "1.0.0", "os": "linux", "arch": "amd64"},
		Annotations: map[string]string{"authors": "Carly", "homepage": "https://example.com"},
		App: &image.App{
			Name:              "example.com/reduce-worker",
			Entrypoint:        []string{"/usr/bin/reduce-worker", "-quiet"},
			User:              "www",
			Group:             "100",
			SupplementaryGIDs: []int{5, 4294967294},
			WorkingDir:        "/opt/work",
			Environment:       []string{"REDUCE_WORKER_DEBUG=true", "E="},
			Mounts:            []image.MountPoint{{Name: "work", Path: "/var/lib/work", ReadOnly: true}},
			Ports:             []image.Port{{Name: "health", Protocol: "tcp", Port: 4000, Count: 2, SocketActivated: true}},
			Isolators: []image.Isolator{
				{Name: "resource/cpu", Value: image.Raw(`{"limit": "20"}`)},
				{Name: "os/linux/no-new-privileges", Value: image.Raw(`true`)},
			},
			EventHandlers: []image.EventHandler{
				{Name: "pre-start", Exec: []string{"/usr/bin/prepare"}},
				{Name: "post-stop", Exec: []string{"/usr/bin/clean", "-x"}},
			},
			UserAnnotations: map[string]string{"a": "b"},
			UserLabels:      map[string]string{"c": "d"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWithoutApp(t *testing.T) {
	m, err := Parse([]byte(`{"acKind":"ImageManifest","acVersion":"0.7.0-rc.1+x","name":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Record("sha256:x", image.Layer{DiffID: diffID()})
	if err != nil || r.App != nil || m.DisplayName() != "a" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := m.Record("sha256:x", image.Layer{DiffID: "sha256:y"}); err == nil {
		t.Error("took a SHA-256 for an ID")
	}
}

// What docker2aci made of an image is taken apart again.
func TestDocker2ACI(t *testing.T) {
	for _, c := range []struct {
		exec, annotations string
		entrypoint, cmd   []string
	}{
		{`["/e","a","c"]`, `{"name":"appc.io/docker/entrypoint","value":"[\"/e\",\"a\"]"},{"name":"appc.io/docker/cmd","value":"[\"c\"]"}`, []string{"/e", "a"}, []string{"c"}},
		{`["/bin/sh"]`, `{"name":"appc.io/docker/cmd","value":"[\"/bin/sh\"]"}`, nil, []string{"/bin/sh"}},
		{`["/e"]`, `{"name":"appc.io/docker/entrypoint","value":"[\"/e\"]"}`, []string{"/e"}, nil},
		{`["/other"]`, `{"name":"appc.io/docker/entrypoint","value":"[\"/e\"]"}`, []string{"/other"}, nil},
		{`["/e"]`, `{"name":"appc.io/docker/entrypoint","value":"/e"}`, []string{"/e"}, nil},
	} {
		m, err := Parse([]byte(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","app":{"user":"0","group":"0","exec":` + c.exec +
			`,"mountPoints":[{"name":"v","path":"/v"}]},"annotations":[{"name":"appc.io/docker/repository","value":"x"},` + c.annotations + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Record("sha256:x", image.Layer{DiffID: diffID()})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([][]string{c.entrypoint, c.cmd}, [][]string{r.App.Entrypoint, r.App.Cmd}); d != "" {
			t.Errorf("%s: %s", c.annotations, d)
		}
		if !r.App.Mounts[0].KeepContent {
			t.Error("a docker volume must keep the image's content")
		}
	}
}

// with replaces a part of full, which must be there.
func with(t *testing.T, old, new string) string {
	t.Helper()
	if !strings.Contains(full, old) {
		t.Fatalf("%s is not in the manifest", old)
	}
	return strings.Replace(full, old, new, 1)
}

func TestRefuse(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`"ImageManifest"`, `"PodManifest"`, `acKind is "PodManifest"`},
		{`"0.8.11"`, `"0.8"`, `acVersion "0.8" is not a version`},
		{`"0.8.11"`, `"0.08.1"`, "is not a version"},
		{`"0.8.11"`, `"0.8.1-"`, "is not a version"},
		{`"example.com/reduce-worker"`, `""`, "it has no name"},
		{`"example.com/reduce-worker"`, `"Example"`, "no AC Identifier"},
		{`"example.com/reduce-worker"`, `"a//b"`, "no AC Identifier"},
		{`"example.com/reduce-worker"`, `"a/"`, "no AC Identifier"},
		{`"example.com/reduce-worker"`, `7`, `line 4: "name" cannot be a number`},
		{`"unknown": {"x": 1},`, `"unknown": {"x": 1}`, "line 6: invalid character"},
		{`"name": "os"`, `"name": "version"`, `label "version" is there twice`},
		{`"name": "os"`, `"name": "name"`, `a label cannot be called "name"`},
		{`"name": "os"`, `"name": "OS"`, "label: "},
		{`"name": "os"`, `"name": "so"`, `label "arch" needs a label "os"`},
		{`"value": "1.0.0"`, `"value": "1\n0"`, "control character"},
		{`"user": "www"`, `"user": ""`, `app: it has no "user"`},
		{`"group": "100"`, `"group": ""`, `app: it has no "group"`},
		{`"user": "www"`, `"user": "\u0000"`, "zero byte"},
		{`"-quiet"`, `"\u0000"`, "exec has a zero byte"},
		{`[5, 4294967294]`, `[-1]`, "-1, which is no group"},
		{`[5, 4294967294]`, `[4294967295]`, "which is no group"},
		{`"pre-start"`, `"pre-stop"`, "want pre-start or post-stop"},
		{`"pre-start"`, `"post-stop"`, `"post-stop" twice`},
		{`["/usr/bin/prepare"]`, `[]`, `event handler "pre-start" has no exec`},
		{`"/usr/bin/prepare"`, `"\u0000"`, "pre-start has a zero byte"},
		{`"/opt/work"`, `"opt"`, "no absolute path"},
		{`"REDUCE_WORKER_DEBUG"`, `""`, "no variable"},
		{`"REDUCE_WORKER_DEBUG"`, `"A=B"`, "no variable"},
		{`"value": "true"`, `"value": "\u0000"`, "no variable"},
		{`"resource/cpu"`, `"CPU"`, "isolator: "},
		{`"name": "work"`, `"name": "a.b"`, "no AC Name"},
		{`"/var/lib/work"`, `"var"`, `mount point "work"`},
		{`{"name": "work",`, `{"name": "work", "path": "/x"}, {"name": "work",`, `mount point "work" is there twice`},
		{`"name": "health"`, `"name": "h--h"`, "no AC Name"},
		{`"protocol": "tcp"`, `"protocol": "sctp"`, "neither tcp nor udp"},
		{`"port": 4000`, `"port": 0`, "0 is no port"},
		{`"port": 4000`, `"port": 65536`, "65536 is no port"},
		{`"port": 4000`, `"port": -1`, "cannot be a number -1"},
		{`"count": 2`, `"count": 61537`, "too many"},
		{`"count": 2`, `"count": 18446744073709551615`, "too many"},
		{`{"name": "health",`, `{"name": "health", "protocol": "udp", "port": 1}, {"name": "health",`, `port "health" is there twice`},
		{`"name": "homepage"`, `"name": "authors"`, `annotation "authors" is there twice`},
		{`"name": "homepage"`, `"name": "Home"`, "annotation: "},
		{`"unknown": {"x": 1}`, `"pathWhitelist": ["x"]`, "pathWhitelist"},
		{`"unknown": {"x": 1}`, `"dependencies": [{"imageName": "X"}]`, `dependency "X"`},
		{`"unknown": {"x": 1}`, `"dependencies": [{"imageName": "x", "imageID": "sha256-00"}]`, "is not sha512-<hex>"},
		{`"unknown": {"x": 1}`, `"dependencies": [{"imageName": "x", "labels": [{"name": "name"}]}]`, "label"},
	} {
		_, err := Parse([]byte(with(t, c.old, c.new)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot read ACI manifest: ") {
			t.Errorf("%s: %v; want %q", c.new, err, c.want)
		}
	}
	for raw, want := range map[string]string{"": "unexpected end", "{": "line 1: unexpected end", full + strings.Repeat(" ", MaxManifest): "longer than"} {
		if _, err := Parse([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", raw, err)
		}
	}
}

func TestSanitizeACName(t *testing.T) {
	for in, want := range map[string]ACName{
		"example.com/My_App": "my-app", "busybox": "busybox", "a/--x..y--": "x-y", "Ünï/Ünï2": "n-2",
	} {
		got, err := SanitizeACName(in)
		if err != nil || got != want || got.Validate() != nil {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a/", "///", "Ü"} {
		if got, err := SanitizeACName(in); err == nil {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestCheckPlatform(t *testing.T) {
	arch := map[string]string{"amd64": "amd64", "arm64": "aarch64"}[runtime.GOARCH]
	if arch == "" {
		t.Skip("needs amd64 or arm64")
	}
	for _, c := range []struct {
		os, arch, want string
	}{
		{"linux", arch, ""},
		{"linux", "", ""},
		{"", "", ""},
		{"linux", "ppc64", "it is for linux/ppc64, this machine is linux/" + arch},
		{"freebsd", "amd64", "it is for freebsd/amd64"},
		{"darwin", "", "it is for darwin,"},
	} {
		labels := map[string]string{}
		if c.os != "" {
			labels["os"] = c.os
		}
		if c.arch != "" {
			labels["arch"] = c.arch
		}
		err := CheckPlatform(labels)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s/%s: %v; want %q", c.os, c.arch, err, c.want)
		}
	}
}

// A manifest that is taken says the same when it is written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","dependencies":[{"imageName":"b","imageID":"sha512-00","size":3}],"pathWhitelist":["/x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil {
			return
		}
		written, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		rewritten, err := json.Marshal(again)
		if err != nil || !reflect.DeepEqual(written, rewritten) {
			t.Fatalf("%s\n%s\n%v", written, rewritten, err)
		}
		if r, err := m.Record("sha256:x", image.Layer{DiffID: diffID()}); err == nil {
			if _, err := json.Marshal(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func ExampleImageManifest_DisplayName() {
	m := ImageManifest{Name: "coreos.com/etcd", Labels: Labels{{"version", "v3.1.0"}}}
	fmt.Println(m.DisplayName())
	// Output: coreos.com/etcd:v3.1.0
}
