// SPDX-License-Identifier: Apache-2.0

// Package output writes a built image, which is a configuration and its layers,
// in every form that others read: an OCI layout or archive, a docker-archive, an
// ACI, a registry's repository, rkt's store.
package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/build/layer"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// Image is an image in the words of image-spec 1.1.
type Image struct {
	// Config is the configuration: rootfs.diff_ids has a diff ID for each of
	// Layers. It is written as it is.
	Config []byte
	// Layers are lowest first; one may be there twice.
	Layers []Layer
	// Annotations are the manifest's.
	Annotations map[string]string
	// Trees are absolute paths of the layers' trees, lowest first, with whatever
	// settles them; only ACIs are made of them.
	Trees []string
	// UserTrees: the trees have an ordinary user's overlay marks.
	UserTrees bool
}

// Layer is a layer's blob. Docker's media types are written as OCI's.
type Layer struct {
	MediaType string
	Digest    image.Digest
	Size      int64
	Open      func() (io.ReadCloser, error)
}

// Kind is where an image goes.
type Kind string

// The kinds of Target, by the prefixes of their words.
const (
	Layout        Kind = "oci"
	Archive       Kind = "oci-archive"
	DockerArchive Kind = "docker-archive"
	ACI           Kind = "aci"
	Registry      Kind = "docker"
	Store         Kind = "store"
)

// Target is a parsed output word.
type Target struct {
	Kind Kind
	Path string  // of a file or directory
	Name string  // inside a layout or archive; in the store, a reference or ""
	Ref  ref.Ref // of a registry's
}

// Parse reads oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME],
// aci:FILE, FILE.aci, docker://REF, store or store:REF.
func Parse(word string) (Target, error) {
	fail := func(err error) (Target, error) {
		return Target{}, hint.Wrap(fmt.Errorf("cannot write to %q: %w", word, err),
			"outputs are oci:DIR[:NAME], oci-archive:FILE, docker-archive:FILE, aci:FILE, docker://REF and store")
	}
	kind, rest, prefixed := strings.Cut(word, ":")
	switch k := Kind(kind); {
	case word == "store":
		return Target{Kind: Store}, nil
	case !prefixed && strings.HasSuffix(word, ".aci"):
		return Target{Kind: ACI, Path: word}, nil
	case !prefixed:
		return fail(errors.New("its form is missing"))
	case rest == "":
		return fail(errors.New("nothing follows the prefix"))
	case k == ACI:
		return Target{Kind: ACI, Path: rest}, nil
	case k == Store:
		r, err := Name(rest)
		if err != nil {
			return fail(err)
		}
		return Target{Kind: Store, Name: r.Canonical()}, nil
	case k == Layout, k == Archive, k == DockerArchive, k == Registry:
		r, err := ref.Parse(word)
		if err != nil {
			return fail(err)
		}
		if k == Registry && r.Digest != "" {
			return fail(errors.New("a digest is what comes out, it cannot be asked for"))
		}
		return Target{Kind: k, Path: r.Path, Name: r.Inner, Ref: r}, nil
	}
	return fail(fmt.Errorf("there is no form %q", kind))
}

// IsStore tells whether an output word means rkt's store.
func IsStore(word string) bool {
	kind, _, _ := strings.Cut(word, ":")
	return Kind(kind) == Store
}

// Name reads what an image in the store is to be called: a registry's
// reference, with or without docker:// before it.
func Name(word string) (ref.Ref, error) {
	if !strings.HasPrefix(word, "docker://") {
		word = "docker://" + word
	}
	r, err := ref.Parse(word)
	if err == nil && r.Digest != "" {
		err = fmt.Errorf("cannot name an image %q: a digest is no name", word)
	}
	return r, err
}

// Options say how an image is written.
type Options struct {
	// Overwrite replaces a file, and adds to a layout.
	Overwrite bool
	// Packing is for ACIs.
	Packing export.Packing
	// Plain ACIs are not compressed.
	Plain bool
	// Fetch is for the registry and the store: Helper, Config, Dirs and whatever
	// else a fetch takes.
	Fetch fetch.Options
	// OpenStore opens rkt's store, if that is the target.
	OpenStore func() (*store.Store, error)
	// Sign, if not nil, makes a signature of an OCI image in cosign's form, of
	// which the payload is signed by a bare key: for a registry and a layout.
	Sign func(ctx context.Context, payload []byte) ([]byte, error)
	// Scratch is a directory for what is on its way to the store; "" is that of
	// the system.
	Scratch string
}

