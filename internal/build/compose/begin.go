// SPDX-License-Identifier: Apache-2.0

// Package compose makes builds of images, and images of builds.
package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/build/manifest"
	"github.com/rkt/rkt/internal/build/place"
	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/image/tree"
)

// Env is what building takes of its surroundings.
type Env struct {
	Fetch fetch.Options
	// DataDir gives rkt's, for images from elsewhere; "" if the caller may not
	// write there.
	DataDir func() (string, error)
}

// Begin fills a build with what start names: "" is nothing; a directory is a
// root; anything else is an image. w is saved.
func Begin(ctx context.Context, env Env, w *workspace.Workspace, start string) error {
	local := isPath(start)
	switch fi, err := os.Stat(start); {
	case start == "":
		if err := w.NewLayer(); err != nil {
			return err
		}
		return w.Save()
	case local && err != nil:
		return fmt.Errorf("cannot begin with %q: %w", start, cause(err))
	case local && fi.IsDir():
		if _, err := os.Lstat(filepath.Join(start, "oci-layout")); err != nil {
			return beginDirectory(ctx, w, start)
		}
		start = "oci:" + start
	case local && !strings.HasSuffix(start, ".aci"):
		return beginTar(ctx, env, w, start)
	}
	r, err := ref.Parse(start)
	if err != nil {
		return hint.Wrap(err, "a file or directory begins with . or /")
	}
	if err := beginImage(ctx, env, w, r); err != nil {
		return err
	}
	return w.Save()
}

// isPath: names of images never begin so.
func isPath(start string) bool { return strings.HasPrefix(start, ".") || strings.HasPrefix(start, "/") }

// beginDirectory copies a root.
func beginDirectory(ctx context.Context, w *workspace.Workspace, dir string) error {
	if err := w.NewLayer(); err != nil {
		return err
	}
	r := w.Root()
	if err := r.Copy(ctx, strings.TrimSuffix(dir, "/")+"/", "/", place.Options{KeepOwner: os.Geteuid() == 0, StrangersAreRoot: true}); err != nil {
		return err
	}
	return w.Save()
}

// beginTar unpacks a root.
func beginTar(ctx context.Context, env Env, w *workspace.Workspace, path string) error {
	if err := w.NewLayer(); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot begin with %q: %w", path, cause(err))
	}
	defer f.Close()
	dir, err := os.Open(w.Layer(w.Top()))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := fetch.UnpackTar(ctx, env.Fetch, f, dir, os.Geteuid() != 0); err != nil {
		return hint.Wrap(fmt.Errorf("cannot begin with %q: %w", path, err),
			"a file is taken for an ACI if it ends in .aci, else for the tar of a root; archives have a prefix, as in oci-archive:FILE")
	}
	return w.Save()
}

// storeFor opens the store that an image goes to: rkt's own for what comes from
// elsewhere, the build's for what lies here, and for whoever may not write rkt's.
func storeFor(env Env, w *workspace.Workspace, r ref.Ref) (st *store.Store, dir string, err error) {
	if os.Geteuid() == 0 && r.Path == "" {
		if dir, err = env.DataDir(); err != nil {
			return nil, "", err
		}
	}
	if dir == "" {
		st, err = openOwn(w)
	} else {
		st, err = store.Open(dir)
	}
	return st, dir, err
}

// openOwn opens the build's own store.
func openOwn(w *workspace.Workspace) (*store.Store, error) {
	dir := filepath.Join(w.Dir, "store")
	st, err := store.Open(dir)
	if err == nil && os.Geteuid() != 0 {
		// An ordinary user cannot make trees with their owners: they are unpacked
		// apart, and by this the store knows that it has none.
		err = os.Chmod(filepath.Join(dir, "layers", "tmp"), 0o500)
	}
	return st, err
}

// OpenBase opens the store that has the base.
func OpenBase(w *workspace.Workspace) (*store.Store, error) {
	if w.State.Base.Store == "" {
		return openOwn(w)
	}
	return store.Open(w.State.Base.Store)
}

