// SPDX-License-Identifier: Apache-2.0

// Package verify reads everything that is stored of images again and puts right
// what can be made from what is intact: docs/decisions/0005-verify-by-unpacking.md.
//
// A blob is compared with its digest, a record with the manifest and the
// configuration it was made from, a tree with what its blob unpacks to now, and
// names and index.json with the records. What is wrong and cannot be made again
// from here is taken out of the way, so that a fetch brings it.
package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/diff"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// Options of Run.
type Options struct {
	Fetch fetch.Options // how to start the extractor
	// Idle says that no pod has the layer mounted and keeps it so until release
	// is called. It is called under the store's lock.
	Idle func(image.Layer) (release func(), err error)
	// Done is told of each image that was looked at.
	Done func(rec image.Record, problems []Problem)
	// Found is told of each problem that is no single image's.
	Found func(Problem)
}

// Problem is something that was not as it should be.
type Problem struct {
	What   string
	Fixed  string // how it was put right; "" if it was not
	Remedy string // what the user can do, if it was not
}

// Run looks at the images with the given IDs; at the whole store, and at what is
// no image's, if there are none. It reports how many problems remain.
func Run(ctx context.Context, st *store.Store, ids []image.ID, opt Options) (left int, err error) {
	v := &verifier{ctx: ctx, st: st, opt: opt, blobs: map[image.Digest]error{}, trees: map[image.Digest][]Problem{}}
	good, torn, err := st.Records()
	if err != nil {
		return 0, err
	}
	whole := len(ids) == 0
	for _, id := range sorted(torn) {
		if whole || slices.Contains(ids, id) {
			if err := v.torn(id, torn[id]); err != nil {
				return v.left, err
			}
		}
	}
	for _, rec := range good {
		if !whole && !slices.Contains(ids, rec.ID) {
			continue
		}
		problems, err := v.image(rec)
		if err != nil {
			return v.left, err
		}
		v.count(problems)
		opt.Done(rec, problems)
	}
	if whole {
		if err := v.orphans(); err != nil {
			return v.left, err
		}
	}
	if len(torn) == 0 {
		wrong, err := st.Mend()
		for _, w := range wrong {
			v.found(Problem{What: w, Fixed: "written again from the records"})
		}
		if err != nil {
			return v.left, err
		}
	}
	return v.left, nil
}

type verifier struct {
	ctx   context.Context
	st    *store.Store
	opt   Options
	blobs map[image.Digest]error     // what was found of those looked at
	trees map[image.Digest][]Problem // likewise
	left  int
}

func (v *verifier) count(problems []Problem) {
	for _, p := range problems {
		if p.Fixed == "" {
			v.left++
		}
	}
}

func (v *verifier) found(p Problem) {
	v.count([]Problem{p})
	v.opt.Found(p)
}

