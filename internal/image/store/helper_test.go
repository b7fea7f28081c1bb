// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// reopen is what another process would see.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	other, err := Open(filepath.Dir(s.images))
	must(t, err)
	t.Cleanup(func() { other.Close() })
	return other
}

func putBlob(t testing.TB, s *Store, content []byte) image.Digest {
	t.Helper()
	w, err := s.NewBlob()
	must(t, err)
	_, err = w.Write(content)
	must(t, err)
	d := w.Digest()
	must(t, w.Commit(d, int64(len(content))))
	return d
}

func putLayer(t testing.TB, s *Store, diffID image.Digest, content string) {
	t.Helper()
	d, err := s.NewLayer()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Path(), "file"), []byte(content), 0o644))
	must(t, d.Commit(diffID))
}

// addImage makes a Docker image of layers with the given contents, all of it
// but the record.
func addImage(t testing.TB, s *Store, config string, layers ...string) image.Record {
	t.Helper()
	type desc struct {
		MediaType string       `json:"mediaType"`
		Digest    image.Digest `json:"digest"`
		Size      int          `json:"size"`
	}
	type rootfs struct {
		Type    string         `json:"type"`
		DiffIDs []image.Digest `json:"diff_ids"`
	}
	rec := image.Record{Format: image.OCI, MediaType: "application/vnd.docker.distribution.manifest.v2+json", Imported: time.Now().UTC()}
	descs, ids := []desc{}, []image.Digest{}
	for _, content := range layers {
		blob := []byte("blob of " + content)
		diffID := digestOf([]byte(content))
		d := putBlob(t, s, blob)
		putLayer(t, s, diffID, content)
		descs = append(descs, desc{"application/vnd.docker.image.rootfs.diff.tar.gzip", d, len(blob)})
		ids = append(ids, diffID)
		rec.Layers = append(rec.Layers, image.Layer{Blob: d, MediaType: descs[0].MediaType, Size: int64(len(blob)), DiffID: diffID, TreeSize: int64(len(content))})
	}
	cfg, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "author": config, "rootfs": rootfs{"layers", ids}})
	must(t, err)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": rec.MediaType,
		"config": desc{"application/vnd.docker.container.image.v1+json", putBlob(t, s, cfg), len(cfg)},
		"layers": descs,
	})
	must(t, err)
	rec.Manifest = putBlob(t, s, manifest)
	rec.ID = rec.Manifest.ID()
	return rec
}

func commitImage(t testing.TB, s *Store, config string, names []string, layers ...string) image.Record {
	t.Helper()
	rec := addImage(t, s, config, layers...)
	rec.Names = names
	must(t, s.Commit(rec))
	return rec
}

func addACI(t testing.TB, s *Store, content string) image.Record {
	t.Helper()
	sum := sha512.Sum512([]byte(content))
	diffID := image.Digest("sha512:" + hex.EncodeToString(sum[:]))
	blob := []byte("compressed " + content)
	d := putBlob(t, s, blob)
	putLayer(t, s, diffID, content)
	return image.Record{
		ID: diffID.ID(), Format: image.ACI, Imported: time.Now().UTC(),
		Manifest: putBlob(t, s, []byte(`{"acKind":"ImageManifest","name":"`+content+`"}`)),
		Layers:   []image.Layer{{Blob: d, Size: int64(len(blob)), DiffID: diffID, TreeSize: 1}},
	}
}

// verify proves that all that the store says is there is there, and nothing
// else; call it after Collect.
func verify(t testing.TB, s *Store) {
	t.Helper()
	all, err := s.List()
	must(t, err)
	blobs, layers, names := map[string]bool{}, map[string]bool{"tmp": true}, map[string]bool{}
	for _, r := range all {
		must(t, s.complete(&r))
		list, err := s.blobsOf(&r)
		must(t, err)
		for _, d := range list {
			blobs[d.Hex()] = true
		}
		for _, l := range r.Layers {
			blobs[l.Blob.Hex()] = true
			layers[filepath.Base(s.LayerPath(l.DiffID))] = true
		}
		for _, n := range r.Names {
			names[filepath.Base(s.namePath(n))] = true
			if got, err := s.ByName(n); err != nil || got.ID != r.ID {
				t.Errorf("name %q of %s gives %s, %v", n, r.ID, got.ID, err)
			}
		}
		if got, err := s.ByID(string(r.ID)); err != nil || got.ID != r.ID {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
	same := func(dir string, want map[string]bool) {
		t.Helper()
		have, err := dirNames(dir)
		must(t, err)
		slices.Sort(have)
		have = append([]string{}, have...)
		list := []string{}
		for n := range want {
			list = append(list, n)
		}
		slices.Sort(list)
		if d := cmp.Diff(list, have); d != "" {
			t.Errorf("%s: (-want +there)\n%s", dir, d)
		}
	}
	got, err := s.allBlobs()
	must(t, err)
	for _, d := range got {
		if !blobs[d.Hex()] {
			t.Errorf("blob %s belongs to no image", d)
		}
		b, err := os.ReadFile(s.blobPath(d))
		must(t, err)
		if d.Algorithm() == "sha256" && digestOf(b) != d {
			t.Errorf("blob %s is not what its name says", d)
		}
	}
	if len(got) != len(blobs) {
		t.Errorf("%d blobs, want %d", len(got), len(blobs))
	}
	same(s.layers, layers)
	same(filepath.Join(s.layers, "tmp"), nil)
	same(s.rkt("names"), names)
	same(s.rkt("tmp"), nil)
	same(s.rkt("fetch"), nil)
	var idx index
	b, err := os.ReadFile(filepath.Join(s.images, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &idx))
	listed, want := []string{}, []string{}
	for _, d := range idx.Manifests {
		listed = append(listed, string(d.Digest)+" "+d.Annotations[refName])
	}
	for _, r := range all {
		d, err := s.describe(&r)
		must(t, err)
		for _, n := range r.Names {
			want = append(want, string(d.Digest)+" "+layoutName(n))
		}
		if len(r.Names) == 0 {
			want = append(want, string(d.Digest)+" ")
		}
	}
	if d := cmp.Diff(want, listed); d != "" {
		t.Errorf("index.json: (-want +there)\n%s", d)
	}
}

// waitersOf counts who waits for a lock on f's inode, as /proc/locks shows them
// ("1: -> FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF").
func waitersOf(t testing.TB, f *os.File) (n int) {
	t.Helper()
	fi, err := f.Stat()
	must(t, err)
	b, err := os.ReadFile("/proc/locks")
	must(t, err)
	inode := fmt.Sprintf(":%d", fi.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) > 6 && words[1] == "->" && strings.HasSuffix(words[6], inode) {
			n++
		}
	}
	return n
}
