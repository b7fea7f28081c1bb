// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/transfer"
)

// What signatures are called in registries.
const (
	simpleSigning   = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleSignature = "dev.cosignproject.cosign/signature"
	bundlePrefix    = "application/vnd.dev.sigstore.bundle"
	emptyConfig     = "application/vnd.oci.empty.v1+json"
	signArtifact    = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// Bounds of a look for signatures.
const (
	maxPages = 8             // of the referrers' list
	maxTotal = 2 << 20       // bytes of all signatures
	maxAsked = wire.MaxFound // referrers that are looked into
)

// document is what we read of a manifest or an index.
type document struct {
	MediaType    string       `json:"mediaType"`
	ArtifactType string       `json:"artifactType"`
	Config       descriptor   `json:"config"`
	Layers       []descriptor `json:"layers"`
	Manifests    []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations"`
}

// Signatures gathers what the registry has of cosign's signatures of a manifest:
// at the tag sha256-HEX.sig, and among its referrers (distribution-spec 1.1,
// "Listing Referrers"), or, where a registry does not list those, at the tag
// sha256-HEX. None at all is no error; not to know whether there are is one.
// Nothing that comes is proven here.
func (im *Image) Signatures(ctx context.Context, digest string) (wire.Signatures, error) {
	// Where signatures are says nothing of where the image is best got from.
	im.mu.Lock()
	first := im.first
	im.mu.Unlock()
	defer func() {
		im.mu.Lock()
		im.first = first
		im.mu.Unlock()
	}()
	c := collector{im: im, ctx: ctx}
	tag := strings.Replace(digest, ":", "-", 1)
	doc, err := c.manifest(tag + ".sig")
	if err == nil {
		err = c.layers(doc)
	}
	if err != nil && !isMissing(err) {
		return wire.Signatures{}, err
	}
	list, err := c.referrers(digest, tag)
	if err != nil {
		return wire.Signatures{}, err
	}
	asked := 0
	for _, d := range list {
		if !maybeSignature(d) {
			continue
		}
		if asked++; asked > maxAsked {
			c.found.More = true
			break
		}
		doc, err := c.manifest(d.Digest)
		if err == nil {
			err = c.layers(doc)
		}
		if err != nil && !isMissing(err) { // one that was deleted is not there
			return wire.Signatures{}, err
		}
	}
	return c.found, nil
}

func isMissing(err error) bool {
	var m interface{ Missing() bool }
	return errors.As(err, &m) && m.Missing()
}

// maybeSignature tells referrers that may hold a signature by what the list says
// of them. An SBOM that is as large as a signature is not worth asking for.
func maybeSignature(d descriptor) bool {
	switch {
	case d.MediaType == "application/vnd.oci.image.index.v1+json":
		return false
	case d.ArtifactType == "", d.ArtifactType == emptyConfig, d.ArtifactType == signArtifact, d.ArtifactType == simpleSigning:
		// Some lists have the configuration's type there instead.
		return true
	}
	return strings.HasPrefix(d.ArtifactType, bundlePrefix)
}

// collector gathers signatures within bounds.
type collector struct {
	im    *Image
	ctx   context.Context //nolint:containedctx // of one call
	found wire.Signatures
	total int
}

// layers takes the signatures in the layers of a manifest.
func (c *collector) layers(doc document) error {
	for _, l := range doc.Layers {
		signature := l.Annotations[simpleSignature]
		limit := int64(0)
		switch {
		case l.MediaType == simpleSigning && signature != "" && len(signature) <= wire.MaxPayload:
			limit = wire.MaxPayload
		case strings.HasPrefix(l.MediaType, bundlePrefix):
			limit = wire.MaxBundle
		default:
			continue
		}
		if len(c.found.Simple)+len(c.found.Bundles) == wire.MaxFound || c.total > maxTotal {
			c.found.More = true
			return nil
		}
		if l.Size < 1 || l.Size > limit {
			continue // none that we would understand
		}
		text, err := c.blob(l)
		if err != nil {
			return err
		}
		c.total += len(text) + len(signature)
		if limit == wire.MaxPayload {
			c.found.Simple = append(c.found.Simple, wire.SimpleSignature{Payload: text, Signature: signature})
		} else {
			c.found.Bundles = append(c.found.Bundles, text)
		}
	}
	return nil
}

func (c *collector) blob(d descriptor) ([]byte, error) {
	r, err := c.im.Open(c.ctx, wire.Want{Blob: wire.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}})
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, d.Size))
	return text, errors.Join(err, r.Close())
}

// manifest gets a manifest or index by tag or digest.
func (c *collector) manifest(reference string) (doc document, err error) {
	if strings.ContainsAny(reference, "/?#%") {
		return doc, fmt.Errorf("cannot look for signatures: the registry refers to %q", reference)
	}
	var text []byte
	err = c.im.anywhere(c.ctx, transfer.MaxStreak, func(e *endpoint) (err error) {
		text, _, err = e.manifest(c.ctx, reference)
		return err
	})
	if err != nil {
		return doc, err
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return doc, fmt.Errorf("cannot understand what the registry has at %q: %w", reference, err)
	}
	return doc, nil
}

// referrers lists what refers to a manifest, without what is not called by a
// digest.
func (c *collector) referrers(digest, tag string) ([]descriptor, error) {
	var list []descriptor
	err := c.im.anywhere(c.ctx, transfer.MaxStreak, func(e *endpoint) (err error) {
		list, err = c.list(e, "referrers/"+digest)
		if err == nil && len(list) == 0 {
			// A mirror may have copied the image and nothing else.
			err = &answered{errors.New("nothing refers to it"), http.StatusNotFound}
		}
		return err
	})
	var said *answered
	if errors.As(err, &said) && slices.Contains([]int{
		http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented,
	}, said.code) {
		doc, err := c.manifest(tag)
		if isMissing(err) {
			return nil, nil
		}
		return doc.Manifests, err
	}
	return list, err
}

// list reads the pages of a list.
func (c *collector) list(e *endpoint, path string) ([]descriptor, error) {
	first := path
	var all []descriptor
	for range maxPages {
		resp, done, err := e.get(c.ctx, path, func(h http.Header) { h.Set("Accept", "application/vnd.oci.image.index.v1+json") })
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxManifest+1))
		next := resp.Header.Get("Link")
		done()
		if err != nil {
			return nil, e.explain(c.ctx, err, path)
		}
		var doc document
		if err := json.Unmarshal(text, &doc); err != nil || len(text) > wire.MaxManifest {
			return nil, fmt.Errorf("cannot understand the list of what refers to %s, from registry %s", strings.TrimPrefix(first, "referrers/"), e.host)
		}
		all = append(all, doc.Manifests...)
		query, more := nextPage(next)
		if !more {
			return all, nil
		}
		path = first + "?" + query
	}
	c.found.More = true
	return all, nil
}

// nextPage is the query of the page that a Link header names: the rest of the
// list is where its beginning is.
func nextPage(link string) (query string, more bool) {
	for part := range strings.SplitSeq(link, ",") {
		target, params, ok := strings.Cut(strings.TrimSpace(part), ">")
		if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		u, err := url.Parse(target[1:])
		if err == nil && u.RawQuery != "" {
			return u.RawQuery, true
		}
	}
	return "", false
}
