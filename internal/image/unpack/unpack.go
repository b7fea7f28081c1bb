// SPDX-License-Identifier: Apache-2.0

// Package unpack turns one compressed tar stream from a stranger into one
// read-only tree in overlayfs form, below a directory descriptor, and tells the
// digest of what it read. docs/unpack.md says what survives, what is refused
// and the limits; docs/decisions/0002-implicit-parents.md what Result.Facts
// are for.
//
// The tree needs a parent directory that other users cannot enter: it holds
// set-user-id programs and device nodes as the image has them.
package unpack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/settle"
)

// Limits bound what one layer may cost. A zero field is its default; a negative
// one is no limit.
type Limits struct {
	Entries int64 // tar entries and implicit parents together; default 5,000,000
	Bytes   int64 // of the uncompressed stream, and of all file sizes together (holes count); default 100 GiB
	Ratio   int64 // uncompressed : compressed, judged past RatioAt; default 2000
	RatioAt int64 // bytes of uncompressed stream from which Ratio counts; default 1 GiB
	Facts   int64 // directories that settle.Facts names; default 500,000
}

// The defaults of Limits.
const (
	DefaultEntries = 5_000_000
	DefaultBytes   = 100 << 30
	DefaultRatio   = 2000
	DefaultRatioAt = 1 << 30
	DefaultFacts   = 500_000
)

// MaxManifest bounds an ACI's manifest, in bytes.
const MaxManifest = 4 << 20

// maxNotes bounds Result.Notes.
const maxNotes = 20

// Options of Layer and ACI.
type Options struct {
	Limits Limits
	// Rootless: the caller is root of a user namespace only. Overlay marks go
	// into user.overlay.* (overlayfs option userxattr), device nodes are left
	// out and noted.
	Rootless bool
	// Unowned: the caller is an ordinary user who wants the files, not a root to
	// run: all is theirs to read and, directories, to write; owners and what only
	// root may set are left out. It goes with Rootless.
	Unowned bool
	// Rooted: the directory is this process's root, and its working directory
	// is nobody else's concern.
	Rooted bool
	// Compressed, if above 0: another process has decompressed the stream, which
	// had so many bytes before. What it looks like does not matter then.
	Compressed int64
}

// Result says what came of a layer.
type Result struct {
	DiffID   image.Digest // sha256 of the whole uncompressed stream; of an ACI sha512, its image ID
	TreeSize int64        // bytes of file content
	Files    int64        // inodes and hard links made, whiteouts included
	Manifest []byte       // of an ACI

	// Facts is what settle.Stack needs to know when an image is put together.
	// They belong to the tree and must be kept with it.
	settle.Facts
	// Notes are things of the stream that were left out, as sentences; at most
	// 20 and then one that counts the others.
	Notes []string
}

// A LimitError says which limit a layer passed.
type LimitError struct {
	What  string // "entries", "bytes" …
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the layer has more than %d %s", e.Limit, e.What)
}

// Layer unpacks an OCI or Docker layer, compressed or not, from r into the
// empty directory dir: whiteouts become overlayfs whiteouts and opaque marks.
// r is read to its end. On an error what dir holds is worthless; it is the
// caller's to remove, and a read of r may still be under way unless r can be
// given a deadline. Nothing is synced.
func Layer(ctx context.Context, r io.Reader, dir *os.File, opt Options) (Result, error) {
	res, err := run(ctx, r, dir, opt, "sha256", sha256.New(), false)
	if err != nil {
		return Result{}, fmt.Errorf("cannot unpack layer: %w", err)
	}
	return res, nil
}

// ACI unpacks an appc image (spec 0.8.11, "Image Archives") likewise: what is
// below rootfs/ becomes the tree, manifest is returned, anything else is
// refused. Names that would be whiteouts in a layer mean nothing special.
func ACI(ctx context.Context, r io.Reader, dir *os.File, opt Options) (Result, error) {
	res, err := run(ctx, r, dir, opt, "sha512", sha512.New(), true)
	if err != nil {
		return Result{}, fmt.Errorf("cannot unpack ACI: %w", err)
	}
	return res, nil
}

// LookACI reads an appc image without unpacking it: the Result has its ID and its
// manifest. That it can be unpacked is not said; a file that Look refuses, ACI
// does, too.
func LookACI(ctx context.Context, r io.Reader, opt Options) (Result, error) {
	res, err := run(ctx, r, nil, opt, "sha512", sha512.New(), true)
	if err != nil {
		return Result{}, fmt.Errorf("cannot read ACI: %w", err)
	}
	return res, nil
}

// run reads r; dir is nil if nothing is to be unpacked.
func run(ctx context.Context, r io.Reader, dir *os.File, opt Options, algo string, h hash.Hash, aci bool) (Result, error) {
	defer runtime.KeepAlive(dir) // only its descriptor is used below
	opt.Limits = opt.Limits.withDefaults()
	if dir != nil {
		if names, err := dir.Readdirnames(1); len(names) > 0 || err != io.EOF {
			if err == nil {
				err = unix.ENOTEMPTY
			}
			return Result{}, fmt.Errorf("cannot use %s: %w", dir.Name(), err)
		}
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		stop := context.AfterFunc(ctx, func() { _ = d.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}

	plain, err := decompress(r, opt)
	if err != nil {
		return Result{}, err
	}
	s := startStream(ctx, plain, h, opt.Limits)
	x, err := newExtractor(ctx, dir, opt, aci)
	if err == nil {
		err = x.all(tar.NewReader(s))
		if err == nil {
			_, err = io.Copy(io.Discard, s) // DiffID covers the padding and whatever follows it
		}
	}
	if err != nil {
		if err = s.reason(err); caller.Err() != nil {
			err = context.Cause(caller)
		}
		cancel()
		x.close()
		plain.abort()
		return Result{}, err
	}
	if err := errors.Join(x.finish(), plain.finish()); err != nil {
		return Result{}, err
	}
	res := x.res
	res.DiffID = image.Digest(algo + ":" + hex.EncodeToString(h.Sum(nil)))
	return res, nil
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		def   int64
	}{
		{&l.Entries, DefaultEntries}, {&l.Bytes, DefaultBytes}, {&l.Ratio, DefaultRatio},
		{&l.RatioAt, DefaultRatioAt}, {&l.Facts, DefaultFacts},
	} {
		switch {
		case *f.field == 0:
			*f.field = f.def
		case *f.field < 0:
			*f.field = math.MaxInt64
		}
	}
	return l
}
