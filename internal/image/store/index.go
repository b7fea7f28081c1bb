// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
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
	typeDocker      = "application/vnd.docker.distribution.manifest.v2+json"
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
	b, err := s.makeIndex(all)
	if err != nil {
		return err
	}
	failpoint.Hit("store/before-index")
	if err := s.linkIndex(); err != nil {
		return err
	}
	if err := atomicfile.Write(s.rkt("index", "index.json"), b, fileMode); err != nil {
		return err
	}
	failpoint.Hit("store/after-index")
	return nil
}

// makeIndex is what index.json has to say.
func (s *Store) makeIndex(all map[image.ID]*image.Record) ([]byte, error) {
	idx := index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}}
	for _, id := range sortedIDs(all) {
		r := all[id]
		d, err := s.describe(r)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a damaged image must not hide the others
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list image %s in index.json: %w", id, err)
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
		return nil, fmt.Errorf("cannot encode index.json: %w", err)
	}
	return append(b, '\n'), nil
}

// indexTarget is where images/index.json leads.
const indexTarget = "rkt/index/index.json"

func (s *Store) indexLinked() bool {
	to, err := os.Readlink(filepath.Join(s.images, "index.json"))
	return err == nil && to == indexTarget
}

// linkIndex makes images/index.json a link to where members may write, if it is
// none: a store of an older rkt has a file there.
func (s *Store) linkIndex() error {
	path := filepath.Join(s.images, "index.json")
	if s.indexLinked() {
		return nil
	}
	if err := os.Mkdir(s.rkt("index"), dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make room for index.json: %w", err)
	}
	temp := filepath.Join(s.images, atomicfile.TempPrefix+random())
	err := os.Symlink(indexTarget, temp)
	if err == nil {
		if err = os.Rename(temp, path); err != nil {
			_ = os.Remove(temp)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot link index.json: %w", cause(err))
	}
	return nil
}

// layoutName is a canonical name in the grammar that image-spec gives for
// org.opencontainers.image.ref.name and that skopeo and podman insist on: no
// scheme, and a letter or digit on both sides of each separator. So
// "docker://registry-1.docker.io/library/busybox:latest" loses its scheme,
// "oci:/srv/images:app" becomes "oci/srv/images:app", and
// "file:///srv/app.aci" "file/srv/app.aci".
func layoutName(name string) string {
	if rest, ok := strings.CutPrefix(name, "docker://"); ok {
		return rest
	}
	if scheme, rest, ok := strings.Cut(name, ":/"); ok {
		return scheme + "/" + strings.TrimLeft(rest, "/")
	}
	return name
}

// describe makes the descriptor by which index.json lists an image.
func (s *Store) describe(r *image.Record) (descriptor, error) {
	fi, err := os.Lstat(s.blobPath(r.Manifest))
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: r.MediaType, Digest: r.Manifest, Size: fi.Size()}
	b, d := standIn(r, d)
	if b != nil {
		d.Digest, d.Size = digestOf(b), int64(len(b))
	}
	return d, nil
}

// standIn makes a small document of OCI's for an image whose manifest is not
// OCI's, and all of the descriptor for it but digest and size; nil and manifest
// itself for other images. The same image always gives the same bytes.
//
// For a Docker image it is an index of that one manifest: skopeo and podman
// pass over entries of index.json that are neither OCI manifests nor OCI
// indexes, but take Docker's manifests from inside an index. For an ACI it is
// an artifact manifest, so that other tools see, copy and keep its two blobs.
func standIn(r *image.Record, manifest descriptor) ([]byte, descriptor) {
	var doc any
	d := descriptor{MediaType: typeManifest}
	switch {
	case r.Format == image.ACI:
		d.ArtifactType = typeACI
		l, _ := r.Own()
		doc = struct {
			SchemaVersion int               `json:"schemaVersion"`
			MediaType     string            `json:"mediaType"`
			ArtifactType  string            `json:"artifactType"`
			Config        descriptor        `json:"config"`
			Layers        []descriptor      `json:"layers"`
			Annotations   map[string]string `json:"annotations"`
		}{
			2, typeManifest, typeACI,
			descriptor{MediaType: typeEmpty, Digest: emptyDigest, Size: int64(len(emptyBlob))},
			[]descriptor{
				{MediaType: cmp.Or(l.MediaType, typeACI), Digest: l.Blob, Size: l.Size},
				{MediaType: cmp.Or(r.MediaType, typeACIManifest), Digest: r.Manifest, Size: manifest.Size},
			},
			map[string]string{"io.appc.image.id": string(r.ID)},
		}
	case r.MediaType == typeDocker:
		d.MediaType = typeIndex
		doc = index{2, typeIndex, []descriptor{manifest}}
	default:
		return nil, manifest
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and numbers always go
	}
	return b, d
}

// putStandIn stores what index.json will point to. The caller holds the lock
// exclusively.
func (s *Store) putStandIn(r *image.Record) error {
	fi, err := os.Lstat(s.blobPath(r.Manifest))
	if err != nil {
		return missing("blob", r.Manifest, err)
	}
	b, _ := standIn(r, descriptor{MediaType: r.MediaType, Digest: r.Manifest, Size: fi.Size()})
	if b != nil {
		err = s.putBlob(b)
	}
	if err == nil && r.Format == image.ACI {
		err = s.putBlob(emptyBlob)
	}
	return err
}