func beginImage(ctx context.Context, env Env, w *workspace.Workspace, r ref.Ref) error {
	opt := env.Fetch
	if r.Path != "" {
		opt.InsecureImage = true // a file that the user names is the user's to answer for
	}
	opt.AnyPlatform = true
	st, dir, err := storeFor(env, w, r)
	if err != nil {
		return err
	}
	defer st.Close()
	rec, err := fetch.Image(ctx, st, opt, r)
	if err != nil {
		return err
	}
	b := &workspace.Base{ID: rec.ID, Name: r.String(), Store: dir}
	if os.Geteuid() == 0 {
		if b.Trees, err = tree.For(rec, st); err != nil {
			return err
		}
	} else {
		b.User = true
		if b.Trees, err = unowned(ctx, st, opt, rec, w); err != nil {
			return err
		}
	}
	raw, err := export.Document(st, rec.Manifest)
	if err != nil {
		return err
	}
	own, _ := rec.Own()
	if rec.Format == image.ACI && len(rec.Parts) == 0 && len(rec.Layers) > 1 && os.Geteuid() == 0 {
		// Of an ACI with dependencies, only its own tree is the image's.
		for _, t := range b.Trees {
			if t != st.LayerPath(own.DiffID) {
				b.Under = append(b.Under, t)
			}
		}
		b.Trees = []string{st.LayerPath(own.DiffID)}
	}
	w.State.Base = b
	if err := w.NewLayer(); err != nil {
		return err
	}
	w.Doc, err = document(w.State.Mode, st, rec, raw, b)
	return err
}

// unowned unpacks an image's layers for an ordinary user.
func unowned(ctx context.Context, st *store.Store, opt fetch.Options, rec image.Record, w *workspace.Workspace) (trees []string, err error) {
	for i, l := range rec.Layers {
		path := filepath.Join(w.Dir, "base", strconv.Itoa(i))
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("cannot unpack %s: %w", rec.ID.Short(), cause(err))
		}
		dir, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		err = fetch.Unowned(ctx, st, opt, rec, l, dir)
		dir.Close()
		if err != nil {
			return nil, err
		}
		trees = append(trees, path)
	}
	return trees, nil
}

// document makes what the build says of itself from what its base says.
func document(mode workspace.Mode, st *store.Store, rec image.Record, raw []byte, b *workspace.Base) (manifest.Document, error) {
	if rec.Format == image.ACI {
		if len(rec.Parts) > 0 {
			// What the whitelist left is the image's root by now.
			var err error
			if raw, err = export.Alone(raw); err != nil {
				return nil, err
			}
		}
		a, err := manifest.ParseAppC(raw)
		if err != nil || mode == workspace.AppC {
			return a, err
		}
		if len(b.Under) > 0 {
			// OCI has no dependencies: they become layers.
			b.Trees, b.Under = append(b.Under, b.Trees...), nil
		}
		o, _, err := a.ToOCI()
		return o, err
	}
	m, err := ociconfig.ParseManifest(raw, rec.MediaType)
	if err != nil {
		return nil, err
	}
	config, err := export.Document(st, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	if mode == workspace.OCI {
		return manifest.ParseOCI(config, m.Annotations)
	}
	open := merge.Open
	if b.User {
		open = merge.OpenUser
	}
	if len(b.Trees) == 0 {
		return nil, errors.New("cannot begin an ACI with an image that has no layers")
	}
	s, err := open(b.Trees...)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	text, err := export.Converted(rec, m.Config.Digest, s)
	if err != nil {
		return nil, err
	}
	return manifest.ParseAppC(text)
}

func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Dependencies are the trees of what an ACI depends on, lowest first; what is not
// stored is fetched.
func Dependencies(ctx context.Context, env Env, deps []aci.Dependency) ([]string, error) {
	dir, err := env.DataDir()
	if err == nil && dir == "" {
		err = hint.Wrap(errors.New("cannot fetch what the image depends on: rkt's data directory is not yours"), "choose a --dir of your own")
	}
	if err != nil {
		return nil, err
	}
	st, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var trees []string
	for _, d := range deps {
		word := string(d.ImageName)
		version, _ := d.Labels.Get("version")
		if version != "" {
			word += ":" + version
		}
		for _, l := range d.Labels {
			if l.Name != "version" {
				word += "," + string(l.Name) + "=" + l.Value
			}
		}
		if d.ImageID != "" {
			if rec, err := st.ByID(d.ImageID); err == nil {
				word = string(rec.ID)
			}
		}
		r, err := ref.Parse(word)
		if err != nil {
			return nil, err
		}
		rec, err := fetch.Image(ctx, st, env.Fetch, r)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(rec.ID), d.ImageID) {
			return nil, fmt.Errorf("cannot use dependency %q: its ID is %s, not %s", d.ImageName, rec.ID.Short(), d.ImageID)
		}
		paths, err := tree.For(rec, st)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			trees = append(slices.DeleteFunc(trees, func(t string) bool { return t == p }), p)
		}
	}
	return trees, nil
}
