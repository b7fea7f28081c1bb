// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/linux/userns"
)

// Layers that are unpacked one by one do not always look, under overlayfs, as
// they would extracted over each other; package settle finds out, from what
// unpacking told of each (settle.Facts), and makes one more tree for the top.
// It is kept like any other layer, its description in place of a blob, so that
// the store and the run path need to know nothing of it. The facts of each
// layer are kept in the record's annotations: they are needed again when
// another image shares the layer.

// factsKey is the annotation for a layer's facts.
func factsKey(diffID image.Digest) string { return ours + "facts " + string(diffID) }

const (
	// maxFacts bounds an annotation, bytes; a layer with more facts is simply
	// unpacked again for the next image that has it.
	maxFacts  = 64 << 10
	manyFacts = "many"
)

// recordedFacts gives what r says of a layer; ok is false if that is not known.
func recordedFacts(r image.Record, diffID image.Digest) (facts settle.Facts, ok bool) {
	text, any := r.Annotations[factsKey(diffID)]
	if !any {
		return facts, true
	}
	return facts, json.Unmarshal([]byte(text), &facts) == nil
}

// settle makes rec's layers the trees to be stacked: of equal ones the topmost,
// none that is hidden altogether, and one more on top if it takes one, which is
// added to jobs. On error all jobs are aborted.
func (f *fetching) settle(rec *image.Record, jobs []*job, known map[pair]settle.Facts) (all []*job, err error) {
	defer func() {
		if err != nil {
			for _, j := range jobs {
				j.abort()
			}
		}
	}()
	var kept []image.Layer
	for i, l := range rec.Layers {
		if !slices.ContainsFunc(rec.Layers[i+1:], func(o image.Layer) bool { return o.DiffID == l.DiffID }) {
			kept = append(kept, l)
		}
	}
	stack, closeAll, err := f.stack(kept, jobs, known)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	plan, err := settle.Stack(stack, !userns.Initial())
	if err != nil {
		return nil, err
	}
	for i, l := range kept {
		if err := recordFacts(rec, l.DiffID, stack[i].Facts); err != nil {
			return nil, err
		}
	}
	rec.Layers = kept[plan.From:]
	for _, j := range jobs {
		j.hidden = !slices.ContainsFunc(rec.Layers, func(l image.Layer) bool { return l.DiffID == j.layer.DiffID })
	}
	if len(plan.Dirs) == 0 {
		return jobs, nil
	}
	top, err := f.top(plan)
	if err != nil {
		return nil, err
	}
	rec.Layers = append(slices.Clone(rec.Layers), top.layer)
	return append(jobs, top), nil
}

// stack opens the trees of layers, those in the making and those stored.
func (f *fetching) stack(layers []image.Layer, jobs []*job, known map[pair]settle.Facts) (stack []settle.Layer, closeAll func(), err error) {
	var opened []*os.File
	closeAll = func() {
		for _, o := range opened {
			_ = o.Close()
		}
	}
	for _, l := range layers {
		if i := slices.IndexFunc(jobs, func(j *job) bool { return j.layer.DiffID == l.DiffID }); i >= 0 {
			r := jobs[i].result
			stack = append(stack, settle.Layer{Root: jobs[i].tree.File(),
				Facts: settle.Facts{Implicit: r.Implicit, Hiding: r.Hiding, Opaque: r.Opaque}})
			continue
		}
		root, err := os.Open(f.st.LayerPath(l.DiffID))
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("cannot open layer %s: %w", l.DiffID.ID().Short(), plainCause(err))
		}
		opened = append(opened, root)
		stack = append(stack, settle.Layer{Root: root, Facts: known[pair{l.Blob, l.DiffID}]})
	}
	return stack, closeAll, nil
}

// recordFacts keeps a layer's facts in rec; no annotation means that there are
// none.
func recordFacts(rec *image.Record, diffID image.Digest, facts settle.Facts) error {
	if len(facts.Implicit) == 0 && len(facts.Hiding) == 0 && !facts.Opaque {
		return nil
	}
	text, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	if len(text) > maxFacts {
		text = []byte(manyFacts)
	}
	rec.Annotations[factsKey(diffID)] = string(text)
	return nil
}

// top makes the tree of a plan, and its description as the blob.
func (f *fetching) top(plan settle.Plan) (j *job, err error) {
	text, digest := plan.Describe(), plan.Digest()
	j = &job{layer: image.Layer{Blob: digest, MediaType: settle.MediaType, Size: int64(len(text)), DiffID: digest}}
	defer func() {
		if err != nil {
			j.abort()
		}
	}()
	if j.blob, err = f.st.NewBlob(); err != nil {
		return nil, err
	}
	if _, err = j.blob.Write(text); err != nil {
		return nil, err
	}
	return j, f.write(j, plan)
}

// write makes j's tree.
func (f *fetching) write(j *job, plan settle.Plan) (err error) {
	if j.tree, err = f.st.NewLayer(); err != nil {
		return err
	}
	return plan.Write(j.tree.File())
}

// resettle makes j's tree again, from its stored description.
func (f *fetching) resettle(j *job) error {
	plan, err := description(f.st, j.layer)
	if err != nil {
		return err
	}
	if err := f.write(j, plan); err != nil {
		j.abort()
		return err
	}
	return nil
}

// description reads what a tree on top is made from.
func description(st *store.Store, l image.Layer) (settle.Plan, error) {
	b, err := st.OpenBlob(l.Blob)
	if err != nil {
		return settle.Plan{}, err
	}
	defer b.Close()
	text, err := io.ReadAll(io.LimitReader(b, 64*ociconfig.MaxDocument))
	if err != nil {
		return settle.Plan{}, err
	}
	if err := prove(text, l.Blob, l.Size); err != nil {
		return settle.Plan{}, err
	}
	return settle.Parse(text)
}