// Written tells what came out.
type Written struct {
	ID image.ID // the manifest's digest, or of an ACI that of its tar
	// Manifest is the digest of the manifest, "" of an ACI.
	Manifest image.Digest
	Config   image.Digest
}

// Write writes im to t. On an error nothing of it is left, but for blobs that a
// registry has already.
func Write(ctx context.Context, im Image, t Target, opt Options) (Written, error) {
	if t.Kind == ACI {
		return im.writeACI(ctx, t, opt)
	}
	o, err := im.OCI()
	if err != nil {
		return Written{}, err
	}
	w := Written{ID: o.Manifest.Digest.ID(), Manifest: o.Manifest.Digest, Config: o.Config.Digest}
	switch t.Kind {
	case Layout:
		if err = o.Layout(ctx, t.Path, t.Name, opt.Overwrite); err == nil && opt.Sign != nil {
			err = signLayout(ctx, o, t, opt)
		}
	case Archive:
		err = toFile(ctx, t.Path, opt.Overwrite, func(w io.Writer) error { return o.Archive(w, t.Name) })
	case DockerArchive:
		var names []string
		if t.Name != "" {
			names = []string{t.Name}
		}
		err = toFile(ctx, t.Path, opt.Overwrite, func(w io.Writer) error { return o.DockerArchive(w, names) })
	case Registry:
		err = push(ctx, o, t, opt)
	case Store:
		w.ID, err = intoStore(ctx, o, t, opt)
	default:
		err = fmt.Errorf("cannot write image: no form %q", t.Kind)
	}
	return w, err
}

// OCI makes the manifest.
func (im Image) OCI() (export.OCI, error) {
	c, err := ociconfig.ParseConfig(im.Config)
	if err != nil {
		return export.OCI{}, err
	}
	if len(c.RootFS.DiffIDs) != len(im.Layers) {
		return export.OCI{}, fmt.Errorf("cannot write image: it has %d layers, its configuration %d", len(im.Layers), len(c.RootFS.DiffIDs))
	}
	o := export.OCI{MediaType: ociconfig.OCIManifest, Config: export.Bytes(im.Config)}
	if c.OS != "" && c.Architecture != "" {
		o.Platform = &c.Platform
	}
	m := struct {
		SchemaVersion int                    `json:"schemaVersion"`
		MediaType     string                 `json:"mediaType"`
		Config        ociconfig.Descriptor   `json:"config"`
		Layers        []ociconfig.Descriptor `json:"layers"`
		Annotations   map[string]string      `json:"annotations,omitempty"`
	}{2, ociconfig.OCIManifest, ociconfig.Descriptor{MediaType: ociconfig.OCIConfig, Digest: o.Config.Digest, Size: o.Config.Size},
		[]ociconfig.Descriptor{}, im.Annotations}
	for _, l := range im.Layers {
		m.Layers = append(m.Layers, ociconfig.Descriptor{MediaType: MediaType(l.MediaType), Digest: l.Digest, Size: l.Size})
		o.Layers = append(o.Layers, export.Blob{Digest: l.Digest, Size: l.Size, Open: l.Open})
	}
	text, err := json.Marshal(m)
	if err != nil {
		return export.OCI{}, err
	}
	o.Manifest = export.Bytes(text)
	return o, nil
}

// MediaType is OCI's word for a layer's media type, Docker's or OCI's.
func MediaType(t string) string {
	switch t {
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return "application/vnd.oci.image.layer.v1.tar+gzip"
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return "application/vnd.oci.image.layer.v1.tar+zstd"
	case "application/vnd.docker.image.rootfs.diff.tar":
		return "application/vnd.oci.image.layer.v1.tar"
	}
	return t
}

