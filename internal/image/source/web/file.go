// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/retry"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// maxFile bounds what is taken for a file's size, bytes.
const maxFile = 1 << 40

// File is one file of a web server on its way. It is for one reader.
type File struct {
	c    *Client
	ctx  context.Context //nolint:containedctx // of the one transfer
	resp *response
	what wire.File

	off     int64 // where the next byte belongs in the file
	streak  int   // failures since the last byte
	retries int
}

// Open asks for the request's URL. The answer says what will be read; there is
// nothing to read if it has not changed or is deferred.
func (c *Client) Open(ctx context.Context) (*File, wire.File, error) {
	f := &File{c: c, ctx: ctx}
	have := f.c.web.Partial
	err := retry.Do(ctx, transfer.MaxStreak, c.Pause, func() error { return f.open(c.web.Offset, have) })
	if err != nil {
		return nil, wire.File{}, err
	}
	return f, f.what, nil
}

// open asks for the file from off on, if it is still the one that partial
// tells of, else for the whole.
func (f *File) open(off int64, partial wire.Validators) error {
	headers := http.Header{"Accept": {"*/*"}}
	cond := condition(partial)
	if off > 0 && cond != "" {
		headers.Set("Range", fmt.Sprintf("bytes=%d-", off))
		headers.Set("If-Range", cond)
	} else {
		off = 0
	}
	if off == 0 && f.retries == 0 {
		if e := f.c.web.Cached.ETag; e != "" {
			headers.Set("If-None-Match", e)
		} else if m := f.c.web.Cached.Modified; m != "" {
			headers.Set("If-Modified-Since", m)
		}
	}
	resp, err := f.c.get(f.ctx, f.c.web.URL, headers)
	var status *failure
	if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable && off > 0 {
		return f.open(0, wire.Validators{})
	}
	if err != nil {
		return err
	}
	what := wire.File{Size: -1, Validators: wire.Validators{
		ETag: bounded(resp.Header.Get("ETag")), Modified: bounded(resp.Header.Get("Last-Modified"))}}
	what.MaxAge = maxAge(resp.Header)
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 {
			what.Size = resp.ContentLength
		}
	case http.StatusPartialContent:
		what.Offset = off
		what.Size, err = rangeSize(resp.Header.Get("Content-Range"), off)
		if err == nil && another(partial, what.Validators) {
			// It knows of ranges, and not of If-Range: what it has is the rest of
			// another file.
			resp.done()
			return f.open(0, wire.Validators{})
		}
		// Such an answer may leave out what the question said already.
		what.ETag, what.Modified = cmp.Or(what.ETag, partial.ETag), cmp.Or(what.Modified, partial.Modified)
	case http.StatusNotModified:
		what.Unchanged = true
	case http.StatusAccepted:
		what.Deferred = true
	default:
		err = fmt.Errorf("server %s answered with status %d", resp.Request.URL.Host, resp.StatusCode)
	}
	if err == nil && what.Size > maxFile {
		err = fmt.Errorf("server %s offers a file of %d bytes: at most %d", resp.Request.URL.Host, what.Size, int64(maxFile))
	}
	if err != nil || what.Unchanged || what.Deferred {
		resp.done()
		f.what = what
		return err
	}
	f.resp, f.what, f.off = resp, what, what.Offset
	return nil
}

// condition is what If-Range may say: a strong ETag, or a date.
func condition(v wire.Validators) string {
	if v.ETag != "" {
		if strings.HasPrefix(v.ETag, "W/") {
			return ""
		}
		return v.ETag
	}
	return v.Modified
}

// another tells whether a part that came with the validators is, by its own
// words, of another file than was asked for by condition(was).
func another(was, is wire.Validators) bool {
	if was.ETag != "" {
		return is.ETag != "" && is.ETag != was.ETag
	}
	return is.Modified != "" && is.Modified != was.Modified
}

// bounded is a validator that can be kept and sent again.
func bounded(s string) string {
	if len(s) > wire.MaxValidator {
		return ""
	}
	return s
}

// rangeSize reads "bytes OFF-LAST/SIZE".
func rangeSize(s string, off int64) (int64, error) {
	span, size, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, last, ok2 := strings.Cut(span, "-")
	a, err1 := strconv.ParseInt(from, 10, 64)
	b, err2 := strconv.ParseInt(last, 10, 64)
	n, err3 := strconv.ParseInt(size, 10, 64)
	if !ok || !ok2 || errors.Join(err1, err2, err3) != nil || a != off || b != n-1 {
		return 0, fmt.Errorf("asked for bytes from %d on and got %.80q", off, s)
	}
	return n, nil
}

// maxAge is how long, in seconds, the answer may be taken for true.
func maxAge(h http.Header) int64 {
	age := int64(0)
	for word := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		word = strings.TrimSpace(word)
		switch value, ok := strings.CutPrefix(word, "max-age="); {
		case word == "no-cache" || word == "no-store":
			return 0
		case ok:
			n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
			if err != nil || n < 0 {
				return 0
			}
			age = min(n, math.MaxInt32)
		}
	}
	return age
}

// Read gives the file's bytes from File.Offset on, mending the connection as
// often as allowed.
func (f *File) Read(p []byte) (int, error) {
	for {
		if f.resp == nil {
			return 0, io.EOF
		}
		n, err := f.resp.Body.Read(p)
		f.off += int64(n)
		if n > 0 {
			f.streak = 0
		}
		switch {
		case f.what.Size >= 0 && f.off > f.what.Size:
			return 0, fmt.Errorf("server %s sent more than it said", f.host())
		case err == io.EOF && (f.what.Size < 0 || f.off == f.what.Size): //nolint:errorlint // only itself is the good end
			f.drop()
			return n, io.EOF
		case err != nil:
			if err := f.mend(err); err != nil {
				return n, err
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (f *File) host() string { return f.resp.Request.URL.Host }

// mend takes a broken transfer up again where it ended, if the server can tell
// that the file is still the same.
func (f *File) mend(cause error) error {
	host, was := f.host(), f.what
	f.drop()
	for {
		if f.ctx.Err() != nil {
			return context.Cause(f.ctx)
		}
		f.streak++
		f.retries++
		broke := fmt.Errorf("the transfer from %s broke off after %d bytes", host, f.off)
		if stall := (*failure)(nil); errors.As(cause, &stall) {
			broke = cause
		}
		if condition(was.Validators) == "" && f.off > 0 || f.streak >= transfer.MaxStreak || f.retries >= transfer.MaxRetries {
			return broke
		}
		if err := retry.Sleep(f.ctx, f.c.Pause<<(f.streak-1)); err != nil {
			return err
		}
		at := f.off
		err := f.open(at, was.Validators)
		var again *failure
		switch {
		case errors.As(err, &again) && again.Again:
			cause = again
			continue
		case err != nil:
			return err
		case f.what.Deferred || f.what.Unchanged:
			return broke
		case was.Size >= 0 && f.what.Size != was.Size || f.what.ETag != was.ETag || f.what.Modified != was.Modified:
			return fmt.Errorf("the file on %s changed while it was downloaded", host)
		case f.off < at:
			// It is the same, but the server does not know of ranges.
			if _, err := io.CopyN(io.Discard, f.resp.Body, at-f.off); err != nil {
				f.drop()
				cause = err
				f.off = at
				continue
			}
			f.off = at
		}
		return nil
	}
}

func (f *File) drop() {
	if f.resp != nil {
		f.resp.done()
	}
	f.resp = nil
}

// Close gives the connection up.
func (f *File) Close() error { f.drop(); return nil }
