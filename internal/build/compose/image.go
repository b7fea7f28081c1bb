// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/output"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/store"
)

// Options say how an image is made of a build.
type Options struct {
	Epoch time.Time // SOURCE_DATE_EPOCH, or zero
	Notes func(what, path string)
}

// Created is the image's time: without an epoch it is when the build was last
// changed, so that writing it again gives the same image.
func (o Options) Created(w *workspace.Workspace) time.Time {
	if o.Epoch.IsZero() && w.State.Changed != 0 {
		return time.Unix(w.State.Changed, 0)
	}
	return o.at(time.Now().Unix())
}

// at is when something was done, for those who read the image.
func (o Options) at(seconds int64) time.Time {
	if !o.Epoch.IsZero() {
		return o.Epoch
	}
	return time.Unix(seconds, 0)
}

// stamp is a time in an image's configuration.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Packing is o for tars.
func (o Options) Packing() export.Packing {
	return export.Packing{Notes: o.Notes, Latest: o.Epoch, OwnIsRoot: os.Geteuid() != 0}
}

// Image is a build as an image, its layers packed. Close it.
type Image struct {
	output.Image

	dir   string
	store *store.Store
}

// Close removes what was packed.
func (im *Image) Close() {
	_ = os.RemoveAll(im.dir)
	if im.store != nil {
		_ = im.store.Close()
	}
}

// config is what of a configuration depends on the layers.
type config struct {
	RootFS struct {
		Type    string         `json:"type"`
		DiffIDs []image.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created    string `json:"created,omitempty"`
	CreatedBy  string `json:"created_by,omitempty"`
	Author     string `json:"author,omitempty"`
	Comment    string `json:"comment,omitempty"`
	EmptyLayer bool   `json:"empty_layer,omitempty"`
}

// OCI packs the build as an OCI image. What an ACI says that OCI has no word for
// is an error.
func OCI(ctx context.Context, w *workspace.Workspace, opt Options) (_ *Image, err error) {
	doc, ok := w.Doc.(*manifest.OCI)
	if !ok {
		a, _ := w.Doc.(*manifest.AppC)
		var lost []string
		if len(a.M.Dependencies) > 0 {
			lost = append(lost, "dependencies")
		}
		var more []string
		if doc, more, err = a.ToOCI(); err != nil {
			return nil, err
		}
		if lost = append(lost, more...); len(lost) > 0 {
			return nil, hint.Wrap(fmt.Errorf("cannot write an OCI image: OCI images have no %s", strings.Join(lost, ", no ")), "write an ACI, or remove them")
		}
	}
	im := &Image{}
	if im.dir, err = os.MkdirTemp(filepath.Join(w.Dir, "tmp"), "image-"); err != nil {
		return nil, fmt.Errorf("cannot pack image: %w", cause(err))
	}
	defer func() {
		if err != nil {
			im.Close()
		}
	}()
	c, err := im.base(ctx, w, opt)
	if err != nil {
		return nil, err
	}
	if err := im.own(ctx, w, c, opt); err != nil {
		return nil, err
	}
	top := map[string]json.RawMessage{}
	for k, v := range doc.Top {
		top[k] = v
	}
	for name, v := range map[string]any{"rootfs": c.RootFS, "history": c.History, "created": stamp(opt.Created(w))} {
		if top[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	whole := &manifest.OCI{Top: top, Process: doc.Process}
	im.Config, err = whole.Encode(false)
	im.Annotations = doc.Annotations
	im.Trees, im.UserTrees = w.Lower(w.State.Layers), w.User()
	return im, err
}

// base brings the base's layers: as they are stored if it is an OCI image, else
// packed from its trees.
func (im *Image) base(ctx context.Context, w *workspace.Workspace, opt Options) (*config, error) {
	c := &config{History: []history{}}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []image.Digest{}
	b := w.State.Base
	if b == nil {
		return c, nil
	}
	st, err := OpenBase(w)
	if err != nil {
		return nil, err
	}
	im.store = st
	rec, err := st.ByID(string(b.ID))
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("cannot go on: the image %q that the build began with is gone: %w", b.Name, err), "fetch "+string(b.ID)+" again")
	}
	if rec.Format == image.ACI {
		for i := range b.Trees {
			p, l, err := im.pack(ctx, layer.Source{Lower: b.Trees[:i], Upper: b.Trees[i], User: b.User}, opt)
			if err != nil {
				return nil, err
			}
			im.add(c, p, l, "acbuild begin "+b.Name, stamp(opt.Created(w)))
		}
		return c, nil
	}
	raw, err := export.Document(st, rec.Manifest)
	if err != nil {
		return nil, err
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return nil, err
	}
	text, err := export.Document(st, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("cannot read configuration of %q: %w", b.Name, err)
	}
	for _, l := range m.Layers {
		im.Layers = append(im.Layers, output.Layer{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size,
			Open: func() (io.ReadCloser, error) { return st.OpenBlob(l.Digest) }})
	}
	// Those who read histories want a line for each layer.
	told := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			told++
		}
	}
	for ; told < len(m.Layers); told++ {
		c.History = append(c.History, history{Created: stamp(opt.Created(w)), CreatedBy: "acbuild begin " + b.Name})
	}
	return c, nil
}

