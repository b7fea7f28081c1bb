// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/plainjson"
)

// DecodeIndex reads an index of the user's own, which is an image layout's
// index.json. Unlike ParseIndex it asks nothing of what it reads, and is quick
// about it: a start waits for it.
func DecodeIndex(raw []byte) (Index, error) {
	var x Index
	r := plainjson.NewReader(raw)
	for name := range r.Object() {
		switch name {
		case "mediaType":
			x.MediaType = r.String()
		case "manifests":
			x.Manifests = plainjson.List(r, readDescriptor)
		case "annotations":
			x.Annotations = r.StringMap()
		}
	}
	if err := r.End(); err != nil {
		return Index{}, err
	}
	return x, nil
}

func readDescriptor(r *plainjson.Reader) (d Descriptor) {
	for name := range r.Object() {
		switch name {
		case "mediaType":
			d.MediaType = r.String()
		case "artifactType":
			d.ArtifactType = r.String()
		case "digest":
			d.Digest = image.Digest(r.String())
		case "size":
			d.Size = r.Int64()
		case "platform":
			d.Platform = plainjson.Pointer(r, readPlatform)
		case "annotations":
			d.Annotations = r.StringMap()
		}
	}
	return d
}

func readPlatform(r *plainjson.Reader) (p Platform) {
	for name := range r.Object() {
		switch name {
		case "os":
			p.OS = r.String()
		case "architecture":
			p.Architecture = r.String()
		case "variant":
			p.Variant = r.String()
		}
	}
	return p
}
