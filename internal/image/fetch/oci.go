// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ociconfig"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/store"
)

// maxDepth is how many indexes may lead to a manifest.
const maxDepth = 3

// fetching is one image on its way into the store.
type fetching struct {
	st  *store.Store
	opt Options
	ref ref.Ref

	chain   [][]byte       // the documents that led to the manifest, and it, each proven by the one before
	signers []image.Signer // on whose word the image is believed
}

// oci fetches an OCI or Docker image: root, manifest, configuration, layers;
// each is proven by the digest in the one before it, the root by the reference
// if that has a digest.
func (f *fetching) oci(ctx context.Context) (image.Record, error) {
	req, state, err := f.request()
	if err == nil && f.ref.Kind == ref.Docker {
		err = credentials(ctx, f.opt, &req)
	}
	if err != nil {
		return image.Record{}, err
	}
	var scratch *os.File
	if f.ref.Kind == ref.OCIArchive || f.ref.Kind == ref.DockerArchive {
		if scratch, err = f.st.Scratch(); err != nil {
			return image.Record{}, err
		}
		defer scratch.Close()
	}
	var from *os.File
	if f.ref.Kind != ref.Docker {
		if from, err = local(f.ref); err != nil {
			return image.Record{}, err
		}
		defer from.Close()
	}
	h, err := startHelper(ctx, f.opt, req, scratch, from)
	if err != nil {
		return image.Record{}, err
	}
	rec, err := f.conduct(ctx, h, state)
	cerr := h.close()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil && cerr != nil {
		err = h.gone(cerr, nil)
	}
	return rec, err
}

// conduct fetches with a helper that has its request.
func (f *fetching) conduct(ctx context.Context, h *helper, state string) (image.Record, error) {
	m, raw, err := f.manifest(ctx, h)
	if err != nil {
		return image.Record{}, err
	}
	proven, err := f.proveOCI(ctx, h)
	if err != nil {
		return image.Record{}, err
	}
	rec, err := f.assemble(ctx, h, m, raw)
	if err != nil {
		return image.Record{}, err
	}
	if rec.Trust = proven; rec.Trust == image.TrustNone {
		rec.Trust = ground(f.ref)
	}
	if f.opt.foreign() {
		rec.Names = f.digestNames(rec)
		return f.commit(rec, "")
	}
	rec.Names = []string{f.ref.Canonical()}
	return f.commit(rec, state)
}

// digestNames name an image for another kind of machine: what it was fetched as
// is the name of this machine's.
func (f *fetching) digestNames(rec image.Record) []string {
	r := f.ref
	switch r.Kind {
	case ref.Docker:
		r.Tag, r.Digest = "", string(rec.Manifest)
	case ref.OCILayout:
		r.Inner = string(rec.Manifest)
	default:
		return nil
	}
	return []string{r.Canonical()}
}

// assemble brings all that a manifest of proven bytes names into the store; h
// may be nil if it is there. The record is not committed.
func (f *fetching) assemble(ctx context.Context, h *helper, m ociconfig.Manifest, raw []byte) (image.Record, error) {
	rawConfig, err := f.config(ctx, h, m.Config)
	if err != nil {
		return image.Record{}, err
	}
	c, err := ociconfig.ParseConfig(rawConfig)
	if err != nil {
		return image.Record{}, err
	}
	if !f.opt.AnyPlatform {
		if err := c.CheckPlatform(ociconfig.Host()); err != nil {
			return image.Record{}, err
		}
	}
	if f.opt.foreign() && !c.Fits(f.opt.Platform) {
		return image.Record{}, fmt.Errorf("it is for %s, not for %s", c.Platform, f.opt.Platform)
	}
	rec, err := ociconfig.Record(digestOf(raw), m, c)
	if err != nil {
		return image.Record{}, err
	}
	reserve(&rec)
	known, err := f.known()
	if err != nil {
		return image.Record{}, err
	}
	jobs, present, err := f.plan(rec.Layers, known)
	if err != nil {
		return image.Record{}, err
	}
	for _, l := range present {
		if h == nil {
			break
		}
		if err := h.order(wire.Order{Done: &wire.Done{Present: true, Blob: wire.Descriptor{Digest: string(l.Blob), Size: l.Size}}}); err != nil {
			return image.Record{}, err
		}
	}
	if err := f.run(ctx, h, jobs); err != nil {
		return image.Record{}, err
	}
	describe(&rec, jobs)
	if f.st.Trees() {
		if jobs, err = f.settle(&rec, jobs, known); err != nil {
			return image.Record{}, err
		}
	}
	if err := commit(f.st, jobs); err != nil {
		return image.Record{}, err
	}
	for _, b := range []struct {
		data []byte
		d    image.Digest
	}{{raw, rec.Manifest}, {rawConfig, m.Config.Digest}} {
		if err := f.put(b.data, b.d); err != nil {
			return image.Record{}, err
		}
	}
	if rec.App != nil && rec.App.Name == "" {
		rec.App.Name = appName(f.ref)
	}
	return rec, nil
}

