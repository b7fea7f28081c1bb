// SPDX-License-Identifier: Apache-2.0

package output

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// TakesSeveral tells whether a target holds images for several platforms.
func (t Target) TakesSeveral() error {
	switch t.Kind {
	case Layout, Archive, Registry:
		return nil
	case Store:
		return hint.Wrap(errors.New("cannot write images for several platforms to rkt's store: its names mean images for this machine"), "write an OCI layout, oci:DIR:NAME")
	}
	return fmt.Errorf("cannot write images for several platforms to a %s: it holds one image", t.Kind)
}

// WriteSeveral writes images for as many platforms to t, and an index that leads to
// them: ID and Manifest of what came out are the index's.
func WriteSeveral(ctx context.Context, images []Image, t Target, opt Options) (Written, error) {
	if err := t.TakesSeveral(); err != nil {
		return Written{}, err
	}
	var list []export.OCI
	for _, im := range images {
		o, err := im.OCI()
		if err != nil {
			return Written{}, err
		}
		list = append(list, o)
	}
	s, err := export.Together(list)
	if err != nil {
		return Written{}, err
	}
	w := Written{ID: s.Index.Digest.ID(), Manifest: s.Index.Digest}
	switch t.Kind {
	case Layout:
		err = s.Layout(ctx, t.Path, t.Name, opt.Overwrite)
	case Archive:
		err = toFile(ctx, t.Path, opt.Overwrite, func(w io.Writer) error { return s.Archive(w, t.Name) })
	default:
		err = pushSeveral(ctx, s, t, opt)
	}
	return w, err
}

func pushSeveral(ctx context.Context, s export.Several, t Target, opt Options) error {
	var up fetch.Upload
	for _, o := range s.Images {
		for _, b := range append([]export.Blob{o.Config}, o.Layers...) {
			up.Blobs = append(up.Blobs, fetch.Blob(b))
		}
		text, err := readAll(o.Manifest)
		if err != nil {
			return err
		}
		up.Manifests = append(up.Manifests, fetch.Manifest{Tag: string(o.Manifest.Digest), MediaType: o.MediaType, Data: text})
	}
	text, err := readAll(s.Index)
	if err != nil {
		return err
	}
	up.Manifests = append(up.Manifests, fetch.Manifest{Tag: t.Ref.Tag, MediaType: ociconfig.OCIIndex, Data: text})
	return fetch.Push(ctx, opt.Fetch, t.Ref, up)
}
