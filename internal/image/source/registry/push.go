// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/retry"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// uploads is how many blobs travel at once.
const uploads = 3

// Upload is a blob that is to be in the registry: Data, or File, which is read
// by offset and may be read several times.
type Upload struct {
	wire.Descriptor

	Data []byte
	File *os.File
}

func (u Upload) reader() io.Reader {
	if u.Data != nil {
		return bytes.NewReader(u.Data)
	}
	return io.NewSectionReader(u.File, 0, u.Size)
}

// NewPush prepares to write to the repository that req names; nothing is sent
// yet. Mirrors are passed over: they are for reading.
func NewPush(req wire.Request) (*Image, error) {
	im, err := New(req)
	if err != nil {
		return nil, err
	}
	im.endpoints = im.endpoints[len(im.endpoints)-1:]
	im.endpoints[0].actions = "pull,push"
	return im, nil
}

// Push sends the blobs that the registry lacks, some at a time, and then the
// manifests, one after the other (distribution-spec 1.1, "Push"). It gives the
// bytes of the blobs sent. say, if not nil, is told of each; it is called by one
// goroutine at a time.
func (im *Image) Push(ctx context.Context, blobs []Upload, manifests []wire.PushManifest, say func(string)) (sent int64, err error) {
	e := im.endpoints[0]
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var total atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, uploads)
	seen := map[string]bool{}
	for _, b := range blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			there := false
			err := retry.Do(ctx, transfer.MaxStreak, im.Pause, func() (err error) {
				there, err = e.upload(ctx, b)
				return err
			})
			if err != nil {
				cancel(err)
				return
			}
			if !there {
				total.Add(b.Size)
			}
			if say != nil {
				mu.Lock()
				defer mu.Unlock()
				state := "pushed"
				if there {
					state = "already there"
				}
				say(fmt.Sprintf("%s: %s", shortDigest(b.Digest), state))
			}
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return total.Load(), cause
	}
	for _, m := range manifests {
		if err := retry.Do(ctx, transfer.MaxStreak, im.Pause, func() error { return e.putManifest(ctx, m) }); err != nil {
			return total.Load(), err
		}
	}
	return total.Load(), nil
}

func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

// upload sends one blob in one piece, unless the registry has it.
func (e *endpoint) upload(ctx context.Context, b Upload) (there bool, err error) {
	base, err := e.repository(ctx)
	if err != nil {
		return false, err
	}
	head, err := e.send(ctx, http.MethodHead, base.JoinPath("blobs", b.Digest), "", nil, 0)
	if err == nil {
		_ = head.Body.Close()
		return true, nil
	}
	if !isMissing(err) {
		return false, err
	}
	start, err := e.send(ctx, http.MethodPost, base.JoinPath("blobs", "uploads", "/"), "", http.NoBody, 0)
	if err != nil {
		return false, err
	}
	_ = start.Body.Close()
	to, err := start.Location()
	if err != nil || start.StatusCode != http.StatusAccepted {
		return false, &refusal{fmt.Errorf("registry %s does not say where to upload to", e.host)}
	}
	if to.Host != base.Host && to.Scheme == "http" && base.Scheme == "https" {
		return false, &refusal{fmt.Errorf("refused an upload over plain http to %s", to.Host)}
	}
	if to.Host == base.Host {
		to.Scheme = base.Scheme // behind a proxy, registries do not know their own
	}
	q := to.Query()
	q.Set("digest", b.Digest)
	to.RawQuery = q.Encode()
	done, err := e.send(ctx, http.MethodPut, to, "application/octet-stream", b.reader(), b.Size)
	if err != nil {
		return false, err
	}
	return false, done.Body.Close()
}

func (e *endpoint) putManifest(ctx context.Context, m wire.PushManifest) error {
	base, err := e.repository(ctx)
	if err != nil {
		return err
	}
	resp, err := e.send(ctx, http.MethodPut, base.JoinPath("manifests", m.Tag), m.MediaType, bytes.NewReader(m.Data), int64(len(m.Data)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// repository is the URL that everything of the repository lies below.
func (e *endpoint) repository(ctx context.Context) (*url.URL, error) {
	_, scheme, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: scheme, Host: e.host, Path: "/v2/" + e.repo}, nil
}

// send makes one request. The response is of status 2xx, its body small and
// read by nobody; the caller closes it. A connection on which nothing moves for
// the stall time is given up.
func (e *endpoint) send(ctx context.Context, method string, u *url.URL, contentType string, body io.Reader, size int64) (*http.Response, error) {
	client, _, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, watch := transfer.NewWatch(ctx, e.im.Stall, e.peer().Stalled())
	defer watch.Stop()
	if body != nil && body != http.NoBody {
		body = watch.Sends(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	path := strings.TrimPrefix(u.Path, "/v2/"+e.repo+"/")
	resp, err := client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return nil, &transfer.Failure{Again: true, Err: cause}
		}
		return nil, e.explain(ctx, err, path)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, e.notTaken(resp, path)
	}
	return resp, nil
}

// notTaken explains a refusal in the words of somebody who writes.
func (e *endpoint) notTaken(resp *http.Response, path string) error {
	err := e.refused(resp, path)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed:
		return &refusal{hint.Wrap(fmt.Errorf("registry %s does not let us write to %s (%d)", e.host, e.repo, resp.StatusCode),
			"put credentials into rkt's auth.d or log in with docker or podman")}
	}
	return err
}