// ours begins the names of annotations in which rkt keeps its own knowledge.
const ours = "rkt/"

// reserve makes room for annotations of our own: an image brings none.
func reserve(rec *image.Record) {
	if rec.Annotations == nil {
		rec.Annotations = map[string]string{}
	}
	for k := range rec.Annotations {
		if strings.HasPrefix(k, ours) {
			delete(rec.Annotations, k)
		}
	}
}

// describe adds what unpacking told about the layers.
func describe(rec *image.Record, jobs []*job) {
	for i := range rec.Layers {
		for _, j := range jobs {
			if j.layer.Blob == rec.Layers[i].Blob {
				rec.Layers[i].TreeSize = j.layer.TreeSize
			}
		}
	}
}

// commit makes the image exist, with the names and the trust that rec has. state
// is that of the file it came from, or "".
func (f *fetching) commit(rec image.Record, state string) (image.Record, error) {
	rec.SignedBy = f.signers
	rec.Imported = time.Now()
	if old, err := f.st.ByID(string(rec.ID)); err == nil {
		for k, v := range old.Annotations {
			if _, ok := rec.Annotations[k]; !ok && strings.HasPrefix(k, ours) {
				rec.Annotations[k] = v
			}
		}
	}
	if state != "" {
		rec.Annotations[stateKey(f.ref)] = state
	}
	if err := f.st.Commit(rec); err != nil {
		return image.Record{}, err
	}
	return f.st.ByID(string(rec.ID)) // with what the store knew before
}

// request is what the helper is asked, and the state of the file it will read.
func (f *fetching) request() (req wire.Request, state string, err error) {
	r := f.ref
	req = wire.Request{
		Kind: string(r.Kind), Path: r.Path, Inner: r.Inner,
		Registry: r.Registry, Repository: r.Repository, Reference: r.Tag,
		SkipTLSVerify: f.opt.InsecureTLS, AllowHTTP: f.opt.InsecureHTTP,
		StallMillis: f.opt.StallMillis, RetryMillis: f.opt.RetryMillis,
		Progress: f.opt.Progress, UserAgent: f.opt.UserAgent,
	}
	if r.Digest != "" {
		req.Reference = r.Digest
	}
	switch r.Kind {
	case ref.Docker:
		if f.opt.Config != nil {
			c, err := f.opt.Config()
			if err != nil {
				return req, "", err
			}
			req.Registries, req.Credentials = settings(c)
		}
	case ref.OCIArchive, ref.DockerArchive:
		if state, err = settleFile(r.Path); err != nil {
			err = plainCause(err)
		}
	}
	return req, state, err
}

