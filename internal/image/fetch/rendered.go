// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/render"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// RenderedMediaType is that of a recipe, where it is kept as a rendered tree's
// blob.
const RenderedMediaType = "application/vnd.rkt.rendered.v1+json"

// recipe says how an ACI's root is put together of images' own trees. Where no
// image has a path whitelist the layers are stacked as they are; else one tree
// is rendered, and the recipe is kept in place of its blob: its digest names the
// tree, and from it the tree can be made again.
type recipe struct {
	Kind  string       `json:"kind"`
	Steps []recipeStep `json:"steps"` // the last is the image itself
}

const recipeKind = "rkt render 1"

type recipeStep struct {
	Layer image.Layer `json:"layer"`
	Under []int       `json:"under,omitempty"` // earlier steps, lowest first
	Keep  []string    `json:"keep,omitempty"`
}

// maxRecipe bounds a recipe's text, bytes.
const maxRecipe = 64 * ociconfig.MaxDocument

func parseRecipe(text []byte) (recipe, error) {
	var r recipe
	err := json.Unmarshal(text, &r)
	if err == nil && r.Kind != recipeKind {
		err = fmt.Errorf("it is of kind %q", r.Kind)
	}
	if err == nil {
		err = render.Validate(r.steps(), len(r.Steps))
	}
	if err != nil {
		return recipe{}, fmt.Errorf("cannot read description of a rendered tree: %w", err)
	}
	return r, nil
}

// steps are r's for package render: each has a tree of its own.
func (r recipe) steps() []render.Step {
	out := make([]render.Step, len(r.Steps))
	for i, s := range r.Steps {
		out[i] = render.Step{Tree: i, Under: s.Under, Keep: s.Keep}
	}
	return out
}

// choosy tells whether something is left out.
func (r recipe) choosy() bool {
	return slices.ContainsFunc(r.Steps, func(s recipeStep) bool { return len(s.Keep) > 0 })
}

// stack lists the layers, lowest first, each where it is uppermost: what lies
// there hides what it would lower down.
func (r recipe) stack() []image.Layer {
	var out []image.Layer
	seen := map[image.Digest]bool{}
	var visit func(i int)
	visit = func(i int) {
		s := r.Steps[i]
		if seen[s.Layer.DiffID] {
			return
		}
		seen[s.Layer.DiffID] = true
		out = append(out, s.Layer)
		for _, u := range slices.Backward(s.Under) {
			visit(u)
		}
	}
	visit(len(r.Steps) - 1)
	slices.Reverse(out)
	return out
}

// assembly makes the records of a closure.
type assembly struct {
	st    *store.Store
	known map[pair]settle.Facts
	done  map[*node]bool
	extra []*job // trees that are needed for a while
}

func (a *assembly) close() {
	for _, j := range a.extra {
		j.abort()
	}
}

// node makes the records of n and of all that it depends on.
func (a *assembly) node(ctx context.Context, n *node) error {
	if a.done[n] {
		return nil
	}
	a.done[n] = true
	var jobs []*job // of what n is made of
	r := recipe{Kind: recipeKind}
	index := map[*node]int{}
	if err := a.collect(n, &r, index); err != nil {
		return err
	}
	if n.open {
		n.rec.Needs = nil
	}
	for d := range index {
		if d.job != nil {
			jobs = append(jobs, d.job)
		}
		if err := a.node(ctx, d); err != nil {
			return err
		}
		if d == n || !n.open {
			continue
		}
		if d.rec.Trust == image.TrustNone {
			n.rec.Trust = image.TrustNone // it is no better than what is under it
		}
		n.rec.Needs = append(n.rec.Needs, image.Need{SignedBy: slices.Concat(d.f.signers, d.rec.SignedBy)})
		if !d.open { // what is under that is not in index
			n.rec.Needs = append(n.rec.Needs, d.rec.Needs...)
		}
	}
	switch {
	case !n.open:
		return nil // a stored image is what it is
	case r.choosy():
		return a.render(ctx, n, r, jobs)
	}
	before := slices.Clone(n.rec.Layers)
	n.rec.Layers, n.rec.Parts = r.stack(), nil
	if n.job == nil && slices.EqualFunc(before, n.rec.Layers, func(x, y image.Layer) bool { return x.DiffID == y.DiffID }) {
		n.rec.Layers = before
		return nil
	}
	n.news = true
	describe(&n.rec, jobs)
	for _, l := range n.rec.Layers {
		if err := a.treeOf(ctx, n.f, l, jobs); err != nil {
			return err
		}
	}
	all, err := n.f.settle(&n.rec, append(slices.Clone(jobs), a.extra...), a.known)
	if err != nil {
		return err
	}
	n.others = append(n.others, all[len(jobs)+len(a.extra):]...)
	// A stacked tree that had to be unpacked again is stored for good.
	n.others = append(n.others, a.extra...)
	a.extra = nil
	return nil
}