// own packs what was written over the base.
func (im *Image) own(ctx context.Context, w *workspace.Workspace, c *config, opt Options) error {
	for n := range w.State.Layers {
		var files []string
		created := opt.Created(w)
		for _, s := range w.State.History {
			switch {
			case s.Layer != n:
			case s.Files:
				files, created = append(files, s.Command), opt.at(s.Time)
			default:
				c.History = append(c.History, history{Created: stamp(opt.at(s.Time)), CreatedBy: s.Command, EmptyLayer: true})
			}
		}
		p, l, err := im.pack(ctx, layer.Source{Lower: w.Lower(n), Upper: w.Layer(n), User: w.User()}, opt)
		if err != nil {
			return err
		}
		if p.Empty() {
			continue
		}
		im.add(c, p, l, strings.Join(files, "; "), stamp(created))
	}
	return nil
}

func (im *Image) add(c *config, p layer.Packed, l output.Layer, by, created string) {
	im.Layers = append(im.Layers, l)
	c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, p.DiffID)
	c.History = append(c.History, history{Created: created, CreatedBy: by})
}

// pack packs one layer into a file.
func (im *Image) pack(ctx context.Context, src layer.Source, opt Options) (layer.Packed, output.Layer, error) {
	f, err := os.CreateTemp(im.dir, "layer-")
	if err != nil {
		return layer.Packed{}, output.Layer{}, fmt.Errorf("cannot pack layer: %w", cause(err))
	}
	how := layer.Options{Epoch: opt.Epoch, OwnIsRoot: os.Geteuid() != 0, Notes: opt.Notes}
	p, err := layer.Pack(ctx, f, src, how)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return p, output.Layer{}, err
	}
	return p, output.Layer{MediaType: layer.MediaType, Digest: p.Digest, Size: p.Size, Open: func() (io.ReadCloser, error) { return os.Open(f.Name()) }}, nil
}

// Stack opens the image's own root: not what its dependencies bring.
func Stack(w *workspace.Workspace) (*merge.Stack, error) {
	trees := w.Lower(w.State.Layers)
	if w.User() {
		return merge.OpenUser(trees...)
	}
	return merge.Open(trees...)
}

// ACI writes the build as an ACI and gives its ID. A build in OCI's words is
// written by package output.
func ACI(out io.Writer, w *workspace.Workspace, opt Options) (image.ID, error) {
	a, ok := w.Doc.(*manifest.AppC)
	if !ok {
		return "", fmt.Errorf("cannot write an ACI: the build is in mode %s", w.State.Mode)
	}
	if w.State.Base != nil && w.State.Base.User {
		return "", hint.Wrap(fmt.Errorf("cannot write an ACI on top of %q: whom its files belong to is lost on an ordinary user", w.State.Base.Name),
			"do it as root, or write an OCI image, whose layers stay as they are")
	}
	if err := dependent(w, a); err != nil {
		return "", err
	}
	text, err := a.Encode(false)
	if err != nil {
		return "", err
	}
	s, err := Stack(w)
	if err != nil {
		return "", err
	}
	defer s.Close()
	return export.ACI(out, text, s, opt.Packing())
}

// dependent refuses removals that an ACI has no word for: those of files that a
// dependency brings.
func dependent(w *workspace.Workspace, a *manifest.AppC) error {
	if len(a.M.Dependencies) == 0 {
		return nil
	}
	for n := range w.State.Layers {
		dir, err := os.Open(w.Layer(n))
		if err != nil {
			return err
		}
		s := merge.Raw(dir)
		if w.User() {
			s = merge.RawUser(dir)
		}
		err = s.Walk(func(e *merge.Entry) error {
			if !merge.IsWhiteout(&e.Stat) {
				return nil
			}
			if ok, err := inTrees(w.Lower(n), e.Path); ok || err != nil {
				return err
			}
			return hint.Wrap(fmt.Errorf("cannot write an ACI: it would not remove %q, which is a dependency's", "/"+e.Path),
				"a path whitelist says what is left of dependencies; or write an OCI image")
		})
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func inTrees(trees []string, path string) (bool, error) {
	if len(trees) == 0 {
		return false, nil
	}
	s, err := merge.Open(trees...)
	if err != nil {
		return false, err
	}
	defer s.Close()
	e, err := s.Root()
	for name := range strings.SplitSeq(path, "/") {
		if err != nil || e == nil || !e.IsDir() {
			return false, err
		}
		var list []*merge.Entry
		list, err = e.Children()
		e = nil
		for _, c := range list {
			if filepath.Base(c.Path) == name {
				e = c
			}
		}
	}
	return e != nil, err
}
