// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/unpack"
)

// Unpack is `fetch unpack`: it unpacks the blob in into dir as request (a
// wire.UnpackRequest) asks, and tells result how that went. Its error is that
// rkt cannot be told.
func Unpack(ctx context.Context, request string, in io.Reader, dir *os.File, result io.Writer) error {
	res, err := unpackBlob(ctx, request, in, dir)
	runtime.KeepAlive(dir) // its descriptor is used by number
	res.Err = wire.AsError(err)
	if err := wire.Send(result, res); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return nil
}

func unpackBlob(ctx context.Context, request string, in io.Reader, dir *os.File) (wire.UnpackResult, error) {
	var req wire.UnpackRequest
	if err := json.Unmarshal([]byte(request), &req); err != nil {
		return wire.UnpackResult{}, fmt.Errorf("cannot read request: %w", err)
	}
	opt := unpack.Options{Rootless: req.Unowned || req.Namespaced, Unowned: req.Unowned, Rooted: dir != nil && isRoot(dir), Compressed: req.Compressed}
	var res unpack.Result
	var err error
	switch {
	case dir == nil && req.Format == wire.FormatACI:
		res, err = unpack.LookACI(ctx, in, opt)
	case dir == nil:
		err = fmt.Errorf("cannot look at format %q", req.Format)
	case req.Format == wire.FormatLayer:
		res, err = unpack.Layer(ctx, in, dir, opt)
	case req.Format == wire.FormatACI:
		res, err = unpack.ACI(ctx, in, dir, opt)
	default:
		err = fmt.Errorf("cannot unpack format %q", req.Format)
	}
	return wire.UnpackResult{
		DiffID: string(res.DiffID), TreeSize: res.TreeSize, Files: res.Files, Manifest: res.Manifest,
		Implicit: res.Implicit, Hiding: res.Hiding, Opaque: res.Opaque, Notes: res.Notes,
		Cut: errors.Is(err, io.ErrUnexpectedEOF),
	}, err
}

// Look is `fetch look`: Unpack, but of an ACI that is only read.
func Look(ctx context.Context, request string, in io.Reader, result io.Writer) error {
	return Unpack(ctx, request, in, nil, result)
}

// isRoot tells whether dir is what this process has as its root directory.
func isRoot(dir *os.File) bool {
	here, err := dir.Stat()
	if err != nil {
		return false
	}
	root, err := os.Stat("/")
	return err == nil && os.SameFile(here, root)
}
