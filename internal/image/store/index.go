// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
)

// Media types of image-spec 1.1 and of ours.
const (
	typeIndex       = "application/vnd.oci.image.index.v1+json"
	typeManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeEmpty       = "application/vnd.oci.empty.v1+json"
	typeACI         = "application/vnd.appc.aci"
	typeACIManifest = "application/vnd.appc.image-manifest+json"
	refName         = "org.opencontainers.image.ref.name"
)

// The empty descriptor (image-spec 1.1, manifest.md, "Guidance for an Empty
// Descriptor").
var (
	emptyBlob   = []byte("{}")
	emptyDigest = image.Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
)

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       image.Digest      `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// writeIndex makes index.json say what the records say: one descriptor for
// each name of an image, or one without a name. The caller holds the lock
// exclusively.
func (s *Store) writeIndex(all map[image.ID]*image.Record) error {
	idx := index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}}
	for _, id := range sortedIDs(all) {
		r := all[id]
		d, err := s.describe(r)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a damaged image must not hide the others
		}
		if err != nil {
			return fmt.Errorf("cannot list image %s in index.json: %w", id, err)
		}
		if len(r.Names) == 0 {
			idx.Manifests = append(idx.Manifests, d)
		}
		for _, name := range r.Names {
			d.Annotations = map[string]string{refName: layoutName(name)}
			idx.Manifests = append(idx.Manifests, d)
		}
	}
	b, err := json.MarshalIndent(idx, "", " ")
	if err != nil {
		return fmt.Errorf("cannot encode index.json: %w", err)
	}
	failpoint.Hit("store/before-index")
	if err := atomicfile.Write(filepath.Join(s.images, "index.json"), append(b, '\n'), fileMode); err != nil {
		return err
	}
	failpoint.Hit("store/after-index")
	return nil
}

// layoutName is a canonical name in the grammar that image-spec gives for
// org.opencontainers.image.ref.name and that skopeo and podman insist on: no
// scheme, and a letter or digit on both sides of each separator. So
// "docker://registry-1.docker.io/library/busybox:latest" loses its scheme and
// "oci:/srv/images:app" becomes "oci/srv/images:app".
func layoutName(name string) string {
	if rest, ok := strings.CutPrefix(name, "docker://"); ok {
		return rest
	}
	return strings.Replace(name, ":/", "/", 1)
}

// describe makes the descriptor of an image's manifest.
func (s *Store) describe(r *image.Record) (descriptor, error) {
	if r.Format == image.ACI {
		b, err := s.artifact(r)
		return descriptor{MediaType: typeManifest, ArtifactType: typeACI, Digest: digestOf(b), Size: int64(len(b))}, err
	}
	fi, err := os.Lstat(s.blobPath(r.Manifest))
	if err != nil {
		return descriptor{}, err
	}
	return descriptor{MediaType: r.MediaType, Digest: r.Manifest, Size: fi.Size()}, nil
}

// artifact is the OCI manifest that stands for an ACI in index.json, so that
// other tools see, copy and keep its blobs. The same record always gives the
// same bytes.
func (s *Store) artifact(r *image.Record) ([]byte, error) {
	fi, err := os.Lstat(s.blobPath(r.Manifest))
	if err != nil {
		return nil, err
	}
	l := r.Layers[0]
	mediaType := l.MediaType
	if mediaType == "" {
		mediaType = typeACI
	}
	return json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations"`
	}{
		SchemaVersion: 2,
		MediaType:     typeManifest,
		ArtifactType:  typeACI,
		Config:        descriptor{MediaType: typeEmpty, Digest: emptyDigest, Size: int64(len(emptyBlob))},
		Layers: []descriptor{
			{MediaType: mediaType, Digest: l.Blob, Size: l.Size},
			{MediaType: typeACIManifest, Digest: r.Manifest, Size: fi.Size()},
		},
		Annotations: map[string]string{"io.appc.image.id": string(r.ID)},
	})
}

func (s *Store) putArtifact(r *image.Record) error {
	b, err := s.artifact(r)
	if errors.Is(err, fs.ErrNotExist) {
		return missing("blob", r.Manifest, err)
	}
	if err == nil {
		err = s.putBlob(b)
	}
	if err == nil {
		err = s.putBlob(emptyBlob)
	}
	return err
}
