// SPDX-License-Identifier: Apache-2.0

// Package layer packs trees into OCI layers (image-spec 1.1, layer.md): what an
// overlay collected, what differs between two trees, or a whole tree. The same
// trees give the same bytes: entries are sorted, times are clamped to
// SOURCE_DATE_EPOCH, and gzip holds neither name nor time.
package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/merge"
)

// MediaType is of every layer that Pack writes.
const MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"

// Source is what a layer is made of. Trees are absolute paths, lowest first, in
// the form that overlayfs stacks.
type Source struct {
	// Lower is what lies under the layer; none makes a layer of all of Upper.
	Lower []string
	// Upper is the directory that an overlay over Lower wrote to.
	Upper string
	// After, if there is no Upper, is a stack that shows all: the layer is what
	// turns Lower into it.
	After []string
	// User: the trees have an ordinary user's marks (overlayfs option userxattr).
	User bool
}

// Options say how.
type Options struct {
	// Epoch, unless zero, takes the place of all later modification times.
	Epoch time.Time
	// OwnIsRoot: the calling user's own files are written as root's.
	OwnIsRoot bool
	// Notes is told of what a tar cannot hold (sockets); nil is nobody.
	Notes func(what, path string)
}

// Packed tells what was written.
type Packed struct {
	DiffID image.Digest // of the tar
	Digest image.Digest // of what was written, compressed
	Size   int64        // of the same, bytes
	Tar    int64        // bytes of the tar
}

// Empty says that a layer changes nothing.
func (p Packed) Empty() bool { return p.DiffID == emptyTar }

// emptyTar is the digest of a tar without entries: two blocks of zeros.
const emptyTar image.Digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

// Pack writes the layer to w, compressed, in one pass. It ends early with ctx.
func Pack(ctx context.Context, w io.Writer, src Source, opt Options) (Packed, error) {
	sum, out := sha256.New(), &counter{}
	z := newGzip(io.MultiWriter(&interruptible{ctx, w}, sum, out))
	how := export.Packing{Notes: opt.Notes, Latest: opt.Epoch, OwnIsRoot: opt.OwnIsRoot}
	var p Packed
	var err error
	if src.Upper != "" {
		p.DiffID, p.Tar, err = export.Change{Layers: src.Lower, Upper: src.Upper, User: src.User}.Layer(z, how)
	} else {
		p.DiffID, p.Tar, err = difference(z, src, how)
	}
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Packed{}, fmt.Errorf("cannot pack layer: %w", err)
	}
	p.Digest, p.Size = image.Digest("sha256:"+hex.EncodeToString(sum.Sum(nil))), out.n
	return p, nil
}

func difference(w io.Writer, src Source, how export.Packing) (image.Digest, int64, error) {
	open := merge.Open
	if src.User {
		open = merge.OpenUser
	}
	before, err := open(src.Lower...)
	if err != nil {
		return "", 0, err
	}
	defer before.Close()
	after, err := open(src.After...)
	if err != nil {
		return "", 0, err
	}
	defer after.Close()
	return export.Difference(w, before, after, how)
}

// Epoch is the environment's SOURCE_DATE_EPOCH (reproducible-builds.org), or
// zero if there is none.
func Epoch() (time.Time, error) {
	text, ok := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !ok || text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, hint.Wrap(fmt.Errorf("cannot use SOURCE_DATE_EPOCH %q: no number of seconds", text), "it is seconds since 1970, as `date +%s` prints them")
	}
	return time.Unix(n, 0), nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

type interruptible struct {
	ctx context.Context //nolint:containedctx // a writer's
	w   io.Writer
}

func (i *interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, errors.New("interrupted")
	}
	return i.w.Write(p)
}
