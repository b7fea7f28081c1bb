// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/extract"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/store"
)

// Merged is the absolute path of one read-only tree that has all of rec, for what
// cannot be an overlay mount: programs that are executed on the host. That of an
// image with one tree is that tree; of others it is made when it is first asked
// for, and lies beside them as long as the image is stored, or InUse says so.
//
// The caller holds a lease of st, or the trees by HasLayer, as this one is held
// until st is closed. Error: ErrMissing.
func Merged(ctx context.Context, rec image.Record, st *store.Store) (string, error) {
	trees, err := For(rec, st)
	if err != nil || len(trees) == 1 {
		return filepath.Join(trees...), err
	}
	if len(trees) == 0 {
		return "", fmt.Errorf("cannot use image %s: it has no layers", rec.ID.Short())
	}
	name := rec.MergedTree()
	if st.HasLayer(name) {
		return st.LayerPath(name), nil
	}
	if err := merged(ctx, trees, st, name); err != nil {
		return "", fmt.Errorf("cannot merge the layers of image %s: %w", rec.ID.Short(), err)
	}
	return st.LayerPath(name), nil
}

func merged(ctx context.Context, trees []string, st *store.Store, name image.Digest) error {
	stack, err := merge.Open(trees...)
	if err != nil {
		return err
	}
	defer stack.Close()
	dir, err := st.NewLayer()
	if err != nil {
		return err
	}
	// What it is told of, sockets and in a user namespace devices, is nothing that
	// can be executed.
	if err := extract.Tree(ctx, stack, dir.File(), func(string, string) {}); err != nil {
		_ = dir.Abort()
		return err
	}
	return dir.Commit(name)
}