func sorted(m map[image.ID]error) []image.ID {
	var ids []image.ID
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// torn tells of an image whose record cannot be read: nothing else says on what
// ground the image was trusted, so it is not made again.
func (v *verifier) torn(id image.ID, reason error) error {
	names, err := v.st.NamesOf(id)
	if err != nil {
		return err
	}
	again := "fetch the image again"
	if len(names) > 0 {
		again = "`rkt fetch " + names[0] + "`"
	}
	v.found(Problem{What: reason.Error(), Remedy: "remove that file, then " + again})
	return nil
}

// again is how an image is fetched again.
func again(rec image.Record) string {
	if len(rec.Names) == 0 {
		return "`rkt image rm " + rec.ID.Short() + "` and fetch it again"
	}
	// Not fetch alone: a name that says what the bytes are asks nobody.
	return "`rkt image rm " + rec.ID.Short() + "`, then `rkt fetch " + rec.Names[0] + "`"
}

// image looks at one image.
func (v *verifier) image(rec image.Record) ([]Problem, error) {
	var problems []Problem
	blobs, err := v.st.BlobsOf(rec)
	if err != nil && len(blobs) == 0 {
		// The manifest is damaged; the record knows the others.
		blobs = []image.Digest{rec.Manifest}
		for _, l := range rec.Layers {
			blobs = append(blobs, l.Blob)
		}
	}
	for _, d := range blobs {
		reason, err := v.blob(d)
		if err != nil {
			return problems, err
		}
		if reason == nil {
			continue
		}
		p := Problem{What: fmt.Sprintf("blob %s %s", d.ID().Short(), reason), Remedy: again(rec)}
		if ours, err := v.ours(rec, d); err != nil {
			return problems, err
		} else if ours {
			p.Fixed = "made again"
		}
		problems = append(problems, p)
	}
	if rec.Claimed {
		return problems, nil // proven, and unpacked, when root first uses it
	}
	if v.blobs[rec.Manifest] == nil {
		p, err := v.record(rec)
		if err != nil {
			return problems, err
		}
		problems = append(problems, p...)
	}
	for _, l := range rec.Layers {
		p, err := v.tree(rec, l)
		if err != nil {
			return problems, err
		}
		problems = append(problems, p...)
	}
	return problems, nil
}

// ours says whether a blob is one that the store makes by itself: Mend does, at
// the end.
func (v *verifier) ours(rec image.Record, d image.Digest) (bool, error) {
	if d == rec.Manifest || slices.ContainsFunc(rec.Layers, func(l image.Layer) bool { return l.Blob == d }) {
		return false, nil
	}
	if rec.Format == image.ACI {
		return true, nil
	}
	if v.blobs[rec.Manifest] != nil {
		return false, nil
	}
	m, err := v.manifest(rec)
	if err != nil {
		return false, nil //nolint:nilerr // told of by record
	}
	return d != m.Config.Digest && !slices.ContainsFunc(m.Layers, func(l ociconfig.Descriptor) bool { return l.Digest == d }), nil
}

// blob compares a blob with its digest, once; the reason is nil if it is right.
// A wrong one is removed: it is worth nothing, and a fetch would take it for
// what it is called.
func (v *verifier) blob(d image.Digest) (reason, err error) {
	if reason, known := v.blobs[d]; known {
		return reason, nil
	}
	reason, err = v.readBlob(d)
	if err != nil {
		return nil, err
	}
	v.blobs[d] = reason
	if errors.Is(reason, errDamaged) {
		return reason, v.st.DropBlob(d)
	}
	return reason, nil
}

var (
	errDamaged = errors.New("is damaged")
	errMissing = errors.New("is missing")
)

func (v *verifier) readBlob(d image.Digest) (reason, err error) {
	f, err := v.st.OpenBlob(d)
	if errors.Is(err, fs.ErrNotExist) {
		return errMissing, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var sum hash.Hash = sha256.New()
	if d.Algorithm() == "sha512" {
		sum = sha512.New()
	}
	buf := make([]byte, 1<<20)
	for {
		if v.ctx.Err() != nil {
			return nil, errors.New("cannot verify all images: interrupted")
		}
		n, rerr := f.Read(buf)
		sum.Write(buf[:n])
		if rerr == io.EOF {
			break
		}
		if rerr != nil { // the disk's fault: the blob is as good as gone
			return fmt.Errorf("%w (%w)", errDamaged, rerr), nil
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != d.Hex() {
		return errDamaged, nil
	}
	return nil, nil
}

func (v *verifier) read(d image.Digest) ([]byte, error) {
	f, err := v.st.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, ociconfig.MaxDocument+1))
}

func (v *verifier) manifest(rec image.Record) (ociconfig.Manifest, error) {
	raw, err := v.read(rec.Manifest)
	if err != nil {
		return ociconfig.Manifest{}, err
	}
	return ociconfig.ParseManifest(raw, rec.MediaType)
}

// orphans looks at the blobs that no image needs: a fetch would use them.
func (v *verifier) orphans() error {
	all, err := v.st.Blobs()
	if err != nil {
		return err
	}
	for _, d := range all {
		if _, known := v.blobs[d]; known {
			continue
		}
		reason, err := v.blob(d)
		if err != nil {
			return err
		}
		if reason != nil && !errors.Is(reason, errMissing) {
			v.found(Problem{What: fmt.Sprintf("blob %s, which no image needs, %s", d.ID().Short(), reason), Fixed: "removed"})
		}
	}
	return nil
}

// record compares a record with the documents it was made from.
func (v *verifier) record(rec image.Record) ([]Problem, error) {
	made, err := v.remade(rec)
	if err != nil {
		return []Problem{{What: err.Error(), Remedy: "`rkt image rm " + rec.ID.Short() + "` and fetch it again"}}, nil
	}
	if made == nil {
		return nil, nil // the configuration is gone, which has been told
	}
	rest := made.Layers
	for _, l := range rec.Layers {
		if l.MediaType == settle.MediaType || rec.Format == image.ACI && l.DiffID.ID() != rec.ID {
			continue // rkt's own, on top; of another image, below
		}
		i := slices.IndexFunc(rest, func(x image.Layer) bool {
			return x.Blob == l.Blob && x.DiffID == l.DiffID && x.Size == l.Size
		})
		if i < 0 {
			return []Problem{{What: fmt.Sprintf("the record names layer %s, where its manifest does not", l.DiffID.ID().Short()),
				Remedy: "`rkt image rm " + rec.ID.Short() + "` and fetch it again"}}, nil
		}
		rest = rest[i+1:]
	}
	fixed := rec
	fixed.App, fixed.Labels, fixed.Name = made.App, made.Labels, made.Name
	if fixed.App != nil && fixed.App.Name == "" && rec.App != nil {
		fixed.App.Name = rec.App.Name
	}
	fixed.Annotations = map[string]string{}
	for k, value := range made.Annotations {
		if !strings.HasPrefix(k, "rkt/") {
			fixed.Annotations[k] = value
		}
	}
	for k, value := range rec.Annotations {
		if strings.HasPrefix(k, "rkt/") {
			fixed.Annotations[k] = value
		}
	}
	have, err := rec.Encode()
	if err != nil {
		return nil, err
	}
	want, err := fixed.Encode()
	if err != nil {
		return nil, err
	}
	if bytes.Equal(have, want) {
		return nil, nil
	}
	p := Problem{What: "the record does not say what the image says of itself", Fixed: "written again from manifest and configuration"}
	return []Problem{p}, v.st.Rewrite(fixed)
}

// remade is the record as a fetch would make it; nil if what it takes is gone.
func (v *verifier) remade(rec image.Record) (*image.Record, error) {
	raw, err := v.read(rec.Manifest)
	if err != nil {
		return nil, err
	}
	if rec.Format == image.ACI {
		m, err := aci.Parse(raw)
		if err != nil {
			return nil, err
		}
		own, ok := rec.Own()
		if !ok {
			return nil, errors.New("the record does not name the ACI itself")
		}
		made, err := m.Record(rec.Manifest, own)
		return &made, err
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return nil, err
	}
	if v.blobs[m.Config.Digest] != nil {
		return nil, nil
	}
	if raw, err = v.read(m.Config.Digest); err != nil {
		return nil, err
	}
	c, err := ociconfig.ParseConfig(raw)
	if err != nil {
		return nil, err
	}
	made, err := ociconfig.Record(rec.Manifest, m, c)
	return &made, err
}

// tree compares a layer's tree with what its blob unpacks to, once.
func (v *verifier) tree(rec image.Record, l image.Layer) ([]Problem, error) {
	if p, known := v.trees[l.DiffID]; known {
		return p, nil
	}
	p, err := v.lookAtTree(rec, l)
	v.trees[l.DiffID] = p
	return p, err
}

func (v *verifier) lookAtTree(rec image.Record, l image.Layer) ([]Problem, error) {
	name := "tree of layer " + l.DiffID.ID().Short()
	if _, err := v.blob(l.Blob); err != nil {
		return nil, err
	}
	if v.blobs[l.Blob] != nil {
		_, err := os.Lstat(v.st.LayerPath(l.DiffID))
		if errors.Is(err, fs.ErrNotExist) {
			return []Problem{{What: name + " is missing, and so is its blob", Remedy: again(rec)}}, nil
		}
		return []Problem{{What: name + " cannot be compared with its blob", Remedy: again(rec) + "; then verify it once more"}}, err
	}
	problems, whole, err := v.parts(rec, l)
	if err != nil {
		return nil, err
	}
	if !whole {
		return append(problems, Problem{What: name + " cannot be compared: what it is rendered from is damaged", Remedy: again(rec)}), nil
	}
	fresh, manifest, err := fetch.Reunpack(v.ctx, v.st, v.opt.Fetch, rec, l)
	if v.ctx.Err() != nil {
		return nil, errors.New("cannot verify all images: interrupted")
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot verify unpacked layers: %w", err)
	}
	if err != nil {
		return append(problems, Problem{What: fmt.Sprintf("%s cannot be unpacked for comparison: %v", name, err), Remedy: again(rec)}), nil
	}
	if rec.Format == image.ACI && l.DiffID.ID() == rec.ID && manifest != nil && v.blobs[rec.Manifest] == nil {
		raw, err := v.read(rec.Manifest)
		if err == nil && !bytes.Equal(raw, manifest) {
			problems = append(problems, Problem{What: "the stored manifest is not the one in the ACI", Remedy: again(rec)})
		}
	}
	what, err := v.differences(l, fresh)
	if err != nil || what == "" {
		return problems, errors.Join(err, fresh.Abort())
	}
	p := Problem{What: name + " " + what, Fixed: "unpacked again from its blob"}
	if err := v.st.ReplaceLayer(l.DiffID, fresh, func() (func(), error) { return v.opt.Idle(l) }); err != nil {
		p.Fixed, p.Remedy = "", fmt.Sprintf("it was left as it is (%v); stop the pod and verify the image again", err)
	}
	return append(problems, p), nil
}

// parts looks at what a rendered tree is made from, before anybody renders it
// from that again: whole says that all of it is right by now.
func (v *verifier) parts(rec image.Record, l image.Layer) (problems []Problem, whole bool, err error) {
	if l.MediaType != fetch.RenderedMediaType {
		return nil, true, nil
	}
	whole = true
	for _, part := range rec.Parts {
		if _, err := v.blob(part.Blob); err != nil {
			return nil, false, err
		}
		whole = whole && v.blobs[part.Blob] == nil
		if _, err := os.Lstat(v.st.LayerPath(part.DiffID)); errors.Is(err, fs.ErrNotExist) {
			continue // made when it is needed
		}
		p, err := v.tree(rec, part)
		if err != nil {
			return nil, false, err
		}
		problems = append(problems, p...)
		for _, x := range p {
			whole = whole && x.Fixed != ""
		}
	}
	return problems, whole, nil
}

// most is how many differences of a tree are named.
const most = 3

// differences says how the stored tree of l differs from fresh; "" if it does
// not.
func (v *verifier) differences(l image.Layer, fresh *store.LayerDir) (string, error) {
	have, err := os.Open(v.st.LayerPath(l.DiffID))
	if errors.Is(err, fs.ErrNotExist) {
		return "is missing", nil
	}
	if err != nil {
		return "", err
	}
	defer have.Close()
	n := 0
	var named []string
	err = diff.Trees(v.ctx, merge.Raw(fresh.File()), merge.Raw(have), diff.Options{Exact: true}, func(c diff.Change) error {
		if n++; n <= most {
			word := string(c.Kind)
			if c.Kind == diff.Changed {
				word = strings.Join(c.What, ", ")
			}
			named = append(named, fmt.Sprintf("%q: %s", c.Path, word))
		}
		return nil
	})
	if v.ctx.Err() != nil {
		return "", err
	}
	if err != nil { // it cannot be read: that is a difference
		return fmt.Sprintf("cannot be read: %v", err), nil
	}
	if n == 0 {
		return "", nil
	}
	if n > most {
		named = append(named, fmt.Sprintf("and %d more", n-most))
	}
	return "was changed (" + strings.Join(named, "; ") + ")", nil
}
