// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
)

// node is an ACI: one that has arrived and is not stored yet, or a stored one.
type node struct {
	f    *fetching // what asked for it
	m    *aci.ImageManifest
	rec  image.Record
	job  *job   // its bytes and tree; nil: they are stored
	open bool   // its dependencies are to be looked for
	news bool   // a stored one's record is to be written anew
	raw  []byte // its manifest's, if it has a job

	deps   []*node
	others []*job // trees to be stored with it
	state  string // of the file it came from
	url    *url   // where it came from
}

// wanted is what an ACI must be to be the right one.
type wanted struct {
	name *aci.Name // nil: whatever its manifest says
	id   string    // how its ID begins; "": any
	size uint64    // of its file; 0: any
}

// check compares rec with what is wanted.
func (w wanted) check(rec image.Record) error {
	if w.name != nil {
		if err := w.name.Match(rec.Name, rec.Labels); err != nil {
			return fmt.Errorf("what came is another image: %w", err)
		}
	}
	if !strings.HasPrefix(string(rec.ID), w.id) {
		return fmt.Errorf("what came is another image: its ID is %s, not %s", rec.ID.Short(), image.ID(w.id).Short())
	}
	if own, ok := rec.Own(); ok && w.size != 0 && uint64(own.Size) != w.size {
		return fmt.Errorf("it is %d bytes long instead of %d", own.Size, w.size)
	}
	return nil
}

// aci fetches the ACI that f.ref names, with all that it depends on; nothing is
// stored before all of it is there and proven.
func (f *fetching) aci(ctx context.Context) (image.Record, error) {
	var top *node
	var err error
	switch f.ref.Kind {
	case ref.ACIFile:
		top, err = f.fromFile(ctx)
	case ref.ACIURL:
		top, err = f.fromURL(ctx, wire.Endpoint{ACI: f.ref.Text, ASC: signatureURL(f.ref.Text)}, wanted{})
	default:
		top, err = f.fromName(ctx)
	}
	if err != nil {
		return image.Record{}, err
	}
	rec, err := f.close(ctx, top)
	if err == nil && top.job != nil && f.opt.Progress != wire.ProgressNone {
		f.opt.say("imported %q as %s", top.m.DisplayName(), top.rec.ID.Short())
	}
	return rec, err
}

// close stores an ACI with all that it depends on.
func (f *fetching) close(ctx context.Context, top *node) (image.Record, error) {
	c := &closure{}
	defer c.abort()
	c.add(top)
	if !f.st.Trees() {
		// What lies under it takes trees: root looks for that when it proves the
		// image.
		top.open = false
	}
	if err := c.expand(ctx); err != nil {
		return image.Record{}, err
	}
	if err := c.assemble(ctx); err != nil {
		return image.Record{}, err
	}
	if err := c.commit(); err != nil {
		return image.Record{}, err
	}
	return f.st.ByID(string(top.rec.ID)) // with what the store knew before
}

