// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"

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
	if claimed.Format != image.OCI {
		return gone(errors.New("only root can import an ACI"))
	}
	l, err := waitLock(ctx, st, "repair "+string(claimed.ID))
	if err != nil {
		return claimed, err
	}
	defer l.Close()
	f := &fetching{st: st, opt: opt, ref: r}
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
