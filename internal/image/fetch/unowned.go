// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// Unowned unpacks a stored layer of rec into the empty directory dir for the
// caller, an ordinary user: without owners and what only root may set, with
// overlayfs's marks in user.overlay.*. The diff ID is proven.
func Unowned(ctx context.Context, st *store.Store, opt Options, rec image.Record, l image.Layer, dir *os.File) error {
	switch l.MediaType {
	case settle.MediaType:
		return unownedSettled(st, l, dir)
	case RenderedMediaType:
		return hint.Wrap(errors.New("it has a path whitelist, and what that leaves is root's alone"), "run it as root, or `rkt image extract` each image")
	}
	req := wire.UnpackRequest{Format: wire.FormatLayer, Unowned: true}
	if rec.Format == image.ACI {
		req.Format = wire.FormatACI
	}
	blob, err := st.OpenBlob(l.Blob)
	if err != nil {
		return err
	}
	defer blob.Close()
	grow := newGrowing()
	grow.grown(int(l.Size))
	grow.end(nil)
	x, err := startExtractor(ctx, opt, req, dir, head(blob, grow), l.Size)
	if err != nil {
		return err
	}
	ferr := feed(x.in, blob, grow)
	if ferr != nil {
		x.kill() // it must not take a torn blob for a whole one
	}
	res, err := x.wait()
	switch {
	case ferr != nil:
		return ferr
	case err != nil:
		return err
	case res.DiffID != string(l.DiffID):
		return fmt.Errorf("layer %s unpacks to %s, not to what the image says", l.Blob.ID().Short(), short(res.DiffID))
	}
	for _, note := range res.Notes {
		opt.say("layer %s: %s", l.Blob.ID().Short(), wire.Printable(note))
	}
	return nil
}

// unownedSettled makes rkt's own tree on top likewise.
func unownedSettled(st *store.Store, l image.Layer, dir *os.File) error {
	plan, err := description(st, l)
	if err != nil {
		return err
	}
	for i := range plan.Dirs {
		d := &plan.Dirs[i]
		d.UID, d.GID, d.Xattrs = uint32(os.Getuid()), uint32(os.Getgid()), nil
		d.Mode = d.Mode&0o1777 | 0o700
	}
	return plan.Write(dir)
}
