// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

const refName = "org.opencontainers.image.ref.name"

// Blob is one of an image's blobs. Whoever writes it proves its digest.
type Blob struct {
	Digest image.Digest
	Size   int64
	Open   func() (io.ReadCloser, error)
}

// Bytes is a blob in memory.
func Bytes(b []byte) Blob {
	sum := sha256.Sum256(b)
	return Blob{Digest: image.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// OCI is an OCI or Docker image: its blobs as they are.
type OCI struct {
	MediaType string // of the manifest
	Manifest  Blob
	Config    Blob
	Layers    []Blob // lowest first; one blob may be there twice
	Platform  *ociconfig.Platform
}

// blobs are all, each once.
func (o OCI) blobs() []Blob {
	var all []Blob
	for _, b := range append([]Blob{o.Manifest, o.Config}, o.Layers...) {
		if !slices.ContainsFunc(all, func(x Blob) bool { return x.Digest == b.Digest }) {
			all = append(all, b)
		}
	}
	return all
}

// descriptor is how an index names the image, and the blob that is needed for
// that. Programs that read layouts pass over Docker's manifests unless an index
// leads to them.
func (o OCI) descriptor(name string) (ociconfig.Descriptor, []Blob, error) {
	d := ociconfig.Descriptor{MediaType: o.MediaType, Digest: o.Manifest.Digest, Size: o.Manifest.Size, Platform: o.Platform}
	var extra []Blob
	if o.MediaType == ociconfig.DockerManifest {
		inner, err := json.Marshal(index{2, ociconfig.OCIIndex, []ociconfig.Descriptor{d}})
		if err != nil {
			return d, nil, err
		}
		b := Bytes(inner)
		extra = []Blob{b}
		d = ociconfig.Descriptor{MediaType: ociconfig.OCIIndex, Digest: b.Digest, Size: b.Size}
	}
	if name != "" {
		d.Annotations = map[string]string{refName: name}
	}
	return d, extra, nil
}

type index struct {
	SchemaVersion int                    `json:"schemaVersion"`
	MediaType     string                 `json:"mediaType"`
	Manifests     []ociconfig.Descriptor `json:"manifests"`
}

// Index is the index.json of a layout that holds the image alone, under name
// if that is not "".
func (o OCI) Index(name string) ([]byte, error) {
	d, _, err := o.descriptor(name)
	if err != nil {
		return nil, err
	}
	return indexFile(d)
}

// indexFile is the index.json of a layout that holds d alone.
func indexFile(d ociconfig.Descriptor) ([]byte, error) {
	b, err := json.MarshalIndent(index{2, ociconfig.OCIIndex, []ociconfig.Descriptor{d}}, "", " ")
	return append(b, '\n'), err
}

var layoutFile = []byte(`{"imageLayoutVersion":"1.0.0"}` + "\n")

func blobName(d image.Digest) string { return "blobs/" + d.Algorithm() + "/" + d.Hex() }

// copyProven copies b to w and fails if it is not what its digest says.
func copyProven(w io.Writer, b Blob) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var sum hash.Hash = sha256.New()
	if b.Digest.Algorithm() == "sha512" {
		sum = sha512.New()
	}
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, b.Size+1))
	if err != nil {
		return err
	}
	if got := b.Digest.Algorithm() + ":" + hex.EncodeToString(sum.Sum(nil)); n != b.Size || got != string(b.Digest) {
		return hint.Wrap(fmt.Errorf("cannot copy blob %s: it is damaged", b.Digest.ID().Short()), "`rkt image verify` tells what to do")
	}
	return nil
}

// Archive writes the image as an OCI layout in an uncompressed tar.
func (o OCI) Archive(w io.Writer, name string) error {
	d, extra, err := o.descriptor(name)
	if err != nil {
		return err
	}
	return archive(w, d, append(o.blobs(), extra...))
}

// archive writes blobs, to which d leads, as a layout in a tar.
func archive(w io.Writer, d ociconfig.Descriptor, blobs []Blob) error {
	p := newPacker(w, "", Packing{})
	idx, err := indexFile(d)
	if err != nil {
		return err
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return bytes.Compare([]byte(blobName(a.Digest)), []byte(blobName(b.Digest))) })
	algo := ""
	if err := p.dir("blobs"); err != nil {
		return err
	}
	for _, b := range blobs {
		if a := b.Digest.Algorithm(); a != algo {
			algo = a
			if err := p.dir("blobs/" + a); err != nil {
				return err
			}
		}
		if err := p.blob(blobName(b.Digest), b); err != nil {
			return err
		}
	}
	return errors.Join(p.file("index.json", idx), p.file("oci-layout", layoutFile), p.tw.Close())
}

func (p *packer) blob(name string, b Blob) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(copyProven(w, b)) }()
	defer r.Close()
	if err := p.stream(name, b.Size, r); err != nil {
		return err
	}
	// What the digest said comes with the end.
	_, err := io.Copy(io.Discard, r)
	return err
}

// DockerArchive writes the image in the form of `docker save`: the layers as
// they are stored, for docker and its like take them compressed. names are
// REPOSITORY:TAG.
func (o OCI) DockerArchive(w io.Writer, names []string) error {
	p := newPacker(w, "", Packing{})
	type image struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	m := image{Config: o.Config.Digest.Hex() + ".json", RepoTags: names, Layers: []string{}}
	if err := p.blob(m.Config, o.Config); err != nil {
		return err
	}
	written := map[string]bool{}
	for _, l := range o.Layers {
		name := l.Digest.Hex() + ".tar"
		m.Layers = append(m.Layers, name)
		if written[name] {
			continue
		}
		written[name] = true
		if err := p.blob(name, l); err != nil {
			return err
		}
	}
	text, err := json.Marshal([]image{m})
	if err != nil {
		return err
	}
	return errors.Join(p.file("manifest.json", text), p.tw.Close())
}