// fromFile imports an .aci file. Nothing of it is read here: its bytes go to
// the store and to an extractor, which tells its ID and its manifest; where no
// trees can be made, to a helper that only looks.
func (f *fetching) fromFile(ctx context.Context) (*node, error) {
	state, err := settleFile(f.ref.Path)
	if err != nil {
		return nil, plainCause(err)
	}
	file, err := regular(f.ref.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	j := newACI()
	if j.blob, err = f.st.NewBlob(); err == nil {
		err = f.importACI(ctx, j, file, func() {})
	}
	if err != nil {
		j.abort()
		return nil, err
	}
	n, err := f.accept(ctx, j, wanted{}, f.signatureBeside)
	if n != nil {
		n.state = state
	}
	return n, err
}

func newACI() *job { return &job{format: wire.FormatACI, layer: image.Layer{MediaType: aci.MediaType}} }

// accept makes a node of an ACI whose bytes are all there, if it is what is
// wanted, fits this machine and may be trusted. On an error j is aborted.
func (f *fetching) accept(ctx context.Context, j *job, w wanted, signature func() ([]byte, error)) (n *node, err error) {
	defer func() {
		if err != nil {
			j.abort()
		}
	}()
	if n, err = f.arrived(j, w); err != nil {
		return nil, err
	}
	sig, err := signature()
	if err != nil {
		return nil, err
	}
	blob, err := j.blob.Reader()
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	n.rec.Trust, err = f.proveACI(ctx, n.rec.Name, blob, sig)
	return n, err
}

// arrived makes a node of an ACI that was unpacked or looked at, if it is what is
// wanted and fits this machine.
func (f *fetching) arrived(j *job, w wanted) (n *node, err error) {
	n = &node{f: f, job: j, open: true, raw: j.result.Manifest}
	if n.m, err = aci.Parse(n.raw); err != nil {
		return nil, err
	}
	if n.rec, err = n.m.Record(digestOf(n.raw), j.layer); err != nil {
		return nil, err
	}
	reserve(&n.rec)
	if err := w.check(n.rec); err != nil {
		return nil, err
	}
	if !f.opt.AnyPlatform {
		if err := aci.CheckPlatform(n.rec.Labels); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// acceptStored makes a node of a stored ACI likewise.
func (f *fetching) acceptStored(ctx context.Context, rec image.Record, w wanted, signature func() ([]byte, error)) (*node, error) {
	if err := w.check(rec); err != nil {
		return nil, err
	}
	if !f.opt.AnyPlatform {
		if err := aci.CheckPlatform(rec.Labels); err != nil {
			return nil, err
		}
	}
	n := &node{f: f, rec: rec}
	open := f.opt.Policy == Update
	vouched, err := f.opt.vouched(rec)
	if err != nil {
		return nil, err
	}
	if !vouched {
		sig, err := signature()
		if err != nil {
			return nil, err
		}
		own, _ := rec.Own()
		blob, err := f.st.OpenBlob(own.Blob)
		if err != nil {
			return nil, err
		}
		defer blob.Close()
		if n.rec.Trust, err = f.proveACI(ctx, rec.Name, blob, sig); err != nil {
			return nil, err
		}
		n.news = true
		open = true // what it depends on was not proven either
	}
	if !whole(f.st, rec) {
		if err := repair(ctx, f.st, f.opt, rec); err != nil {
			return nil, fmt.Errorf("cannot unpack image %s again: %w", rec.ID.Short(), err)
		}
	}
	if open {
		raw, err := f.storedManifest(rec)
		if err != nil {
			return nil, err
		}
		if n.m, err = aci.Parse(raw); err != nil {
			return nil, err
		}
		n.open = len(n.m.Dependencies) > 0
	}
	return n, nil
}

// storedManifest reads the manifest of a stored ACI.
func (f *fetching) storedManifest(rec image.Record) ([]byte, error) {
	b, err := f.st.OpenBlob(rec.Manifest)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	raw, err := io.ReadAll(io.LimitReader(b, aci.MaxManifest+1))
	if err == nil {
		err = prove(raw, rec.Manifest, -1)
	}
	return raw, err
}

// signatureBeside reads the signature of an .aci file: the one the user named,
// or the one beside it, if there is one.
func (f *fetching) signatureBeside() ([]byte, error) {
	if f.opt.Signature != "" {
		return readSignature(f.opt.Signature)
	}
	sig, err := readSignature(f.ref.Path + ".asc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return sig, err
}

// importACI copies r into the store's hands, behind what j's blob has already,
// and unpacks it meanwhile. stop makes r end.
func (f *fetching) importACI(ctx context.Context, j *job, r io.Reader, stop func()) error {
	behind, err := j.blob.Reader()
	if err != nil {
		return err
	}
	defer behind.Close()
	grow := newGrowing()
	grow.grown(int(j.blob.Size()))
	copied := make(chan error, 1)
	go func() { copied <- receive(ctx, j.blob, r, -1, grow) }()
	slots := make(chan struct{}, 1)
	uerr := f.unpack(ctx, j, behind, grow, slots)
	if uerr != nil {
		stop() // nobody needs the rest
	}
	if cerr := <-copied; uerr == nil {
		uerr = cerr
	}
	if uerr != nil {
		return uerr
	}
	if j.layer.DiffID, err = image.ParseDigest(j.result.DiffID); err != nil {
		return fmt.Errorf("cannot understand the extractor's answer: %w", err)
	}
	j.layer.Blob, j.layer.Size, j.layer.TreeSize = j.blob.Digest(), j.blob.Size(), j.result.TreeSize
	return nil
}

// plainCause drops a path that the message names anyway.
func plainCause(err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}
