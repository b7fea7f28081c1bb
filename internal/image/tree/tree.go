// SPDX-License-Identifier: Apache-2.0

// Package tree finds the read-only trees that make an image's root. Nothing is
// copied or unpacked: the trees are the store's, and a pod's root is an overlay
// mount over them.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/store"
)

// ErrMissing says that a tree of a stored image is gone. rkt removes none that
// an image needs, so somebody else did.
var ErrMissing = errors.New("it is gone from the store")

// For lists the absolute paths of rec's trees, lowest first, as
// contract.App.Layers wants them. A tree that occurs more than once in a row or
// apart is listed once, where it is uppermost: overlayfs refuses a directory
// twice, and the upper one hides the lower. It costs one stat for each; hold a
// lease of st as long as the paths must stay good. Error: ErrMissing.
func For(rec image.Record, st *store.Store) ([]string, error) {
	paths := make([]string, 0, len(rec.Layers))
	last := make(map[image.Digest]int, len(rec.Layers))
	for i, l := range rec.Layers {
		last[l.DiffID] = i
	}
	for i, l := range rec.Layers {
		if last[l.DiffID] != i {
			continue
		}
		path := st.LayerPath(l.DiffID)
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && !fi.IsDir():
			return nil, hint.Wrap(fmt.Errorf("cannot use layer %s of image %s: %w", l.DiffID.ID().Short(), rec.ID.Short(), ErrMissing),
				fmt.Sprintf("`rkt image rm %s` and fetch the image again", rec.ID.Short()))
		case err != nil:
			return nil, fmt.Errorf("cannot use layer %s of image %s: %w", l.DiffID.ID().Short(), rec.ID.Short(), err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}