// manifest gets the image's manifest for this machine, its bytes proven.
func (f *fetching) manifest(ctx context.Context, h *helper) (ociconfig.Manifest, []byte, error) {
	root, err := h.root()
	if err != nil {
		return ociconfig.Manifest{}, nil, err
	}
	raw, declared := root.Data, root.MediaType
	if d := pinned(f.ref); d != "" {
		if err := prove(raw, d, -1); err != nil {
			return ociconfig.Manifest{}, nil, err
		}
	}
	for range maxDepth {
		f.chain = append(f.chain, raw)
		mediaType, err := ociconfig.MediaType(raw, declared)
		if err != nil {
			return ociconfig.Manifest{}, nil, err
		}
		if !ociconfig.IsIndex(mediaType) {
			m, err := ociconfig.ParseManifest(raw, declared)
			return m, raw, err
		}
		index, err := ociconfig.ParseIndex(raw, declared)
		if err != nil {
			return ociconfig.Manifest{}, nil, err
		}
		d, err := index.Select(f.opt.platform())
		if err != nil {
			return ociconfig.Manifest{}, nil, err
		}
		if raw, err = f.small(ctx, h, d, true); err != nil {
			return ociconfig.Manifest{}, nil, fmt.Errorf("manifest %s: %w", short(string(d.Digest)), err)
		}
		declared = d.MediaType
	}
	return ociconfig.Manifest{}, nil, fmt.Errorf("cannot find the manifest: more than %d indexes lead to it", maxDepth)
}

// config gets the image's configuration, from the store if it is there.
func (f *fetching) config(ctx context.Context, h *helper, d ociconfig.Descriptor) ([]byte, error) {
	if size, ok := f.st.HasBlob(d.Digest); ok && size == d.Size {
		return f.document(d.Digest, d.Size)
	}
	if h == nil {
		return nil, fmt.Errorf("configuration %s is not in the store", short(string(d.Digest)))
	}
	raw, err := f.small(ctx, h, d, false)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", short(string(d.Digest)), err)
	}
	return raw, nil
}

// document reads a small blob of the store, proven.
func (f *fetching) document(d image.Digest, size int64) ([]byte, error) {
	b, err := f.st.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	raw, err := io.ReadAll(io.LimitReader(b, ociconfig.MaxDocument+1))
	if err == nil {
		err = prove(raw, d, size)
	}
	return raw, err
}

// small gets a blob of at most ociconfig.MaxDocument bytes into memory, proven.
func (f *fetching) small(ctx context.Context, h *helper, d ociconfig.Descriptor, manifest bool) ([]byte, error) {
	if d.Size > ociconfig.MaxDocument {
		return nil, fmt.Errorf("it is longer than %d MiB", ociconfig.MaxDocument>>20)
	}
	r, done, err := h.want(ctx, wire.Want{Manifest: manifest,
		Blob: wire.Descriptor{MediaType: d.MediaType, Digest: string(d.Digest), Size: d.Size}})
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	if err := prove(raw, d.Digest, d.Size); err != nil {
		return nil, err
	}
	done()
	return raw, nil
}

// put stores a small blob.
func (f *fetching) put(data []byte, d image.Digest) error {
	b, err := f.st.NewBlobAlgo(d.Algorithm())
	if err != nil {
		return err
	}
	defer b.Abort()
	if _, err := b.Write(data); err != nil {
		return err
	}
	return b.Commit(d, int64(len(data)))
}

// prove compares data with the digest and, unless it is negative, the size that
// were asked for.
func prove(data []byte, want image.Digest, size int64) error {
	if size >= 0 && int64(len(data)) != size {
		return fmt.Errorf("it is %d bytes long instead of %d", len(data), size)
	}
	got := digestOf(data)
	if want.Algorithm() == "sha512" {
		sum := sha512.Sum512(data)
		got = image.Digest("sha512:" + hex.EncodeToString(sum[:]))
	}
	if got != want {
		return fmt.Errorf("what was received is %s, not %s", short(string(got)), short(string(want)))
	}
	return nil
}

func digestOf(data []byte) image.Digest {
	sum := sha256.Sum256(data)
	return image.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// appName is what an app of the image is called unless the user says so: the
// repository, or the file's name without its endings.
func appName(r ref.Ref) string {
	if r.Kind == ref.ID {
		return image.ID(r.ID).Short()
	}
	if r.Kind == ref.Docker {
		return r.Registry + "/" + r.Repository
	}
	if r.Kind == ref.DockerArchive && r.Inner != "" && r.Inner[0] != '@' {
		name := r.Inner
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i]
		}
		return name
	}
	base := filepath.Base(r.Path)
	for _, end := range []string{".gz", ".xz", ".zst", ".bz2", ".tgz", ".tar", ".oci"} {
		base = strings.TrimSuffix(base, end)
	}
	return base
}
