// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// What an archive's image becomes.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// Docker is an archive that `docker save` or one of its kin wrote. Such an
// archive has no manifest of the OCI's kind, so one is made: config as it is,
// layers as uncompressed tars, nothing else. The same image always gives the
// same manifest, and so the same ID.
type Docker struct {
	ix    *Index
	where string
	limit int64
	blobs map[string]dockerBlob // by digest
}

type dockerBlob struct {
	name string
	size int64
}

// NewDocker reads ix; where is how the user calls it; a layer may decompress
// to limit bytes.
func NewDocker(ix *Index, where string, limit int64) *Docker {
	return &Docker{ix: ix, where: where, limit: limit, blobs: map[string]dockerBlob{}}
}

// item is one image in manifest.json.
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Root makes the manifest of the image that inner names: "name[:tag]", "@N"
// for the Nth from 0, or "" if there is only one.
func (d *Docker) Root(inner string) (wire.Root, error) {
	data, err := d.small("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return wire.Root{}, hint.Wrap(fmt.Errorf("%s is not an archive of docker save: it has no manifest.json", d.where),
			"for an OCI layout in a tar, use oci-archive:FILE")
	}
	if err != nil {
		return wire.Root{}, err
	}
	var items []item
	if err := json.Unmarshal(data, &items); err != nil {
		return wire.Root{}, fmt.Errorf("cannot read manifest.json of %s: %w", d.where, err)
	}
	it, err := choose(items, inner, d.where)
	if err != nil {
		return wire.Root{}, err
	}
	return d.manifest(it)
}

func choose(items []item, inner, where string) (item, error) {
	var names []string
	for i, it := range items {
		names = append(names, it.RepoTags...)
		if inner != "" && (inner == "@"+strconv.Itoa(i) ||
			slices.ContainsFunc(it.RepoTags, func(t string) bool { return familiar(t) == familiar(inner) })) {
			return it, nil
		}
	}
	list := "its images have no names; the first is @0"
	if len(names) > 0 {
		list = "it has: " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	switch {
	case len(items) == 0:
		return item{}, fmt.Errorf("%s holds no image", where)
	case inner != "":
		return item{}, hint.Wrap(fmt.Errorf("%s has no image named %q", where, inner), list)
	case len(items) > 1:
		return item{}, hint.Wrap(fmt.Errorf("%s holds %d images and none was named", where, len(items)), list)
	}
	return items[0], nil
}

// familiar is a tag's shortest spelling, so that "busybox" finds
// "docker.io/library/busybox:latest".
func familiar(tag string) string {
	for _, p := range []string{"docker.io/", "index.docker.io/", "library/"} {
		tag = strings.TrimPrefix(tag, p)
	}
	if !strings.Contains(tag[strings.LastIndexByte(tag, '/')+1:], ":") {
		tag += ":latest"
	}
	return tag
}

func (d *Docker) manifest(it item) (wire.Root, error) {
	config, err := d.small(it.Config)
	if err != nil {
		return wire.Root{}, err
	}
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return wire.Root{}, fmt.Errorf("cannot read configuration of %s: %w", d.where, err)
	}
	if len(c.RootFS.DiffIDs) != len(it.Layers) {
		return wire.Root{}, fmt.Errorf("%s has %d layers, its configuration says %d", d.where, len(it.Layers), len(c.RootFS.DiffIDs))
	}
	sum := sha256.Sum256(config)
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        wire.Descriptor   `json:"config"`
		Layers        []wire.Descriptor `json:"layers"`
	}{
		SchemaVersion: 2,
		MediaType:     manifestType,
		Config:        wire.Descriptor{MediaType: configType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(config))},
		Layers:        []wire.Descriptor{},
	}
	d.blobs[m.Config.Digest] = dockerBlob{it.Config, m.Config.Size}
	for i, name := range it.Layers {
		id, err := image.ParseDigest(c.RootFS.DiffIDs[i])
		if err != nil {
			return wire.Root{}, err
		}
		size, err := d.plainSize(name)
		if err != nil {
			return wire.Root{}, err
		}
		d.blobs[string(id)] = dockerBlob{name, size}
		m.Layers = append(m.Layers, wire.Descriptor{MediaType: layerType, Digest: string(id), Size: size})
	}
	data, err := json.Marshal(m)
	return wire.Root{MediaType: manifestType, Data: data}, err
}

// plainSize is a layer's uncompressed size: known for a plain tar, found by
// decompressing for others.
func (d *Docker) plainSize(name string) (int64, error) {
	r, err := d.ix.Open(name)
	if err != nil {
		return 0, d.explain(name, err)
	}
	plain, err := plainReader(r)
	if err != nil || plain == nil {
		return r.Size(), d.explain(name, err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(plain, d.limit+1))
	if err == nil && n > d.limit {
		err = fmt.Errorf("it is larger than %d GiB", d.limit>>30)
	}
	return n, d.explain(name, err)
}

// Open returns a blob of the manifest that Root made. Safe for concurrent use
// after Root.
func (d *Docker) Open(blob wire.Descriptor) (io.ReadCloser, error) {
	b, ok := d.blobs[blob.Digest]
	if !ok {
		return nil, fmt.Errorf("%s has no blob %s", d.where, blob.Digest)
	}
	r, err := d.ix.Open(b.name)
	if err != nil {
		return nil, d.explain(b.name, err)
	}
	plain, err := plainReader(r)
	if err != nil {
		return nil, d.explain(b.name, err)
	}
	if plain == nil {
		return io.NopCloser(r), nil
	}
	return io.NopCloser(plain), nil
}

// small reads a file of at most wire.MaxManifest bytes.
func (d *Docker) small(name string) ([]byte, error) {
	r, err := d.ix.Open(name)
	if err != nil {
		return nil, d.explain(name, err)
	}
	if r.Size() > wire.MaxManifest {
		return nil, fmt.Errorf("%q of %s is larger than %d MiB", name, d.where, wire.MaxManifest>>20)
	}
	data, err := io.ReadAll(r)
	return data, d.explain(name, err)
}

func (d *Docker) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	var perr *fs.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return fmt.Errorf("cannot read %q of %s: %w", name, d.where, err)
}
