// SPDX-License-Identifier: Apache-2.0

// Package registry reads images from registries that speak the OCI
// distribution protocol (distribution-spec 1.1), through their mirrors if they
// have some. It proves no digest: that is the reader's part.
package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/retry"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// accept lists the manifests and indexes rkt understands.
var accept = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

// Image is one repository's image in a registry. It is safe for concurrent
// use; Close it to drop idle connections.
type Image struct {
	transfer.Pace
	req       wire.Request
	endpoints []*endpoint
	transport *http.Transport

	mu    sync.Mutex
	first int // the endpoint that answered last

	partSize int64       // partSize, or less in tests
	ahead    chan []byte // the buffers of parts that are not under way; nil is one still to be made
}

// New prepares to read what req names; nothing is sent yet.
func New(req wire.Request) (*Image, error) {
	im := &Image{Pace: transfer.PaceOf(req), req: req}
	im.partSize = partSize
	im.ahead = make(chan []byte, maxAhead)
	for range maxAhead {
		im.ahead <- nil
	}
	im.transport = im.Transport(req.SkipTLSVerify)
	im.transport.MaxIdleConnsPerHost = 8
	im.transport.ReadBufferSize = 64 << 10
	settings := wire.Registry{}
	for _, r := range req.Registries {
		if r.Name == req.Registry {
			settings = r
		}
	}
	for _, m := range settings.Mirrors {
		host, prefix, _ := strings.Cut(m.Location, "/")
		if host == "" {
			return nil, fmt.Errorf("cannot use mirror %q of registry %s: it names no host", m.Location, req.Registry)
		}
		repo := strings.Trim(prefix, "/") + "/" + req.Repository
		im.endpoints = append(im.endpoints, im.endpoint(host, strings.TrimPrefix(repo, "/"), m.PlainHTTP))
	}
	im.endpoints = append(im.endpoints, im.endpoint(req.Registry, req.Repository, settings.PlainHTTP))
	return im, nil
}

// Close drops idle connections.
func (im *Image) Close() { im.transport.CloseIdleConnections() }

func (im *Image) endpoint(host, repo string, plain bool) *endpoint {
	e := &endpoint{im: im, host: host, repo: repo, schemes: []string{"https"}}
	switch {
	case plain:
		e.schemes, e.sendSecrets = []string{"http"}, true
	case isLoopback(host):
		e.schemes, e.sendSecrets = []string{"https", "http"}, true
	case im.req.AllowHTTP:
		// An attacker who blocks https must not get the password: it is not
		// sent over an http that nobody configured.
		e.schemes = []string{"https", "http"}
	}
	return e
}

// isLoopback tells whether host[:port] is this machine by its very name.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

// Root gets the manifest or index that the request's reference stands for.
func (im *Image) Root(ctx context.Context) (wire.Root, error) {
	var root wire.Root
	err := im.anywhere(ctx, transfer.MaxStreak, func(e *endpoint) error {
		data, mediaType, err := e.manifest(ctx, im.req.Reference)
		root = wire.Root{MediaType: mediaType, Data: data}
		return err
	})
	return root, err
}

// Open returns the bytes of a blob from want.Offset on. The reader goes on after
// a lost connection where the last one ended. At most as many bytes come as the
// blob's size says; fewer are an error.
func (im *Image) Open(ctx context.Context, want wire.Want) (io.ReadCloser, error) {
	blob := want.Blob
	if want.Manifest {
		var data []byte
		err := im.anywhere(ctx, transfer.MaxStreak, func(e *endpoint) (err error) {
			data, _, err = e.manifest(ctx, blob.Digest)
			return err
		})
		return io.NopCloser(bytes.NewReader(data)), err
	}
	if want.Offset < 0 || want.Offset > blob.Size {
		return nil, fmt.Errorf("cannot read blob %s from byte %d of %d on", blob.Digest, want.Offset, blob.Size)
	}
	if blob.Size-want.Offset >= splitFrom*im.partSize && !want.Whole {
		return im.openParts(ctx, blob, want.Offset)
	}
	b := &body{im: im, ctx: ctx, blob: blob, off: want.Offset, end: blob.Size}
	if b.off == b.end {
		return b, nil
	}
	return b, b.open()
}

// anywhere runs ask against each endpoint, the one that answered last first,
// until one succeeds, each up to so many times. The error is that of the
// registry itself, which stands last in the list.
func (im *Image) anywhere(ctx context.Context, tries int, ask func(*endpoint) error) error {
	im.mu.Lock()
	first := im.first
	im.mu.Unlock()
	var err error
	for i := range len(im.endpoints) {
		at := (first + i) % len(im.endpoints)
		if err = retry.Do(ctx, tries, im.Pause, func() error { return ask(im.endpoints[at]) }); err == nil {
			im.mu.Lock()
			im.first = at
			im.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// refusal marks a failure that every other try will meet, so that what was
// received before it is of no use.
type refusal struct{ error }

func (e *refusal) Unwrap() error { return e.error }

// Refused is for wire.AsError.
func (e *refusal) Refused() bool { return true }
