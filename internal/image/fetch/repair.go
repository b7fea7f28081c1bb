// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// repair unpacks the trees that a stored image lacks from its stored blobs,
// without asking anybody.
func repair(ctx context.Context, st *store.Store, opt Options, rec image.Record) error {
	l, err := waitLock(ctx, st, "repair "+string(rec.ID))
	if err != nil {
		return err
	}
	defer l.Close()
	f := &fetching{st: st, opt: opt}
	var jobs []*job
	var settled *job
	for _, l := range rec.Layers {
		if st.HasLayer(l.DiffID) {
			continue
		}
		if size, ok := st.HasBlob(l.Blob); !ok || size != l.Size {
			return hint.Wrap(fmt.Errorf("blob %s is gone too", l.Blob.ID().Short()), "remove the image and fetch it again")
		}
		j := &job{layer: l, stored: true, format: wire.FormatLayer}
		switch l.MediaType {
		case settle.MediaType:
			settled = j
			continue
		case RenderedMediaType: // it is then the only one
			if err := f.renderAgain(ctx, j); err != nil {
				return err
			}
			return commit(st, []*job{j})
		}
		if rec.Format == image.ACI {
			j.format = wire.FormatACI
		}
		jobs = append(jobs, j)
	}
	if settled != nil {
		if err := f.resettle(settled); err != nil {
			return err
		}
	}
	if err := f.run(ctx, nil, jobs); err != nil {
		if settled != nil {
			settled.abort()
		}
		return err
	}
	if settled != nil {
		jobs = append(jobs, settled)
	}
	return commit(st, jobs)
}
