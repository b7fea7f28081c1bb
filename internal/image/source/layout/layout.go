// SPDX-License-Identifier: Apache-2.0

// Package layout reads images from an OCI image layout (image-spec 1.1,
// image-layout.md), be it a directory or the inside of an archive.
package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// Opener opens a file of the layout by its slash-separated path and tells its
// size.
type Opener func(name string) (io.ReadCloser, int64, error)

// Layout is an opened layout. It is safe for concurrent use if its Opener is.
type Layout struct {
	open  Opener
	where string // for messages
}

// New reads from open; where is how the user calls the layout.
func New(open Opener, where string) *Layout { return &Layout{open, where} }

// refName is the annotation by which a layout's index names its images.
const refName = "org.opencontainers.image.ref.name"

// Root gives the manifest or nested index that inner names: a ref name, a
// digest, or "" if there is only one.
func (l *Layout) Root(inner string) (wire.Root, error) {
	data, err := l.small("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return wire.Root{}, hint.Wrap(fmt.Errorf("%s is not an OCI image layout: it has no index.json", l.where),
			"for what \"docker save\" wrote, use docker-archive:FILE")
	}
	if err != nil {
		return wire.Root{}, err
	}
	d, err := Choose(data, inner, l.where)
	if err != nil {
		return wire.Root{}, err
	}
	name, err := blobPath(d.Digest)
	if err != nil {
		return wire.Root{}, err
	}
	if data, err = l.small(name); err != nil {
		return wire.Root{}, err
	}
	return wire.Root{MediaType: d.MediaType, Data: data}, nil
}

// Choose picks inner from a layout's index.json; see Root.
func Choose(index []byte, inner, where string) (wire.Descriptor, error) {
	var doc struct {
		Manifests []struct {
			wire.Descriptor
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(index, &doc); err != nil {
		return wire.Descriptor{}, fmt.Errorf("cannot read index.json of %s: %w", where, err)
	}
	// A digest is what it says: a name that looks like another's is none.
	_, err := image.ParseDigest(inner)
	pinned := err == nil
	var found []wire.Descriptor
	var names []string
	for _, m := range doc.Manifests {
		name := m.Annotations[refName]
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
		if inner != "" && inner != m.Digest && (pinned || inner != name) {
			continue
		}
		if !slices.ContainsFunc(found, func(d wire.Descriptor) bool { return d.Digest == m.Digest }) {
			found = append(found, m.Descriptor)
		}
	}
	slices.Sort(names)
	list := "its images have no names; name one by digest"
	if len(names) > 0 {
		list = "it has: " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(doc.Manifests) == 0:
		return wire.Descriptor{}, fmt.Errorf("%s holds no image", where)
	case len(found) == 0:
		return wire.Descriptor{}, hint.Wrap(fmt.Errorf("%s has no image named %q", where, inner), list)
	case inner == "":
		return wire.Descriptor{}, hint.Wrap(fmt.Errorf("%s holds %d images and none was named", where, len(found)), list)
	}
	return wire.Descriptor{}, hint.Wrap(fmt.Errorf("%s has %d images named %q", where, len(found), inner), "name one by digest")
}

// Open returns a blob.
func (l *Layout) Open(blob wire.Descriptor) (io.ReadCloser, error) {
	name, err := blobPath(blob.Digest)
	if err != nil {
		return nil, err
	}
	r, size, err := l.open(name)
	if err != nil {
		return nil, l.explain(name, err)
	}
	if size != blob.Size {
		_ = r.Close()
		return nil, fmt.Errorf("blob %s of %s is %d bytes long, its descriptor says %d", blob.Digest, l.where, size, blob.Size)
	}
	return r, nil
}

func blobPath(digest string) (string, error) {
	d, err := image.ParseDigest(digest)
	if err != nil {
		return "", err
	}
	return "blobs/" + d.Algorithm() + "/" + d.Hex(), nil
}

// small reads a file of at most wire.MaxManifest bytes.
func (l *Layout) small(name string) ([]byte, error) {
	r, size, err := l.open(name)
	if err != nil {
		return nil, l.explain(name, err)
	}
	defer r.Close()
	if size > wire.MaxManifest {
		return nil, fmt.Errorf("%s of %s is larger than %d MiB", name, l.where, wire.MaxManifest>>20)
	}
	data, err := io.ReadAll(io.LimitReader(r, wire.MaxManifest))
	if err != nil {
		return nil, l.explain(name, err)
	}
	return data, nil
}

func (l *Layout) explain(name string, err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return fmt.Errorf("cannot read %s of %s: %w", name, l.where, err)
}
