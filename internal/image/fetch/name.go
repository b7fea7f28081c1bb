// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// findName looks a name up: among the ACIs of that name, of which all labels
// asked for must match, then in what came from the registry of its host.
func findName(st *store.Store, r ref.Ref) (image.Record, error) {
	none := fmt.Errorf("cannot find image %q: %w", r.String(), store.ErrNotFound)
	if name, err := aci.ParseName(r.Text); err == nil {
		rec, ok, err := findACI(st, wanted{name: &name})
		if ok || err != nil {
			return rec, err
		}
		// Members of group rkt cannot put an image where those of its name are.
		rec, err = byName(st, r)
		if err == nil && rec.Format == image.ACI && (wanted{name: &name}).check(rec) == nil {
			return rec, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return image.Record{}, err
		}
	}
	if d, ok := r.InRegistry(); ok {
		rec, err := look(st, d)
		if errors.Is(err, store.ErrNotFound) {
			err = none // by the name that was asked for
		}
		return rec, err
	}
	return image.Record{}, none
}

// findACI finds the stored ACI that fits best: for this machine rather than for
// another, then, if no version is asked for, the one that was fetched without a
// version, then the one that was imported last.
func findACI(st *store.Store, w wanted) (best image.Record, found bool, err error) {
	all, err := st.ByAppcName(string(w.name.Name))
	if err != nil {
		return image.Record{}, false, err
	}
	rank := func(r image.Record) (n int) {
		if aci.CheckPlatform(r.Labels) == nil {
			n += 2
		}
		if w.name.Version() == "" && latest(r) {
			n++
		}
		return n
	}
	for _, r := range all {
		if r.Claimed || w.check(r) != nil {
			continue
		}
		if !found || rank(r) > rank(best) || rank(r) == rank(best) && r.Imported.After(best.Imported) {
			best, found = r, true
		}
	}
	return best, found, nil
}

// latest tells whether an ACI was fetched by its name without a version: then
// it is what the name's owner says is the latest.
func latest(rec image.Record) bool {
	for _, s := range rec.Names {
		if n, err := aci.ParseName(s); err == nil && string(n.Name) == rec.Name && n.Version() == "" {
			return true
		}
	}
	return false
}

// elsewhereError says that a name has no ACI, but is to be looked for in a
// registry.
type elsewhereError struct {
	at  ref.Ref
	why error // there is no ACI
}

func (e *elsewhereError) Error() string { return e.why.Error() }
func (e *elsewhereError) Unwrap() error { return e.why }

// fromName fetches the ACI that f.ref names.
func (f *fetching) fromName(ctx context.Context) (*node, error) {
	registry, ok := f.ref.InRegistry()
	name, err := aci.ParseName(f.ref.Text)
	if err != nil && ok {
		return nil, &elsewhereError{registry, err}
	}
	if err != nil {
		return nil, err
	}
	d, err := f.discover(ctx, name)
	if err != nil && ok && ctx.Err() == nil {
		return nil, &elsewhereError{registry, err}
	}
	if err != nil {
		return nil, err
	}
	return f.fromEndpoints(ctx, d, wanted{name: &name})
}

// discover finds the places of an image.
func (f *fetching) discover(ctx context.Context, name aci.Name) (Discovery, error) {
	host, _, _ := strings.Cut(string(name.Name), "/")
	if !strings.Contains(host, ".") && host != "localhost" {
		// Such a word would be asked for as a host of the local network.
		return Discovery{}, hint.Wrap(fmt.Errorf("%q begins with no host's name", name.Name),
			"name it as HOST/NAME, or, if it is Docker Hub's, as docker://"+string(name.Name))
	}
	d, err := Discover(ctx, f.opt, name)
	if err == nil && len(d.Endpoints) == 0 {
		err = fmt.Errorf("%s announces keys, but no such image", name.Name)
	}
	return d, err
}

// fromEndpoints tries each endpoint until one gives the right image.
func (f *fetching) fromEndpoints(ctx context.Context, d Discovery, w wanted) (*node, error) {
	var first error
	for _, e := range d.Endpoints {
		n, err := f.fromURL(ctx, e, w)
		if err == nil {
			return n, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if first == nil {
			first = err
		} else {
			f.opt.say("%s: %v", e.ACI, err)
		}
	}
	if n := len(d.Endpoints); n > 1 {
		return nil, fmt.Errorf("none of its %d places gave it: %w", n, first)
	}
	return nil, first
}
