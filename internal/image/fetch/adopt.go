// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// adopt makes an image that another user stored one of this user's. What the
// record claims is not looked at but for the ID: manifest, configuration and
// layers are read and proven anew, each by the digest in the one before, layers
// by what they unpack to. The names that the other user gave it are not taken
// over, unless r, which leads to these very bytes, is one. On error the record
// has still its ID.
func adopt(ctx context.Context, st *store.Store, opt Options, r ref.Ref, claimed image.Record) (image.Record, error) {
	gone := func(err error) (image.Record, error) {
		return claimed, hint.Wrap(err, "remove the image and fetch it again")
	}
	l, err := waitLock(ctx, st, "repair "+string(claimed.ID))
	if err != nil {
		return claimed, err
	}
	defer l.Close()
	f := &fetching{st: st, opt: opt, ref: r}
	if claimed.Format == image.ACI {
		rec, err := f.adoptACI(ctx, claimed)
		if err != nil {
			return claimed, err
		}
		return rec, nil
	}
	raw, err := f.document(claimed.ID.Digest(), -1)
	if err != nil {
		return gone(err)
	}
	m, err := ociconfig.ParseManifest(raw, claimed.MediaType)
	if err != nil {
		return gone(err)
	}
	rec, err := f.assemble(ctx, nil, m, raw)
	if err != nil {
		return gone(err)
	}
	rec.Trust = ground(r)
	if r.Kind != ref.ID {
		rec.Names = []string{r.Canonical()}
	}
	if rec, err = f.commit(rec, ""); err != nil {
		return claimed, err
	}
	return rec, nil
}

// adoptACI is adopt for an ACI: the blob that the record claims to be its file is
// unpacked, and must unpack to the image's ID. What it depends on is looked for
// anew.
func (f *fetching) adoptACI(ctx context.Context, claimed image.Record) (image.Record, error) {
	own, ok := claimed.Own()
	if !ok {
		return image.Record{}, errors.New("it has no file of its own")
	}
	size, ok := f.st.HasBlob(own.Blob)
	if !ok || size > maxACI {
		return image.Record{}, hint.Wrap(fmt.Errorf("blob %s is gone, or another", own.Blob.ID().Short()), "remove the image and fetch it again")
	}
	j := newACI()
	j.stored = true
	j.layer.Blob, j.layer.Size, j.layer.DiffID = own.Blob, size, claimed.ID.Digest()
	if err := f.run(ctx, nil, []*job{j}); err != nil {
		return image.Record{}, err
	}
	n, err := f.arrived(j, wanted{id: string(claimed.ID)})
	if err != nil {
		j.abort()
		return image.Record{}, err
	}
	return f.close(ctx, n)
}
