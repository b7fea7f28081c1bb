// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
)

func digest(c string) image.Digest { return image.Digest("sha256:" + strings.Repeat(c, 64)) }

func desc(mediaType, c string, size int) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digest(c), size)
}

const (
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	dockerLayer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func TestMediaType(t *testing.T) {
	const index, manifest = `"manifests":[]`, `"config":{},"layers":[]`
	doc := func(mediaType, rest string) string {
		if mediaType != "" {
			rest = fmt.Sprintf(`"mediaType":%q,`, mediaType) + rest
		}
		return `{"schemaVersion":2,` + rest + `}`
	}
	for _, c := range []struct{ raw, declared, want, err string }{
		{doc("", index), "", OCIIndex, ""},
		{doc("", manifest), "", OCIManifest, ""},
		{doc("", manifest), "application/json", OCIManifest, ""},
		{doc("", index), DockerList, DockerList, ""},
		{doc("", manifest), DockerManifest + "; charset=utf-8", DockerManifest, ""},
		{doc(DockerManifest, manifest), "text/plain", DockerManifest, ""},
		{doc(DockerManifest, manifest), DockerManifest, DockerManifest, ""},
		{doc(OCIIndex, index), OCIIndex, OCIIndex, ""},
		{doc(OCIManifest, `"layers":[]`), "", OCIManifest, ""},

		{doc(OCIManifest, manifest), OCIIndex, "", "was announced as"},
		{doc(OCIManifest, manifest), DockerManifest, "", "was announced as"},
		{doc(OCIManifest, index), "", "", "is not what its media type"},
		{doc(OCIIndex, manifest), "", "", "is not what its media type"},
		{doc("", manifest), OCIIndex, "", "is not what its media type"},
		{doc("", manifest+","+index), "", "", "an index and a manifest at once"},
		{doc(OCIManifest, manifest+","+index), OCIManifest, "", "an index and a manifest at once"},
		{doc("application/vnd.example", manifest), OCIManifest, "", "was announced as"},
		{doc("application/vnd.example", manifest), "", "", "which is no image"},
		{`{}`, "", "", "neither"},
		{`{"schemaVersion":2}`, "", "", "neither"},
		{`[]`, "", "", "cannot unmarshal"},
		{`{`, "", "", "unexpected end"},
		{``, "", "", "unexpected end"},
		{`{"schemaVersion":1,"fsLayers":[]}`, "", "", "schema 1"},
		{doc(schema1Signed, manifest), "", "", "schema 1"},
		{doc("", manifest), schema1, "", "schema 1"},
		{doc("", manifest+`,"fsLayers":[]`), DockerManifest, "", "schema 1"},
		{doc("", manifest) + strings.Repeat(" ", MaxDocument), "", "", "longer than"},
	} {
		got, err := MediaType([]byte(c.raw), c.declared)
		if got != c.want || (c.err == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.err) || !strings.HasPrefix(err.Error(), "cannot read image manifest: ")) {
			t.Errorf("%.80s declared %q: %q, %v; want %q, %q", c.raw, c.declared, got, err, c.want, c.err)
		}
	}
	if _, err := MediaType([]byte(`{"schemaVersion":1}`), ""); hint.Of(err) == "" {
		t.Error("no hint for schema 1")
	}
}

