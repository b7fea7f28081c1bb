// SPDX-License-Identifier: Apache-2.0

// Package source is the fetch helper: it reads images from registries, layouts
// and archives, and unpacks what rkt feeds it. It is handed descriptors, never
// the store.
package source

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/archive"
	"github.com/rkt/rkt/internal/image/source/layout"
	"github.com/rkt/rkt/internal/image/source/registry"
)

// maxPlain bounds what an archive, or a layer in it, may decompress to.
const maxPlain = 256 << 30

// source is where an image comes from.
type source interface {
	// Root gives the manifest or index that the request names.
	Root(ctx context.Context) (wire.Root, error)
	// Open gives a blob that the root leads to, from want.Offset on. Safe for
	// concurrent use.
	Open(ctx context.Context, want wire.Want) (io.ReadCloser, error)
}

// open chooses the source; scratch is nil if the request has none, from what a
// local image is read from.
func open(req wire.Request, scratch, from *os.File) (source, error) {
	switch req.Kind {
	case wire.Docker:
		return registry.New(req)
	case wire.OCILayout:
		return local{layout.New(layout.Asked(from), fmt.Sprintf("%q", req.Path)), req.Inner}, nil
	case wire.OCIArchive, wire.DockerArchive:
		ix, err := archive.File(from, scratch, maxPlain)
		if err != nil {
			return nil, err
		}
		where := fmt.Sprintf("%q", req.Path)
		if req.Kind == wire.OCIArchive {
			return local{layout.New(ix.Files, where), req.Inner}, nil
		}
		return local{archive.NewDocker(ix, where, maxPlain), req.Inner}, nil
	}
	return nil, fmt.Errorf("cannot fetch image of kind %q", req.Kind)
}

// local makes a source of what lies on this machine.
type local struct {
	files interface {
		Root(inner string) (wire.Root, error)
		Open(blob wire.Descriptor) (io.ReadCloser, error)
	}
	inner string
}

func (l local) Root(context.Context) (wire.Root, error) { return l.files.Root(l.inner) }

func (l local) Open(_ context.Context, want wire.Want) (io.ReadCloser, error) {
	r, err := l.files.Open(want.Blob)
	if err != nil || want.Offset == 0 {
		return r, err
	}
	if _, err := io.CopyN(io.Discard, r, want.Offset); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("cannot read blob %s from byte %d on: %w", want.Blob.Digest, want.Offset, err)
	}
	return r, nil
}
