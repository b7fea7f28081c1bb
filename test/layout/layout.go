// SPDX-License-Identifier: Apache-2.0

// Package layout writes OCI image layouts for the demo, the tests and the
// benchmarks. It shares no code with the image packages, so that it can stand
// against them.
package layout

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// A Descriptor points at a blob (image-spec 1.1, descriptor.md).
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

// A Platform is what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Config is the part of an image's configuration that says how to run it
// (image-spec 1.1, config.md).
type Config struct {
	User         string              `json:"User,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	// History: the configuration tells of each layer, as those of real images do.
	History bool `json:"-"`
}

// A Layer is a blob in a layout, and the digest of the tar inside.
type Layer struct {
	Descriptor
	DiffID string
}

// Compression is how a layer's tar is packed.
type Compression string

// The compressions of image-spec 1.1, layer.md.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// Media types (image-spec 1.1, media-types.md).
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	IndexType    = "application/vnd.oci.image.index.v1+json"
	ConfigType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// Tar is what a layer is written to.
type Tar = tar.Writer

// A Layout is a directory that is being filled. It is not safe for concurrent
// use.
type Layout struct {
	Dir   string
	index []Descriptor
}

// Create makes an empty layout in dir, which may exist.
func Create(dir string) (*Layout, error) {
	l := &Layout{Dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return nil, err
	}
	return l, l.writeIndex()
}

// AddLayer stores what fill writes as a layer.
func (l *Layout) AddLayer(c Compression, fill func(*tar.Writer) error) (layer Layer, err error) {
	f, err := os.CreateTemp(filepath.Join(l.Dir, "blobs"), "layer-")
	if err != nil {
		return layer, err
	}
	defer os.Remove(f.Name())
	blob, diff := sha256.New(), sha256.New()
	sink := io.MultiWriter(f, blob)
	var packer io.WriteCloser = nopCloser{sink}
	layer.MediaType = layerType
	switch c {
	case Gzip:
		packer = gzip.NewWriter(sink)
		layer.MediaType += "+gzip"
	case Zstd:
		if packer, err = zstd.NewWriter(sink); err != nil {
			return layer, err
		}
		layer.MediaType += "+zstd"
	}
	tw := tar.NewWriter(io.MultiWriter(packer, diff))
	err = errors.Join(fill(tw), tw.Close(), packer.Close())
	if layer.Size, err = tell(f, err); err != nil {
		return layer, errors.Join(err, f.Close())
	}
	layer.Digest, layer.DiffID = name(blob.Sum(nil)), name(diff.Sum(nil))
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return layer, err
	}
	return layer, os.Rename(f.Name(), l.Blob(layer.Digest))
}

// AddImage stores a manifest and a configuration for this machine's platform,
// and enters the image into the index under ref. It returns the manifest's
// descriptor.
func (l *Layout) AddImage(ref string, c Config, layers ...Layer) (Descriptor, error) {
	return l.AddImageFor(ref, Platform{runtime.GOARCH, "linux"}, c, layers...)
}

// AddImageFor is AddImage for another platform. With an empty ref the image is
// stored but not entered into the index.
func (l *Layout) AddImageFor(ref string, p Platform, c Config, layers ...Layer) (Descriptor, error) {
	var diffs []string
	descs := []Descriptor{}
	for _, layer := range layers {
		diffs = append(diffs, layer.DiffID)
		descs = append(descs, layer.Descriptor)
	}
	const created = "2026-01-01T00:00:00Z"
	doc := map[string]any{
		"architecture": p.Architecture, "os": p.OS, "created": created, "config": c,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}
	if c.History {
		steps := []map[string]string{}
		for range layers {
			steps = append(steps, map[string]string{"created": created, "created_by": "made for tests"})
		}
		doc["history"] = steps
	}
	config, err := l.AddJSON(ConfigType, doc)
	if err != nil {
		return config, err
	}
	manifest, err := l.AddJSON(ManifestType, map[string]any{
		"schemaVersion": 2, "mediaType": ManifestType, "config": config, "layers": descs,
	})
	if err != nil || ref == "" {
		return manifest, err
	}
	return manifest, l.Tag(ref, manifest)
}

// AddJSON stores a document as a blob.
func (l *Layout) AddJSON(mediaType string, v any) (Descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return Descriptor{}, err
	}
	sum := sha256.Sum256(text)
	d := Descriptor{MediaType: mediaType, Digest: name(sum[:]), Size: int64(len(text))}
	return d, os.WriteFile(l.Blob(d.Digest), text, 0o644)
}

// Tag enters a manifest or an index into the layout's index.
func (l *Layout) Tag(ref string, d Descriptor) error {
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": ref}
	l.index = append(l.index, d)
	return l.writeIndex()
}

// Blob is the path of a blob.
func (l *Layout) Blob(digest string) string {
	return filepath.Join(l.Dir, "blobs", "sha256", digest[len("sha256:"):])
}

func (l *Layout) writeIndex() error {
	if l.index == nil {
		l.index = []Descriptor{}
	}
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": IndexType, "manifests": l.index})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.Dir, "index.json"), text, 0o644)
}

func name(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

func tell(f *os.File, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	n, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, fmt.Errorf("cannot measure layer: %w", err)
	}
	return n, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