// collect adds to r the steps of n and of what lies under it, and returns the
// index of n's.
func (a *assembly) collect(n *node, r *recipe, index map[*node]int) error {
	if _, ok := index[n]; ok {
		return nil
	}
	if !n.open {
		return a.collectStored(n, r, index)
	}
	own, ok := n.rec.Own()
	if !ok {
		return fmt.Errorf("image %s has no file of its own", n.rec.ID.Short())
	}
	step := recipeStep{Layer: own, Keep: n.m.PathWhitelist}
	step.Layer.TreeSize = 0 // a fact of this store's, not of the recipe
	for _, d := range n.deps {
		if err := a.collect(d, r, index); err != nil {
			return err
		}
		step.Under = append(step.Under, index[d])
	}
	r.Steps = append(r.Steps, step)
	index[n] = len(r.Steps) - 1
	return nil
}

// collectStored adds the steps of a stored image, as its record has them.
func (a *assembly) collectStored(n *node, r *recipe, index map[*node]int) error {
	base := len(r.Steps)
	var own recipeStep
	for _, l := range n.rec.Layers {
		switch l.MediaType {
		case settle.MediaType:
			continue // made for that image's stack, not for this one
		case RenderedMediaType:
			old, err := readRecipe(a.st, l)
			if err != nil {
				return err
			}
			for _, s := range old.Steps {
				for i := range s.Under {
					s.Under[i] += base
				}
				r.Steps = append(r.Steps, s)
			}
			index[n] = len(r.Steps) - 1
			return nil
		}
		l.TreeSize = 0
		if l.DiffID.ID() == n.rec.ID {
			own.Layer = l
			continue
		}
		own.Under = append(own.Under, len(r.Steps))
		r.Steps = append(r.Steps, recipeStep{Layer: l})
	}
	if own.Layer.DiffID == "" {
		return fmt.Errorf("image %s has no file of its own", n.rec.ID.Short())
	}
	r.Steps = append(r.Steps, own)
	index[n] = len(r.Steps) - 1
	return nil
}

func readRecipe(st *store.Store, l image.Layer) (recipe, error) {
	b, err := st.OpenBlob(l.Blob)
	if err != nil {
		return recipe{}, err
	}
	defer b.Close()
	text, err := io.ReadAll(io.LimitReader(b, maxRecipe))
	if err == nil {
		err = prove(text, l.Blob, l.Size)
	}
	if err != nil {
		return recipe{}, err
	}
	return parseRecipe(text)
}

// treeOf makes sure that the tree of a layer is there, in a job or in the store;
// where it is in neither it is unpacked again.
func (a *assembly) treeOf(ctx context.Context, f *fetching, l image.Layer, jobs []*job) error {
	is := func(j *job) bool { return j.layer.DiffID == l.DiffID }
	_, known := a.known[pair{l.Blob, l.DiffID}]
	if slices.ContainsFunc(jobs, is) || slices.ContainsFunc(a.extra, is) || known && a.st.HasLayer(l.DiffID) {
		return nil
	}
	if size, ok := a.st.HasBlob(l.Blob); !ok || size != l.Size {
		return fmt.Errorf("blob %s is gone from the store", l.Blob.ID().Short())
	}
	j := &job{layer: l, stored: true, format: wire.FormatACI}
	if err := f.run(ctx, nil, []*job{j}); err != nil {
		return err
	}
	a.extra = append(a.extra, j)
	return nil
}

