// SPDX-License-Identifier: Apache-2.0

package output

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image/ociconfig"
)

func TestParse(t *testing.T) {
	for word, want := range map[string]Target{
		"oci:dir:v1":               {Kind: Layout, Path: "dir", Name: "v1"},
		"oci-archive:x.tar":        {Kind: Archive, Path: "x.tar"},
		"docker-archive:x.tar:a:b": {Kind: DockerArchive, Path: "x.tar", Name: "a:b"},
		"aci:x":                    {Kind: ACI, Path: "x"},
		"dir/x.aci":                {Kind: ACI, Path: "dir/x.aci"},
		"store":                    {Kind: Store},
		"store:example.com/x":      {Kind: Store, Name: "docker://example.com/x:latest"},
		"docker://example.com/x":   {Kind: Registry},
	} {
		got, err := Parse(word)
		if err != nil || got.Kind != want.Kind || got.Path != want.Path || got.Name != want.Name {
			t.Errorf("%s: %+v, %v, want %+v", word, got, err, want)
		}
	}
	for _, word := range []string{"", "x", "oci:", "tar:x", "store:example.com/x@sha256:" + strings.Repeat("a", 64), "docker://x@sha256:" + strings.Repeat("a", 64), "docker://UPPER/x y"} {
		if got, err := Parse(word); err == nil {
			t.Errorf("%s: %+v", word, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"oci:a:b", "store:x", "aci:", "x.aci", "docker://a/b:c", "oci-archive:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if got, err := Parse(word); err == nil && (got.Kind == "" || got.Path == "" && got.Kind != Store && got.Kind != Registry) {
			t.Errorf("%q: %+v", word, got)
		}
	})
}

// TestManifest: layers of Docker's base images get OCI's words, and all fits.
func TestManifest(t *testing.T) {
	layer := func(mediaType string) Layer {
		return Layer{MediaType: mediaType, Digest: "sha256:" + "aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11", Size: 3,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil }}
	}
	d := `"sha256:bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11bb11"`
	im := Image{Config: []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[` + d + `,` + d + `]}}`),
		Layers:      []Layer{layer("application/vnd.docker.image.rootfs.diff.tar.gzip"), layer("application/vnd.oci.image.layer.v1.tar+zstd")},
		Annotations: map[string]string{"a": "b"}}
	o, err := im.OCI()
	if err != nil {
		t.Fatal(err)
	}
	text, err := readAll(o.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ociconfig.ParseManifest(text, ociconfig.OCIManifest)
	if err != nil || len(m.Layers) != 2 || m.Layers[0].MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" || m.Layers[1].MediaType != "application/vnd.oci.image.layer.v1.tar+zstd" || m.Annotations["a"] != "b" {
		t.Errorf("%s, %v", text, err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil || string(raw["mediaType"]) != `"application/vnd.oci.image.manifest.v1+json"` || o.Platform == nil {
		t.Errorf("%s, %v", text, err)
	}
	im.Layers = im.Layers[:1]
	if _, err := im.OCI(); err == nil || !strings.Contains(err.Error(), "it has 1 layers, its configuration 2") {
		t.Error(err)
	}
}
