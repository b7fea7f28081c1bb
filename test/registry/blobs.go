// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A keeper is ggcr's keeper of blobs on disk, which reads all of a blob to tell
// its size, at each request. Registries in use take the size of the file, so
// that a part of a blob costs what it is; else a client that asks for parts
// would be charged for the whole as often.
type keeper struct {
	onDisk
	dir string
}

type onDisk interface {
	ggcr.BlobHandler
	ggcr.BlobPutHandler
	ggcr.BlobDeleteHandler
}

func (k keeper) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(filepath.Join(k.dir, h.Algorithm, h.Hex))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ggcr.ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