func TestParseManifest(t *testing.T) {
	raw := `{"schemaVersion":2,"mediaType":"` + DockerManifest + `","unknown":[1],"config":` + desc(DockerConfig, "c", 10) +
		`,"layers":[` + desc(dockerLayer, "1", 100) + `,` + desc("application/vnd.oci.image.layer.v1.tar+zstd", "2", 200) + `,` +
		desc("application/vnd.docker.image.rootfs.diff.tar", "3", 0) + `],"annotations":{"k":"v"}}`
	got, err := ParseManifest([]byte(raw), "")
	if err != nil {
		t.Fatal(err)
	}
	want := Manifest{
		MediaType: DockerManifest,
		Config:    Descriptor{MediaType: DockerConfig, Digest: digest("c"), Size: 10},
		Layers: []Descriptor{
			{MediaType: dockerLayer, Digest: digest("1"), Size: 100},
			{MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Digest: digest("2"), Size: 200},
			{MediaType: "application/vnd.docker.image.rootfs.diff.tar", Digest: digest("3")},
		},
		Annotations: map[string]string{"k": "v"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	config := desc(OCIConfig, "c", 10)
	layer := desc(ociLayer, "1", 1)
	for _, c := range []struct{ config, layers, more, want string }{
		{config, desc("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "1", 1), "", "layer 1 is foreign"},
		{config, layer + "," + desc("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "1", 1), "", "layer 2 is foreign"},
		{config, desc(ociLayer+"+encrypted", "1", 1), "", "is encrypted"},
		{config, desc("application/vnd.oci.image.layer.v1.tar+lz4", "1", 1), "", "unknown type"},
		{config, desc("", "1", 1), "", "unknown type"},
		{config, desc("text/plain", "1", 1), "", "unknown type"},
		{config, desc(ociLayer, "1", -1), "", "size of -1"},
		{config, desc(ociLayer, "z", 1), "", "not hexadecimal"},
		{config, `{}`, "", "cannot parse digest"},
		{config, `7`, "", "cannot unmarshal"},
		{config, strings.Repeat(layer+",", MaxLayers) + layer, "", "501 layers"},
		{desc(OCIConfig, "c", MaxDocument+1), layer, "", "configuration is longer"},
		{desc(OCIConfig, "c", -1), layer, "", "configuration: "},
		{desc("application/vnd.cncf.helm.config.v1+json", "c", 1), layer, "", `no container image, but of type "application/vnd.cncf.helm.config.v1+json"`},
		{desc("application/vnd.oci.empty.v1+json", "c", 1), layer, `,"artifactType":"application/x"`, `of type "application/x"`},
		{`{}`, layer, "", "no container image"},
	} {
		raw := `{"schemaVersion":2,"config":` + c.config + `,"layers":[` + c.layers + `]` + c.more + `}`
		_, err := ParseManifest([]byte(raw), OCIManifest)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot read image manifest: ") {
			t.Errorf("%.200s: %v; want %q", raw, err, c.want)
		}
	}
	if _, err := ParseManifest([]byte(`{"manifests":[]}`), ""); err == nil || !strings.Contains(err.Error(), OCIIndex) {
		t.Error(err)
	}
}

func TestSelect(t *testing.T) {
	type entry struct{ platform, mediaType, annotation string }
	for name, c := range map[string]struct {
		machine string
		entries []entry
		want    int // index; -1 for an error
		err     string
	}{
		"exact":          {"linux/amd64", []entry{{platform: "linux/arm64/v8"}, {platform: "linux/amd64"}, {platform: "windows/amd64"}}, 1, ""},
		"first of two":   {"linux/amd64", []entry{{platform: "linux/amd64"}, {platform: "linux/amd64"}}, 0, ""},
		"arm64/v8":       {"linux/arm64", []entry{{platform: "linux/amd64"}, {platform: "linux/arm64/v8"}}, 1, ""},
		"plainest arm64": {"linux/arm64", []entry{{platform: "linux/arm64/v9"}, {platform: "linux/arm64/v8"}, {platform: "linux/arm64"}}, 2, ""},
		"plainest amd64": {"linux/amd64", []entry{{platform: "linux/amd64/v3"}, {platform: "linux/amd64/v2"}}, 1, ""},
		"strange amd64":  {"linux/amd64", []entry{{platform: "linux/386"}, {platform: "linux/amd64/x"}}, 1, ""},
		"386 on amd64":   {"linux/amd64", []entry{{platform: "linux/arm64"}, {platform: "linux/386"}}, 1, ""},
		"not 386 there":  {"linux/arm64", []entry{{platform: "linux/386"}, {platform: "linux/arm/v7"}}, -1, "cannot choose an image for linux/arm64: there is only linux/386, linux/arm/v7"},
		"windows":        {"linux/amd64", []entry{{platform: "windows/amd64"}, {platform: "windows/amd64"}}, -1, "there is only windows/amd64"},
		"no platform":    {"linux/amd64", []entry{{}}, 0, ""},
		"nested index":   {"linux/amd64", []entry{{mediaType: OCIIndex}}, 0, ""},
		"attestation":    {"linux/amd64", []entry{{platform: "unknown/unknown", annotation: "attestation-manifest"}, {}}, 1, ""},
		"no platforms":   {"linux/amd64", []entry{{}, {}}, -1, "2 are there for no platform in particular"},
		"platform first": {"linux/amd64", []entry{{}, {platform: "linux/amd64"}}, 1, ""},
		"other types":    {"linux/amd64", []entry{{platform: "linux/amd64", mediaType: "text/plain"}}, -1, "the index lists none"},
		"empty":          {"linux/amd64", nil, -1, "the index lists none"},
	} {
		parse := func(s string) *Platform {
			if s == "" {
				return nil
			}
			w := append(strings.Split(s, "/"), "")
			return &Platform{OS: w[0], Architecture: w[1], Variant: w[2]}
		}
		var x Index
		for i, e := range c.entries {
			d := Descriptor{MediaType: e.mediaType, Digest: digest(fmt.Sprint(i)), Platform: parse(e.platform)}
			if d.MediaType == "" {
				d.MediaType = OCIManifest
			}
			if e.annotation != "" {
				d.Annotations = map[string]string{"vnd.docker.reference.type": e.annotation}
			}
			x.Manifests = append(x.Manifests, d)
		}
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": x.Manifests})
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Manifests) > 0 {
			x, err = ParseIndex(raw, OCIIndex)
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := x.Select(*parse(c.machine))
		switch {
		case c.want < 0:
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v; want %q", name, got, err, c.err)
			}
		case err != nil || got.Digest != x.Manifests[c.want].Digest:
			t.Errorf("%s: %v, %v; want entry %d", name, got, err, c.want)
		}
	}
	var many Index
	for i := range 40 {
		many.Manifests = append(many.Manifests, Descriptor{MediaType: OCIManifest, Platform: &Platform{OS: "os" + fmt.Sprint(i)}})
	}
	if _, err := many.Select(Host()); err == nil || len(err.Error()) > 400 || !strings.HasSuffix(err.Error(), ", …") {
		t.Error(err)
	}
	if _, err := ParseIndex([]byte(`{"manifests":[{"digest":"x"}]}`), ""); err == nil || !strings.HasPrefix(err.Error(), "cannot read image index: ") {
		t.Error(err)
	}
	if _, err := ParseIndex([]byte(`{"layers":[]}`), ""); err == nil {
		t.Error("took a manifest for an index")
	}
}
