// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// aci imports an .aci file. Nothing of it is read here: its bytes go to the
// store and to an extractor, which tells its ID and its manifest.
func (f *fetching) aci(ctx context.Context) (image.Record, error) {
	state, err := settleFile(f.ref.Path)
	if err != nil {
		return image.Record{}, plainCause(err)
	}
	file, err := os.OpenFile(f.ref.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not hold us up
	if err != nil {
		return image.Record{}, plainCause(err)
	}
	defer file.Close()
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		return image.Record{}, errors.Join(err, errors.New("it is not a regular file"))
	}
	j := &job{format: wire.FormatACI, layer: image.Layer{MediaType: aci.MediaType}}
	defer j.abort()
	if err := f.importACI(ctx, j, file); err != nil {
		return image.Record{}, err
	}
	m, err := aci.Parse(j.result.Manifest)
	if err != nil {
		return image.Record{}, err
	}
	rec, err := m.Record(digestOf(j.result.Manifest), j.layer)
	if err != nil {
		return image.Record{}, err
	}
	reserve(&rec)
	if !f.opt.AnyPlatform {
		if err := aci.CheckPlatform(rec.Labels); err != nil {
			return image.Record{}, err
		}
	}
	sig, err := f.signatureBeside()
	if err != nil {
		return image.Record{}, err
	}
	if rec.Trust, err = f.prove(ctx, j, string(m.Name), sig); err != nil {
		return image.Record{}, err
	}
	if err := commit([]*job{j}); err != nil {
		return image.Record{}, err
	}
	if err := f.put(j.result.Manifest, rec.Manifest); err != nil {
		return image.Record{}, err
	}
	if f.opt.Progress != wire.ProgressNone {
		f.opt.say("imported %q as %s", m.DisplayName(), rec.ID.Short())
	}
	return f.commit(rec, state)
}

// prove is proveACI for a job whose bytes are all there.
func (f *fetching) prove(ctx context.Context, j *job, name string, sig []byte) (image.Trust, error) {
	blob, err := j.blob.Reader()
	if err != nil {
		return image.TrustNone, err
	}
	defer blob.Close()
	return f.proveACI(ctx, name, blob, sig)
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

// importACI copies file into the store's hands and unpacks it meanwhile.
func (f *fetching) importACI(ctx context.Context, j *job, file io.Reader) (err error) {
	if j.blob, err = f.st.NewBlob(); err != nil {
		return err
	}
	behind, err := j.blob.Reader()
	if err != nil {
		return err
	}
	defer behind.Close()
	grow := newGrowing()
	copied := make(chan error, 1)
	go func() { copied <- receive(ctx, j.blob, file, -1, grow) }()
	slots := make(chan struct{}, 1)
	uerr := f.unpack(ctx, j, behind, grow, slots)
	if cerr := <-copied; cerr != nil {
		return cerr
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
