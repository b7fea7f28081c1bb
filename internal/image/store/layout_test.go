// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/rkt/rkt/internal/image"
)

func TestLayoutName(t *testing.T) {
	for name, want := range map[string]string{
		"docker://registry-1.docker.io/library/busybox:latest": "registry-1.docker.io/library/busybox:latest",
		"docker://localhost:5000/x@sha256:00":                  "localhost:5000/x@sha256:00",
		"oci:/srv/images:app":                                  "oci/srv/images:app",
		"oci-archive:/x.tar":                                   "oci-archive/x.tar",
		"file:///srv/app.aci":                                  "file/srv/app.aci",
		"coreos.com/etcd:v1":                                   "coreos.com/etcd:v1",
	} {
		if got := layoutName(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// run runs an oracle and gives its output.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// realImages stores one image as Docker's and as OCI's, made by umoci and
// skopeo, and returns the layout and their manifests' bytes by name.
func realImages(t *testing.T) (s *Store, manifests map[string]string) {
	t.Helper()
	for _, tool := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "root/etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "root/etc/motd"), []byte("hello"), 0o644))
	run(t, dir, "umoci", "init", "--layout", "L")
	run(t, dir, "umoci", "new", "--image", "L:x")
	run(t, dir, "umoci", "insert", "--rootless", "--image", "L:x", "root/etc", "/etc")
	run(t, dir, "umoci", "insert", "--rootless", "--image", "L:x", "root", "/opt")
	s = newStore(t)
	manifests = map[string]string{}
	for format, name := range map[string]string{"v2s2": "docker://registry-1.docker.io/library/busybox:latest", "oci": "oci:/srv/images:app"} {
		run(t, dir, "skopeo", "copy", "--quiet", "--format", format, "oci:L:x", "dir:"+format)
		raw, err := os.ReadFile(filepath.Join(dir, format, "manifest.json"))
		must(t, err)
		var m struct {
			MediaType string
			Config    struct{ Digest image.Digest }
			Layers    []struct {
				MediaType string
				Digest    image.Digest
				Size      int64
			}
		}
		must(t, json.Unmarshal(raw, &m))
		blob := func(d image.Digest) []byte {
			b, err := os.ReadFile(filepath.Join(dir, format, d.Hex()))
			must(t, err)
			putBlob(t, s, b)
			return b
		}
		var cfg struct {
			RootFS struct {
				DiffIDs []image.Digest `json:"diff_ids"`
			}
		}
		must(t, json.Unmarshal(blob(m.Config.Digest), &cfg))
		rec := image.Record{Format: image.OCI, MediaType: m.MediaType, Manifest: putBlob(t, s, raw), Names: []string{name}}
		if rec.MediaType == "" {
			rec.MediaType = typeManifest
		}
		rec.ID = rec.Manifest.ID()
		for i, l := range m.Layers {
			blob(l.Digest)
			putLayer(t, s, cfg.RootFS.DiffIDs[i], "tree")
			rec.Layers = append(rec.Layers, image.Layer{Blob: l.Digest, MediaType: l.MediaType, Size: l.Size, DiffID: cfg.RootFS.DiffIDs[i]})
		}
		must(t, s.Commit(rec))
		manifests[name] = string(raw)
	}
	aci := addACI(t, s, "aci")
	aci.Names = []string{"file:///srv/app.aci"}
	must(t, s.Commit(aci))
	return s, manifests
}

// skopeo lists and copies what the store holds by the names in index.json.
func TestSkopeoReadsStore(t *testing.T) {
	s, manifests := realImages(t)
	out := t.TempDir()
	for name, raw := range manifests {
		src := "oci:" + s.images + ":" + layoutName(name)
		if info := run(t, out, "skopeo", "inspect", src); !strings.Contains(info, `"Os": "linux"`) {
			t.Errorf("%s: %s", name, info)
		}
		if got := run(t, out, "skopeo", "inspect", "--config", src); !strings.Contains(got, "diff_ids") {
			t.Errorf("%s: %s", name, got)
		}
		os.RemoveAll(filepath.Join(out, "copy"))
		run(t, out, "skopeo", "copy", "--quiet", src, "dir:copy")
		got, err := os.ReadFile(filepath.Join(out, "copy", "manifest.json"))
		must(t, err)
		if string(got) != raw {
			t.Errorf("%s: skopeo's copy has manifest %s, want %s", name, got, raw)
		}
	}
	got := run(t, out, "skopeo", "inspect", "--raw", "oci:"+s.images+":file/srv/app.aci")
	if !strings.Contains(got, typeACI) {
		t.Errorf("ACI: %s", got)
	}
	names := run(t, out, "umoci", "ls", "--layout", s.images)
	for _, n := range []string{"registry-1.docker.io/library/busybox:latest", "oci/srv/images:app", "file/srv/app.aci"} {
		if !strings.Contains(names, n+"\n") {
			t.Errorf("umoci ls: no %s in %s", n, names)
		}
	}
}

// So does crane's library, down to every blob's digest.
func TestCraneReadsStore(t *testing.T) {
	s, manifests := realImages(t)
	idx, err := layout.ImageIndexFromPath(s.images)
	must(t, err)
	top, err := idx.IndexManifest()
	must(t, err)
	if len(top.Manifests) != 3 {
		t.Errorf("%d entries", len(top.Manifests))
	}
	for _, d := range top.Manifests {
		img, err := idx.Image(d.Digest)
		if d.MediaType.IsIndex() {
			inner, ierr := idx.ImageIndex(d.Digest)
			must(t, ierr)
			list, ierr := inner.IndexManifest()
			must(t, ierr)
			if len(list.Manifests) != 1 {
				t.Fatalf("%d manifests in %s", len(list.Manifests), d.Digest)
			}
			img, err = inner.Image(list.Manifests[0].Digest)
		}
		must(t, err)
		layers, err := img.Layers()
		must(t, err)
		if len(layers) != 2 {
			t.Errorf("%d blobs", len(layers))
		}
		for _, l := range layers {
			digest, err := l.Digest()
			must(t, err)
			rc, err := l.Compressed()
			must(t, err)
			w, err := s.NewBlob()
			must(t, err)
			_, err = io.Copy(w, rc)
			must(t, err)
			rc.Close()
			must(t, w.Commit(image.Digest(digest.String()), -1))
		}
		raw, err := img.RawManifest()
		must(t, err)
		if name := d.Annotations[refName]; !strings.HasPrefix(name, "file/") && string(raw) != manifests["docker://"+name] && string(raw) != manifests["oci:/srv/images:app"] {
			t.Errorf("%s: %s", name, raw)
		}
	}
}
