// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"encoding/json"
	"io"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// Several is an index of images for as many platforms: each has its Platform.
type Several struct {
	Images []OCI
	Index  Blob // the document
}

// Together makes the index.
func Together(images []OCI) (Several, error) {
	x := index{2, ociconfig.OCIIndex, nil}
	for _, o := range images {
		x.Manifests = append(x.Manifests, ociconfig.Descriptor{MediaType: o.MediaType, Digest: o.Manifest.Digest, Size: o.Manifest.Size, Platform: o.Platform})
	}
	text, err := json.Marshal(x)
	return Several{images, Bytes(text)}, err
}

// blobs are all, each once.
func (s Several) blobs() []Blob {
	all := []Blob{s.Index}
	seen := map[image.Digest]bool{}
	for _, o := range s.Images {
		for _, b := range o.blobs() {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				all = append(all, b)
			}
		}
	}
	return all
}

func (s Several) descriptor(name string) ociconfig.Descriptor {
	d := ociconfig.Descriptor{MediaType: ociconfig.OCIIndex, Digest: s.Index.Digest, Size: s.Index.Size}
	if name != "" {
		d.Annotations = map[string]string{refName: name}
	}
	return d
}

// Archive and Layout are as those of OCI.
func (s Several) Archive(w io.Writer, name string) error {
	return archive(w, s.descriptor(name), s.blobs())
}

// Layout writes a layout, see OCI.Layout.
func (s Several) Layout(ctx context.Context, dir, name string, overwrite bool) error {
	return layout(ctx, dir, name, overwrite, s.descriptor(name), s.blobs())
}
