// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// Blobs is where blobs are stored.
type Blobs interface {
	OpenBlob(image.Digest) (*os.File, error)
}

// Document reads a small blob: a manifest or a configuration.
func Document(st Blobs, d image.Digest) ([]byte, error) {
	f, err := st.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ociconfig.MaxDocument+1))
	if err == nil && len(b) > ociconfig.MaxDocument {
		err = fmt.Errorf("cannot read blob %s: it is longer than %d bytes", d, ociconfig.MaxDocument)
	}
	return b, err
}

// Source is a stored OCI or Docker image with its two documents.
type Source struct {
	OCI
	manifest, config []byte
}

// Stored is a stored OCI or Docker image.
func Stored(st Blobs, rec image.Record) (Source, error) {
	if rec.Format != image.OCI {
		return Source{}, hint.Wrap(fmt.Errorf("cannot export image %s as OCI: it is an ACI", rec.ID.Short()), "export it with --format=aci")
	}
	raw, err := Document(st, rec.Manifest)
	if err != nil {
		return Source{}, err
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return Source{}, err
	}
	blob := func(d ociconfig.Descriptor) Blob {
		return Blob{d.Digest, d.Size, func() (io.ReadCloser, error) { return st.OpenBlob(d.Digest) }}
	}
	s := Source{manifest: raw}
	s.MediaType = rec.MediaType
	s.Manifest = Blob{rec.Manifest, int64(len(raw)), func() (io.ReadCloser, error) { return st.OpenBlob(rec.Manifest) }}
	s.Config = blob(m.Config)
	for _, l := range m.Layers {
		s.Layers = append(s.Layers, blob(l))
	}
	if s.config, err = Document(st, m.Config.Digest); err != nil {
		return Source{}, err
	}
	c, err := ociconfig.ParseConfig(s.config)
	if err != nil {
		return Source{}, err
	}
	if c.OS != "" && c.Architecture != "" {
		s.Platform = &c.Platform
	}
	return s, nil
}

// Added is one more layer for an image.
type Added struct {
	Blob
	DiffID  image.Digest // of the plain tar
	Gzip    bool
	Created time.Time // when what is in it was made
	By      string    // for the image's history
}

// With is the image with one more layer: its documents as they were, but for the
// layer, its line in the history, and when the image was made.
func (s Source) With(l Added) (OCI, error) {
	o := s.OCI
	created := l.Created.UTC().Format(time.RFC3339Nano)
	config, err := edit(s.config, func(doc object) error {
		if err := doc.set("created", created); err != nil {
			return err
		}
		root := object{}
		if err := json.Unmarshal(doc["rootfs"], &root); err != nil {
			return err
		}
		if err := root.add("diff_ids", l.DiffID); err != nil {
			return err
		}
		if err := doc.set("rootfs", root); err != nil {
			return err
		}
		return doc.add("history", map[string]string{"created": created, "created_by": l.By})
	})
	if err != nil {
		return OCI{}, fmt.Errorf("cannot change image configuration: %w", err)
	}
	o.Config = Bytes(config)
	mediaType := "application/vnd.oci.image.layer.v1.tar"
	if l.Gzip {
		mediaType += "+gzip"
	}
	if o.MediaType == ociconfig.DockerManifest {
		mediaType = "application/vnd.docker.image.rootfs.diff.tar"
		if l.Gzip {
			mediaType += ".gzip"
		}
	}
	manifest, err := edit(s.manifest, func(doc object) error {
		c := object{}
		if err := json.Unmarshal(doc["config"], &c); err != nil {
			return err
		}
		if err := errors.Join(c.set("digest", o.Config.Digest), c.set("size", o.Config.Size), doc.set("config", c)); err != nil {
			return err
		}
		return doc.add("layers", ociconfig.Descriptor{MediaType: mediaType, Digest: l.Digest, Size: l.Size})
	})
	if err != nil {
		return OCI{}, fmt.Errorf("cannot change image manifest: %w", err)
	}
	o.Manifest = Bytes(manifest)
	o.Layers = append(slices.Clone(o.Layers), l.Blob)
	return o, nil
}

// object is a JSON object of which we know only what we change.
type object map[string]json.RawMessage

func edit(doc []byte, change func(object) error) ([]byte, error) {
	o := object{}
	if err := json.Unmarshal(doc, &o); err != nil {
		return nil, err
	}
	if err := change(o); err != nil {
		return nil, err
	}
	return json.Marshal(o)
}

func (o object) set(name string, v any) error {
	b, err := json.Marshal(v)
	o[name] = b
	return err
}

// add appends to a list, which may be missing.
func (o object) add(name string, v any) error {
	list := []json.RawMessage{}
	if o[name] != nil {
		if err := json.Unmarshal(o[name], &list); err != nil {
			return err
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return o.set(name, append(list, b))
}
