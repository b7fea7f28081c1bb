// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/image/tree"
)

// Stored finds base images in rkt's store, and fetches what is not there. What is
// found is not collected as garbage until the store is closed.
type Stored struct {
	Store *store.Store
	// Fetch has the policy, and what an image must show for itself.
	Fetch fetch.Options
}

// Find takes the names of Dockerfiles, which are a registry's, and those of rkt's
// command line with their schemes; paths in them are relative to the working
// directory.
func (s Stored) Find(ctx context.Context, name string, platform ociconfig.Platform) (Base, error) {
	b, err := s.find(ctx, name, platform)
	if err != nil {
		return b, fmt.Errorf("cannot use base %q: %w", name, err)
	}
	return b, nil
}

func (s Stored) find(ctx context.Context, name string, platform ociconfig.Platform) (Base, error) {
	r, err := parseBase(name)
	if err != nil {
		return Base{}, err
	}
	o := s.Fetch
	o.AnyPlatform = true // the build looks at it itself
	o.Platform = platform
	var rec image.Record
	if err = store.ErrNotFound; platform == ociconfig.Host() { // names mean this machine's
		rec, err = s.lookup(o, r)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, fetch.ErrUnproven) {
		rec, err = fetch.Image(ctx, s.Store, o, r)
	}
	if err != nil {
		return Base{}, err
	}
	if !s.Store.Hold(rec.ID) {
		return Base{}, fmt.Errorf("somebody has just removed image %s", rec.ID.Short())
	}
	s.Store.Used(rec.ID)
	return s.base(rec)
}

func (s Stored) lookup(o fetch.Options, r ref.Ref) (image.Record, error) {
	if o.Policy == fetch.Update {
		return image.Record{}, store.ErrNotFound
	}
	rec, err := fetch.Find(s.Store, r)
	if err != nil {
		return rec, err
	}
	return fetch.Admit(o, rec, r)
}

// parseBase reads the name in a FROM.
func parseBase(name string) (ref.Ref, error) {
	word := name
	scheme := strings.HasPrefix(name, "sha256-") || strings.HasPrefix(name, "sha512-") || strings.Contains(name, "://")
	for _, p := range []string{"oci:", "oci-archive:", "docker-archive:"} {
		if rest, ok := strings.CutPrefix(name, p); ok && strings.Contains(rest, "/") {
			scheme = true
		}
	}
	if rest, ok := strings.CutPrefix(word, "docker-image://"); ok { // BuildKit's word
		word, scheme = rest, false
	}
	if !scheme {
		word = "docker://" + word
	}
	r, err := ref.Parse(word)
	if err != nil {
		return r, err
	}
	if r.Path != "" && !filepath.IsAbs(r.Path) {
		wd, err := filepath.Abs(".")
		if err != nil {
			return r, err
		}
		r = r.Abs(wd)
	}
	return r, nil
}

func (s Stored) base(rec image.Record) (Base, error) {
	if rec.Format != image.OCI {
		return Base{}, hint.Wrap(fmt.Errorf("image %s is an ACI", rec.ID.Short()), "a Dockerfile builds on OCI and Docker images; `rkt image export --format=oci` converts none of an ACI, `acbuild begin` takes it")
	}
	src, err := export.Stored(s.Store, rec)
	if err != nil {
		return Base{}, err
	}
	b := Base{ID: rec.ID}
	if b.Config, err = readBlob(src.Config); err != nil {
		return Base{}, err
	}
	raw, err := readBlob(src.Manifest)
	if err != nil {
		return Base{}, err
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return Base{}, err
	}
	for i, l := range src.Layers {
		b.Layers = append(b.Layers, output.Layer{MediaType: m.Layers[i].MediaType, Digest: l.Digest, Size: l.Size, Open: l.Open})
	}
	b.Trees, err = tree.For(rec, s.Store)
	return b, err
}

func readBlob(b export.Blob) ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, ociconfig.MaxDocument+1))
	if err == nil && len(text) > ociconfig.MaxDocument {
		err = fmt.Errorf("a document of the image is larger than %d bytes", ociconfig.MaxDocument)
	}
	return text, err
}