func toFile(ctx context.Context, path string, overwrite bool, write func(io.Writer) error) error {
	err := export.File(ctx, path, overwrite, write)
	if err != nil && !strings.HasPrefix(err.Error(), "cannot write ") {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return err
}

// Stack opens the image's trees as one.
func (im Image) Stack() (*merge.Stack, error) {
	if im.UserTrees {
		return merge.OpenUser(im.Trees...)
	}
	return merge.Open(im.Trees...)
}

// writeACI converts the image.
func (im Image) writeACI(ctx context.Context, t Target, opt Options) (Written, error) {
	o, err := im.OCI()
	if err != nil {
		return Written{}, err
	}
	text, err := readAll(o.Manifest)
	if err != nil {
		return Written{}, err
	}
	m, err := ociconfig.ParseManifest(text, ociconfig.OCIManifest)
	if err != nil {
		return Written{}, err
	}
	c, err := ociconfig.ParseConfig(im.Config)
	if err != nil {
		return Written{}, err
	}
	rec, err := ociconfig.Record(o.Manifest.Digest, m, c)
	if err != nil {
		return Written{}, err
	}
	if rec.App != nil && rec.App.Name == "" {
		rec.App.Name = strings.TrimSuffix(filepath.Base(t.Path), ".aci")
	}
	rec.Names = []string{t.Path}
	if t.Name != "" {
		rec.Names = []string{t.Name}
	}
	s, err := im.Stack()
	if err != nil {
		return Written{}, err
	}
	defer s.Close()
	manifest, err := export.Converted(rec, o.Config.Digest, s)
	if err != nil {
		return Written{}, err
	}
	var w Written
	err = ACIFile(ctx, t.Path, opt, func(out io.Writer) (err error) {
		w.ID, err = export.ACI(out, manifest, s, opt.Packing)
		return err
	})
	return w, err
}

// ACIFile makes the file path of an ACI that write writes, compressed unless
// opt.Plain.
func ACIFile(ctx context.Context, path string, opt Options, write func(io.Writer) error) error {
	return toFile(ctx, path, opt.Overwrite, func(out io.Writer) error {
		if opt.Plain {
			return write(out)
		}
		z := layer.Gzip(out)
		err := write(z)
		if cerr := z.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

func readAll(b export.Blob) ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func push(ctx context.Context, o export.OCI, t Target, opt Options) error {
	text, err := readAll(o.Manifest)
	if err != nil {
		return err
	}
	up := fetch.Upload{Manifests: []fetch.Manifest{{Tag: t.Ref.Tag, MediaType: o.MediaType, Data: text}}}
	for _, b := range append([]export.Blob{o.Config}, o.Layers...) {
		up.Blobs = append(up.Blobs, fetch.Blob(b))
	}
	if opt.Sign != nil {
		// The signature first: nobody sees the image without.
		s, err := signature(ctx, o.Manifest.Digest, t.Ref.Registry+"/"+t.Ref.Repository, opt)
		if err != nil {
			return err
		}
		text, err := readAll(s.Manifest)
		if err != nil {
			return err
		}
		up.Manifests = append([]fetch.Manifest{{Tag: fetch.SignatureTag(o.Manifest.Digest), MediaType: s.MediaType, Data: text}}, up.Manifests...)
		for _, b := range append([]export.Blob{s.Config}, s.Layers...) {
			up.Blobs = append(up.Blobs, fetch.Blob(b))
		}
	}
	return fetch.Push(ctx, opt.Fetch, t.Ref, up)
}

// intoStore imports the image as one that is known by its digest: what was built
// here and now needs nobody else's word.
func intoStore(ctx context.Context, o export.OCI, t Target, opt Options) (image.ID, error) {
	st, err := opt.OpenStore()
	if err != nil {
		return "", err
	}
	defer st.Close()
	dir, err := os.MkdirTemp(opt.Scratch, "acbuild-store-")
	if err != nil {
		return "", fmt.Errorf("cannot store image: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := o.Layout(ctx, filepath.Join(dir, "image"), "", false); err != nil {
		return "", err
	}
	r, err := ref.Parse("oci:" + filepath.Join(dir, "image") + ":" + string(o.Manifest.Digest))
	if err != nil {
		return "", err
	}
	f := opt.Fetch
	f.Policy, f.AnyPlatform, f.InsecureImage = fetch.New, true, false
	rec, err := fetch.Image(ctx, st, f, r)
	if err != nil {
		return "", err
	}
	// The directory that it came from is gone in a moment.
	rec.Names = slices.DeleteFunc(rec.Names, func(n string) bool { return n == r.Canonical() })
	if t.Name != "" {
		rec.Names = append([]string{t.Name}, rec.Names...)
	}
	return rec.ID, st.Commit(rec)
}