// render gives n one tree made after r.
func (a *assembly) render(ctx context.Context, n *node, r recipe, jobs []*job) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(text) >= maxRecipe {
		return fmt.Errorf("its path whitelists and dependencies take more than %d bytes", maxRecipe)
	}
	digest := digestOf(text)
	layer := image.Layer{Blob: digest, MediaType: RenderedMediaType, Size: int64(len(text)), DiffID: digest}
	n.rec.Parts = nil
	for _, s := range r.Steps {
		if !slices.ContainsFunc(n.rec.Parts, func(l image.Layer) bool { return l.DiffID == s.Layer.DiffID }) {
			n.rec.Parts = append(n.rec.Parts, s.Layer)
		}
	}
	if n.job != nil {
		n.job.hidden = true // a tree that nobody needs as it is
	}
	_, stored := a.st.HasBlob(digest)
	stored = stored && a.st.HasLayer(digest)
	for _, l := range n.rec.Parts {
		if _, known := a.known[pair{l.Blob, l.DiffID}]; stored && known {
			if err := recordFacts(&n.rec, l.DiffID, a.known[pair{l.Blob, l.DiffID}]); err != nil {
				return err
			}
			continue
		}
		if err := a.treeOf(ctx, n.f, l, jobs); err != nil {
			return err
		}
		facts, err := a.facts(l, append(slices.Clone(jobs), a.extra...))
		if err != nil {
			return err
		}
		if err := recordFacts(&n.rec, l.DiffID, facts); err != nil {
			return err
		}
	}
	n.news = true
	n.rec.Layers = []image.Layer{layer}
	if stored {
		return nil
	}
	j := &job{layer: layer}
	if j.blob, err = a.st.NewBlob(); err == nil {
		n.others = append(n.others, j)
		_, err = j.blob.Write(text)
	}
	if err != nil {
		return err
	}
	if j.tree, err = a.st.NewLayer(); err != nil {
		return err
	}
	j.layer.TreeSize, err = a.write(ctx, r, append(slices.Clone(jobs), a.extra...), j.tree.File())
	n.rec.Layers[0] = j.layer
	return err
}

// renderAgain makes the tree of j, whose blob is a stored recipe.
func (f *fetching) renderAgain(ctx context.Context, j *job) error {
	known, err := f.known()
	if err != nil {
		return err
	}
	r, err := readRecipe(f.st, j.layer)
	if err != nil {
		return err
	}
	a := &assembly{st: f.st, known: known}
	defer a.close()
	for _, s := range r.Steps {
		if err := a.treeOf(ctx, f, s.Layer, nil); err != nil {
			return err
		}
	}
	if j.tree, err = f.st.NewLayer(); err != nil {
		return err
	}
	if _, err = a.write(ctx, r, a.extra, j.tree.File()); err != nil {
		j.abort()
	}
	return err
}

// write renders r's tree into dir.
func (a *assembly) write(ctx context.Context, r recipe, jobs []*job, dir *os.File) (int64, error) {
	var trees []render.Tree
	defer func() {
		for _, t := range trees {
			_ = t.Root.Close()
		}
	}()
	for _, s := range r.Steps {
		path := a.st.LayerPath(s.Layer.DiffID)
		if i := slices.IndexFunc(jobs, func(j *job) bool { return j.layer.DiffID == s.Layer.DiffID }); i >= 0 {
			path = jobs[i].tree.Path()
		}
		root, err := os.Open(path)
		if err != nil {
			return 0, fmt.Errorf("cannot open layer %s: %w", s.Layer.DiffID.ID().Short(), plainCause(err))
		}
		facts, err := a.facts(s.Layer, jobs)
		trees = append(trees, render.Tree{Root: root, Implicit: facts.Implicit})
		if err != nil {
			return 0, err
		}
	}
	return render.Write(ctx, r.steps(), trees, dir)
}

// facts are what unpacking told of a layer.
func (a *assembly) facts(l image.Layer, jobs []*job) (settle.Facts, error) {
	for _, j := range jobs {
		if j.layer.DiffID == l.DiffID {
			return settle.Facts{Implicit: j.result.Implicit, Hiding: j.result.Hiding, Opaque: j.result.Opaque}, nil
		}
	}
	facts, ok := a.known[pair{l.Blob, l.DiffID}]
	if !ok {
		return facts, errors.New("a layer's facts are not known")
	}
	return facts, nil
}
