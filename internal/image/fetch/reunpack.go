// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// Reunpack makes the tree of a layer of rec anew, from its stored blob alone,
// and proves its diff ID. It gives the tree, which the caller commits or aborts,
// and of an ACI's own layer the manifest in it. It is for those who doubt the tree that is
// stored.
func Reunpack(ctx context.Context, st *store.Store, opt Options, rec image.Record, l image.Layer) (*store.LayerDir, []byte, error) {
	if !st.Trees() {
		return nil, nil, fmt.Errorf("only root makes trees here: %w", fs.ErrPermission)
	}
	f := &fetching{st: st, opt: opt}
	j := &job{layer: l, stored: true, format: wire.FormatLayer}
	if size, ok := st.HasBlob(l.Blob); !ok || size != l.Size {
		return nil, nil, errors.New("its blob is not in the store")
	}
	switch l.MediaType {
	case settle.MediaType:
		err := f.resettle(j)
		return j.tree, nil, err
	case RenderedMediaType: // from the trees of its parts, where there are such
		err := f.renderAgain(ctx, j)
		return j.tree, nil, err
	}
	if rec.Format == image.ACI {
		j.format = wire.FormatACI
	}
	if err := f.run(ctx, nil, []*job{j}); err != nil {
		return nil, nil, err
	}
	return j.tree, j.result.Manifest, nil
}