// Layout writes the image into the OCI layout dir, under name if that is not "",
// with the caller's own rights. dir must not exist or be empty, unless overwrite:
// then the image is added to a layout that is there, and takes the place of
// another of that name. Blobs that are there are left. On error what was made is
// removed again, and index.json, which makes the image exist, is as it was.
func (o OCI) Layout(ctx context.Context, dir, name string, overwrite bool) error {
	d, extra, err := o.descriptor(name)
	if err != nil {
		return err
	}
	return layout(ctx, dir, name, overwrite, d, append(o.blobs(), extra...))
}

// layout writes blobs, to which d, which has the name, leads.
func layout(ctx context.Context, dir, name string, overwrite bool, d ociconfig.Descriptor, blobs []Blob) (err error) {
	undo := &made{}
	defer func() {
		if err != nil {
			undo.undo()
		}
	}()
	list, err := layoutOf(dir, overwrite, undo)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		path := filepath.Join(dir, blobName(b.Digest))
		if err := undo.mkdir(filepath.Dir(path)); err != nil {
			return err
		}
		for _, d := range []string{filepath.Join(dir, "blobs"), filepath.Dir(path)} {
			if fi, err := os.Lstat(d); err != nil || !fi.IsDir() {
				return errors.Join(err, fmt.Errorf("cannot write %q: it is no directory", d))
			}
		}
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && fi.Size() == b.Size {
			if copyProven(io.Discard, Blob{b.Digest, b.Size, func() (io.ReadCloser, error) { return os.Open(path) }}) == nil {
				continue
			}
		}
		if err := undo.write(ctx, path, func(w io.Writer) error { return copyProven(w, b) }); err != nil {
			return err
		}
	}
	if err := list.put(d, name); err != nil {
		return fmt.Errorf("cannot read index of %q: %w", dir, err)
	}
	if err := undo.file(ctx, filepath.Join(dir, "oci-layout"), layoutFile); err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	return undo.file(ctx, filepath.Join(dir, "index.json"), append(text, '\n'))
}

// fields is an index.json of somebody else's: what is not understood stays.
type fields map[string]json.RawMessage

// put adds d, in place of what has its name.
func (f fields) put(d ociconfig.Descriptor, name string) error {
	var all []json.RawMessage
	if f["manifests"] != nil {
		if err := json.Unmarshal(f["manifests"], &all); err != nil {
			return err
		}
	}
	kept := []json.RawMessage{}
	for _, raw := range all {
		var x ociconfig.Descriptor
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		if x.Annotations[refName] != name || name == "" && x.Digest != d.Digest {
			kept = append(kept, raw)
		}
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	f["manifests"], err = json.Marshal(append(kept, raw))
	return err
}

// layoutOf makes dir, or reads the layout that is there.
func layoutOf(dir string, overwrite bool, undo *made) (fields, error) {
	list := fields{"schemaVersion": json.RawMessage("2"), "mediaType": json.RawMessage(`"` + ociconfig.OCIIndex + `"`)}
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return list, undo.mkdir(dir)
	case err != nil:
		return nil, fmt.Errorf("cannot write %q: %w", dir, cause(err))
	case len(names) == 0:
		return list, nil
	case !overwrite:
		return nil, hint.Wrap(fmt.Errorf("cannot write %q: it is not empty", dir), "--overwrite adds the image to a layout that is there")
	}
	text, err := readIndex(filepath.Join(dir, "index.json"))
	if _, lerr := os.Lstat(filepath.Join(dir, "oci-layout")); err != nil || lerr != nil {
		return nil, fmt.Errorf("cannot write %q: it is not empty and no image layout", dir)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("cannot read index of %q: %w", dir, err)
	}
	return list, nil
}

// readIndex reads an index of somebody else's.
func readIndex(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, ociconfig.MaxDocument+1))
	if err == nil && len(b) > ociconfig.MaxDocument {
		err = fmt.Errorf("it is longer than %d bytes", ociconfig.MaxDocument)
	}
	return b, err
}

// made is what an export has made so far.
type made struct{ files, dirs []string }

func (m *made) mkdir(path string) error {
	var missing []string
	for p := path; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		err := os.Mkdir(p, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue // somebody else's, so not to be undone
		}
		if err != nil {
			return fmt.Errorf("cannot write %q: %w", p, cause(err))
		}
		m.dirs = append(m.dirs, p)
	}
	return nil
}

// write makes or replaces a file of the layout; one that was not there is undone.
// A link in a layout, which somebody else may have made, leads anywhere.
func (m *made) write(ctx context.Context, path string, write func(io.Writer) error) error {
	fi, err := os.Lstat(path)
	there := err == nil
	if there && !fi.Mode().IsRegular() {
		return fmt.Errorf("cannot write %q: it is there and is no regular file", path)
	}
	err = File(ctx, path, true, write)
	if err == nil && !there {
		m.files = append(m.files, path)
	}
	return err
}

func (m *made) file(ctx context.Context, path string, text []byte) error {
	return m.write(ctx, path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

func (m *made) undo() {
	for _, f := range m.files {
		_ = os.Remove(f)
	}
	for _, d := range slices.Backward(m.dirs) {
		_ = os.Remove(d) // if it is empty
	}
}
