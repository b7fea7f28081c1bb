// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// maxClosure bounds the images that one image may depend on, itself included.
const maxClosure = 64

// closure is an ACI, first, and all that it depends on, each image once.
type closure struct{ nodes []*node }

// add takes n in, unless the same image is there already: then that one counts.
func (c *closure) add(n *node) *node {
	for _, o := range c.nodes {
		if o.rec.ID == n.rec.ID {
			if n.job != nil {
				n.job.abort()
			}
			return o
		}
	}
	c.nodes = append(c.nodes, n)
	return n
}

// abort gives up what is not committed.
func (c *closure) abort() {
	for _, n := range c.nodes {
		if n.job != nil {
			n.job.abort()
		}
		for _, j := range n.others {
			j.abort()
		}
	}
}

// expand gets what is depended on, breadth first, and refuses circles.
func (c *closure) expand(ctx context.Context) error {
	for i := 0; i < len(c.nodes); i++ {
		n := c.nodes[i]
		if !n.open {
			continue
		}
		for _, d := range n.m.Dependencies {
			dep, err := c.dependency(ctx, n, d)
			if err != nil {
				return err
			}
			n.deps = append(n.deps, dep)
			if len(c.nodes) > maxClosure {
				return fmt.Errorf("image %q depends on more than %d images", c.nodes[0].rec.Name, maxClosure-1)
			}
		}
	}
	return circle(c.nodes[0], nil, map[*node]bool{})
}

// circle walks down from n; path is how it came there.
func circle(n *node, path []*node, done map[*node]bool) error {
	if i := slices.Index(path, n); i >= 0 {
		var names []string
		for _, p := range append(path[i:len(path):len(path)], n) {
			names = append(names, p.rec.Name)
		}
		return hint.Wrap(fmt.Errorf("its dependencies go round in a circle: %s", strings.Join(names, " → ")),
			"one of these images has to be built without the next")
	}
	if done[n] {
		return nil
	}
	for _, d := range n.deps {
		if err := circle(d, append(path[:len(path):len(path)], n), done); err != nil {
			return err
		}
	}
	done[n] = true
	return nil
}

// dependency finds an image that n depends on: among those that are here
// already, in the store as the policy allows, or by discovery.
func (c *closure) dependency(ctx context.Context, n *node, d aci.Dependency) (*node, error) {
	name := aci.Name{Name: d.ImageName, Labels: d.Labels}
	w := wanted{name: &name, id: d.ImageID, size: d.Size}
	for _, o := range c.nodes {
		if w.check(o.rec) == nil {
			return o, nil
		}
	}
	f := &fetching{st: n.f.st, opt: n.f.opt, ref: ref.Ref{Kind: ref.Name, Text: name.String()}}
	f.opt.Signature = "" // that is the first image's
	dep, err := f.depend(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("it depends on %q: %w", name.String(), err)
	}
	return c.add(dep), nil
}

func (f *fetching) depend(ctx context.Context, w wanted) (*node, error) {
	rec, found, err := f.storedDependency(w)
	if err != nil {
		return nil, err
	}
	vouched, err := f.opt.vouched(rec)
	if err != nil {
		return nil, err
	}
	never := func() ([]byte, error) { return nil, nil }
	if found && (vouched || f.opt.Policy == Never) {
		return f.acceptStored(ctx, rec, w, never)
	}
	if f.opt.Policy == Never {
		return nil, hint.Wrap(fmt.Errorf("%w, and the pull policy is never", store.ErrNotFound), "use --pull-policy=new")
	}
	d, err := f.discover(ctx, *w.name)
	if err != nil {
		return nil, err
	}
	return f.fromEndpoints(ctx, d, w)
}

// storedDependency looks into the store. With the policy Update only what is
// named by its ID needs no asking.
func (f *fetching) storedDependency(w wanted) (image.Record, bool, error) {
	if w.id != "" {
		rec, err := f.st.ByID(w.id)
		if errors.Is(err, store.ErrNotFound) || err == nil && rec.Claimed {
			return image.Record{}, false, nil
		}
		if err == nil {
			err = w.check(rec)
		}
		return rec, err == nil, err
	}
	if f.opt.Policy == Update {
		return image.Record{}, false, nil
	}
	return findACI(f.st, w)
}

// assemble makes the records: those of what others depend on first, since what
// is under them is part of theirs.
func (c *closure) assemble(ctx context.Context) error {
	known, err := c.nodes[0].f.known()
	if err != nil {
		return err
	}
	a := &assembly{st: c.nodes[0].f.st, known: known, done: map[*node]bool{}}
	defer a.close()
	return a.node(ctx, c.nodes[0])
}

// commit makes all images exist, those that others depend on first.
func (c *closure) commit() error {
	var jobs []*job
	for _, n := range c.nodes {
		if n.job != nil {
			jobs = append(jobs, n.job)
		}
		jobs = append(jobs, n.others...)
	}
	if err := commit(c.nodes[0].f.st, jobs); err != nil {
		return err
	}
	for _, n := range slices.Backward(c.order()) {
		if n.job == nil && !n.news {
			continue
		}
		if n.raw != nil {
			if err := n.f.put(n.raw, n.rec.Manifest); err != nil {
				return err
			}
		}
		if n.f.ref.Kind != ref.ID { // an ID is no name, and says nothing of what is under the image
			n.rec.Names = []string{n.f.ref.Canonical()}
			if n.rec.Trust == image.TrustNone {
				n.rec.Trust = ground(n.f.ref)
			}
		}
		if _, err := n.f.commit(n.rec, n.state); err != nil {
			return err
		}
		if n.url == nil || !n.f.opt.certain(n.url.address) || !n.f.st.Trees() {
			continue
		}
		err := n.f.st.PutURL(store.URLState{URL: n.url.address, ID: n.rec.ID, Asked: n.url.asked, MaxAge: n.url.maxAge,
			ETag: n.url.was.ETag, Modified: n.url.was.Modified})
		if err != nil {
			return err
		}
	}
	return nil
}

// order lists the nodes so that each comes before what it depends on.
func (c *closure) order() []*node {
	var out []*node
	seen := map[*node]bool{}
	var visit func(*node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, d := range n.deps {
			visit(d)
		}
		out = append(out, n)
	}
	for _, n := range c.nodes {
		visit(n)
	}
	slices.Reverse(out)
	return out
}
