// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
)

// Upload is what goes into a repository: blobs, then the manifests that lead to
// them.
type Upload struct {
	Blobs     []Blob
	Manifests []Manifest
}

// Blob is a blob that the registry is to have.
type Blob struct {
	Digest image.Digest
	Size   int64
	Open   func() (io.ReadCloser, error)
}

// Manifest is a document and its tag or digest in the repository.
type Manifest struct {
	Tag       string
	MediaType string
	Data      []byte
}

// Push puts up into the repository of r. What the registry has already is not
// sent again. The helper that talks to the registry sees the blobs' files and no
// store. On an error no manifest has changed unless the ones before it have;
// blobs may be there that nothing leads to, which registries collect.
func Push(ctx context.Context, opt Options, r ref.Ref, up Upload) error {
	if r.Kind != ref.Docker {
		return fmt.Errorf("cannot push to %q: it names no registry", r.String())
	}
	f := &fetching{opt: opt, ref: r}
	base, _, err := f.request()
	if err == nil {
		err = credentials(ctx, opt, &base)
	}
	if err == nil {
		err = push(ctx, opt, wire.PushRequest{Request: base}, up)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("cannot push %q: interrupted: %w", r.String(), context.Canceled)
	}
	return fmt.Errorf("cannot push %q: %w", r.String(), err)
}

func push(ctx context.Context, opt Options, req wire.PushRequest, up Upload) error {
	req.Lanes = 1
	inR, inW, err := newPipe()
	if err != nil {
		return err
	}
	defer inW.Close()
	outR, outW, err := newPipe()
	if err != nil {
		_ = inR.Close()
		return err
	}
	defer outR.Close()
	c := wall.Command{Kind: wall.Push, Path: opt.Helper, Env: environment(), Note: opt.note, Args: []string{string(wall.Push)},
		Files: []*os.File{inR, outW, nil}}
	if opt.Stderr != nil {
		c.Stderr = opt.Stderr
	}
	theirs := []*os.File{inR, outW}
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	seen := map[image.Digest]bool{}
	for _, b := range up.Blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		p := wire.PushBlob{Descriptor: wire.Descriptor{Digest: string(b.Digest), Size: b.Size}}
		file, data, err := blobFile(b)
		if err != nil {
			return err
		}
		if p.Data = data; file != nil {
			theirs, c.Files = append(theirs, file), append(c.Files, file)
		}
		req.Blobs = append(req.Blobs, p)
	}
	for _, m := range up.Manifests {
		req.Manifests = append(req.Manifests, wire.PushManifest(m))
	}
	proc, err := c.Start(ctx)
	if err != nil {
		return err
	}
	for _, f := range theirs {
		_ = f.Close()
	}
	theirs = nil
	go func() {
		_ = wire.Send(inW, req) // one that is gone answers nothing
		_ = inW.Close()
	}()
	var reply wire.PushReply
	rerr := wire.NewReceiver(outR).Receive(&reply)
	_ = outR.Close() // one that goes on talking must not be waited for
	werr := proc.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case rerr != nil:
		return fmt.Errorf("the push helper ended without an answer: %w", errors.Join(werr, rerr))
	case reply.Err != nil:
		return reply.Err
	}
	return nil
}

// blobFile opens a blob as a file, or reads it if it is small and none.
func blobFile(b Blob) (*os.File, []byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, nil, err
	}
	if f, ok := r.(*os.File); ok {
		return f, nil, nil
	}
	defer r.Close()
	if b.Size > 0 && b.Size <= wire.MaxInline {
		data, err := io.ReadAll(io.LimitReader(r, wire.MaxInline+1))
		if err == nil && int64(len(data)) != b.Size {
			err = fmt.Errorf("blob %s is not %d bytes long", b.Digest.ID().Short(), b.Size)
		}
		return nil, data, err
	}
	f, err := os.CreateTemp("", "rkt-push-")
	if err != nil {
		return nil, nil, err
	}
	_ = os.Remove(f.Name())
	if _, err := io.Copy(f, r); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("cannot copy blob %s: %w", b.Digest.ID().Short(), plainCause(err))
	}
	return f, nil, nil
}

// SignatureTag is where registries and layouts have cosign's signatures of a
// manifest.
func SignatureTag(d image.Digest) string {
	return strings.Replace(string(d), ":", "-", 1) + ".sig"
}
