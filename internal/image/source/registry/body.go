// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/retry"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// body reads one blob, or the part of it up to end, over as many connections
// as it takes.
type body struct {
	im   *Image
	ctx  context.Context
	blob wire.Descriptor
	off  int64 // bytes handed out, and those that were not wanted
	end  int64 // where it ends, if the server can give a part
	// ahead: a part that is fetched before it is its turn. It fails at the first
	// obstacle; whoever waits for the bytes takes over.
	ahead bool

	resp    *http.Response
	done    func()
	host    string
	ranged  bool // resp is a part
	streak  int  // failures since the last byte
	retries int
}

// errWhole says that the server has the whole blob to offer or nothing.
var errWhole = errors.New("the registry does not send parts of blobs")

// open asks for what is missing. Closed ranges only: some registries do not
// know others.
func (b *body) open() error {
	tries := transfer.MaxStreak
	if b.ahead {
		tries = 1
	}
	return b.im.anywhere(b.ctx, tries, func(e *endpoint) error {
		for {
			part := (b.off > 0 || b.end < b.blob.Size) && !e.whole.Load()
			if !part && b.ahead {
				return errWhole
			}
			resp, done, err := e.get(b.ctx, "blobs/"+b.blob.Digest, func(h http.Header) {
				if part {
					h.Set("Range", fmt.Sprintf("bytes=%d-%d", b.off, b.end-1))
				}
			})
			if err == nil {
				if err = b.align(resp, part); err == nil {
					b.resp, b.done, b.host = resp, done, e.host
					b.ranged = resp.StatusCode == http.StatusPartialContent
					if !b.ranged {
						b.end = b.blob.Size
					}
					return nil
				}
				done()
			}
			var bad *rangeError
			if !part || !errors.As(err, &bad) {
				return err
			}
			e.whole.Store(true)
		}
	})
}

// rangeError is that of a server which cannot be asked for a part.
type rangeError struct{ error }

func (e *rangeError) Unwrap() error { return e.error }

// align brings the response's body to the offset where the blob goes on.
func (b *body) align(resp *http.Response, part bool) error {
	if resp.StatusCode == http.StatusPartialContent {
		from, to, size, err := contentRange(resp.Header.Get("Content-Range"))
		switch {
		case err != nil:
			return &rangeError{err}
		case !part || from != b.off || to >= b.end:
			return &rangeError{fmt.Errorf("blob %s: asked for bytes %d to %d and got %q", b.blob.Digest, b.off, b.end-1, resp.Header.Get("Content-Range"))}
		case size >= 0 && size != b.blob.Size:
			return b.wrongSize(size)
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.blob.Size {
		return b.wrongSize(resp.ContentLength)
	}
	if b.ahead {
		return errWhole
	}
	if _, err := io.CopyN(io.Discard, resp.Body, b.off); err != nil {
		return &transfer.Failure{Again: true, Err: fmt.Errorf("cannot resume blob %s: %w", b.blob.Digest, err)}
	}
	return nil
}

func (b *body) wrongSize(is int64) error {
	return &refusal{fmt.Errorf("blob %s is %d bytes long, the manifest says %d", b.blob.Digest, is, b.blob.Size)}
}

// contentRange reads "bytes FROM-TO/SIZE"; size is -1 for "*".
func contentRange(s string) (from, to, size int64, err error) {
	bad := fmt.Errorf("cannot understand Content-Range %q", s)
	number := func(s string) int64 {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || s[0] == '+' {
			return -1
		}
		return int64(n)
	}
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, 0, bad
	}
	part, all, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(part, "-")
	from, to, size = number(first), number(last), number(all)
	if from < 0 || to < from || size < 0 && all != "*" || size >= 0 && to >= size {
		return 0, 0, 0, bad
	}
	return from, to, size, nil
}

// Read gives the blob's bytes, mending the connection as often as allowed.
func (b *body) Read(p []byte) (int, error) {
	for {
		if b.off == b.end && b.end < b.blob.Size {
			b.drop()
			return 0, io.EOF
		}
		if b.resp == nil {
			if b.off == b.blob.Size {
				return 0, io.EOF
			}
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		if b.ranged && int64(len(p)) > b.end-b.off && b.end < b.blob.Size {
			p = p[:b.end-b.off]
		}
		n, err := b.resp.Body.Read(p)
		if b.off += int64(n); b.off > b.blob.Size {
			return 0, &refusal{fmt.Errorf("blob %s is longer than the manifest says (%d bytes)", b.blob.Digest, b.blob.Size)}
		}
		if n > 0 {
			b.streak = 0
		}
		if err == io.EOF && b.off == b.end { //nolint:errorlint // only itself is the good end
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
	if b.ahead || b.streak >= transfer.MaxStreak || b.retries >= transfer.MaxRetries {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("blob %s ended after %d of %d bytes", b.blob.Digest, b.off, b.blob.Size)
		}
		return fmt.Errorf("blob %s broke off after %d of %d bytes: %w", b.blob.Digest, b.off, b.blob.Size, err)
	}
	return retry.Sleep(b.ctx, b.im.Pause<<(b.streak-1))
}

func (b *body) drop() {
	if b.done != nil {
		b.done()
	}
	b.resp, b.done = nil, nil
}

// Close gives the connection up.
func (b *body) Close() error { b.drop(); return nil }
