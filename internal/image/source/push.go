// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/registry"
)

// Push is `fetch push`: it puts an image into a registry, as package wire
// describes. Its error is that whoever asked cannot be told.
func Push(ctx context.Context, in io.Reader, out, show io.Writer, file func(fd int) *os.File) error {
	var req wire.PushRequest
	if err := wire.NewReceiver(in).Receive(&req); err != nil {
		return fmt.Errorf("cannot read request: %w", err)
	}
	reply, err := push(ctx, req, show, file)
	reply.Err = wire.AsError(err)
	return wire.Send(out, reply)
}

func push(ctx context.Context, req wire.PushRequest, show io.Writer, file func(fd int) *os.File) (wire.PushReply, error) {
	if len(req.Blobs) > wire.MaxPushed {
		return wire.PushReply{}, fmt.Errorf("cannot push %d blobs: at most %d", len(req.Blobs), wire.MaxPushed)
	}
	im, err := registry.NewPush(req.Request)
	if err != nil {
		return wire.PushReply{}, err
	}
	defer im.Close()
	fd := wire.FirstLane
	var blobs []registry.Upload
	for _, b := range req.Blobs {
		u := registry.Upload{Descriptor: b.Descriptor, Data: b.Data}
		if b.Data == nil {
			u.File = file(fd)
			fd++
		}
		blobs = append(blobs, u)
	}
	var say func(string)
	if req.Progress != wire.ProgressNone {
		say = func(text string) { fmt.Fprintln(show, text) }
	}
	sent, err := im.Push(ctx, blobs, req.Manifests, say)
	return wire.PushReply{Sent: int(sent)}, err
}
