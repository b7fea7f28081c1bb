// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// body reads one blob, over as many connections as it takes.
type body struct {
	im   *Image
	ctx  context.Context
	blob wire.Descriptor

	resp    *http.Response
	done    func()
	host    string
	off     int64 // bytes handed out
	streak  int   // failures since the last byte
	retries int
}

// open asks for what is missing.
func (b *body) open() error {
	return b.im.anywhere(b.ctx, func(e *endpoint) error {
		resp, done, err := e.get(b.ctx, "blobs/"+b.blob.Digest, func(h http.Header) {
			if b.off > 0 {
				h.Set("Range", fmt.Sprintf("bytes=%d-", b.off))
			}
		})
		if err != nil {
			return err
		}
		if err := b.align(resp); err != nil {
			done()
			return err
		}
		b.resp, b.done, b.host = resp, done, e.host
		return nil
	})
}

// align brings the response's body to the offset where the blob goes on.
func (b *body) align(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		if want := fmt.Sprintf("bytes %d-", b.off); !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			return fmt.Errorf("blob %s: asked for bytes from %d on and got %q", b.blob.Digest, b.off, resp.Header.Get("Content-Range"))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.blob.Size {
		return fmt.Errorf("blob %s is %d bytes long, the manifest says %d", b.blob.Digest, resp.ContentLength, b.blob.Size)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, b.off); err != nil {
		return &passingError{error: fmt.Errorf("cannot resume blob %s: %w", b.blob.Digest, err)}
	}
	return nil
}

// Read gives the blob's bytes, mending the connection as often as allowed.
func (b *body) Read(p []byte) (int, error) {
	for {
		if b.resp == nil {
			if b.off == b.blob.Size {
				return 0, io.EOF
			}
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		n, err := b.resp.Body.Read(p)
		if b.off += int64(n); b.off > b.blob.Size {
			return 0, fmt.Errorf("blob %s is longer than the manifest says (%d bytes)", b.blob.Digest, b.blob.Size)
		}
		if n > 0 {
			b.streak = 0
		}
		if err == io.EOF && b.off == b.blob.Size { //nolint:errorlint // only itself is the good end
			b.drop()
			return n, io.EOF
		}
		if err != nil {
			b.drop()
			if err := b.mend(err); err != nil {
				return n, err
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// mend decides whether a broken transfer is taken up again, after a pause.
func (b *body) mend(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	b.streak++
	b.retries++
	if b.streak >= maxStreak || b.retries >= maxRetries {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("blob %s ended after %d of %d bytes", b.blob.Digest, b.off, b.blob.Size)
		}
		return fmt.Errorf("blob %s broke off after %d of %d bytes: %w", b.blob.Digest, b.off, b.blob.Size, err)
	}
	return sleep(b.ctx, b.im.pause<<(b.streak-1))
}

func (b *body) drop() {
	if b.done != nil {
		b.done()
	}
	b.resp, b.done = nil, nil
}

// Close gives the connection up.
func (b *body) Close() error { b.drop(); return nil }
