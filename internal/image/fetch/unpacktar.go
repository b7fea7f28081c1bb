// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// UnpackTar unpacks a tar of a root, compressed or not, into the empty directory
// dir, by the helper: as a layer of an image, so that names of whiteouts in it
// mean those. unowned is for ordinary users, as of Unowned.
func UnpackTar(ctx context.Context, opt Options, file, dir *os.File, unowned bool) error {
	fi, err := file.Stat()
	if err != nil {
		return err
	}
	grow := newGrowing()
	grow.grown(int(fi.Size()))
	grow.end(nil)
	x, err := startExtractor(ctx, opt, wire.UnpackRequest{Format: wire.FormatLayer, Unowned: unowned}, dir, head(file, grow), fi.Size())
	if err != nil {
		return err
	}
	ferr := feed(x.in, file, grow)
	if ferr != nil {
		x.kill()
	}
	res, err := x.wait()
	if err == nil && ferr != nil {
		err = fmt.Errorf("cannot read it: %w", plainCause(ferr))
	}
	for _, note := range res.Notes {
		opt.say("%s", wire.Printable(note))
	}
	return err
}
