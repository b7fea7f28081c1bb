// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/store"
)

// maxACI bounds an ACI's file, bytes.
const maxACI = 100 << 30

// url is what is to be remembered of a URL once its image is stored.
type url struct {
	address string
	was     wire.Validators
	asked   time.Time
	maxAge  int64 // seconds
}

// certain tells whether what came from address is what its server has: a name
// that begins with https promises that, but with some options anybody on the way
// may have answered. Then nothing is remembered of it, or it would be taken for
// the server's own long after the option was given.
func (o Options) certain(address string) bool {
	return !o.InsecureTLS && !(o.InsecureHTTP && strings.HasPrefix(address, "https://"))
}

// signatureURL is where the signature of an ACI lies: beside it.
func signatureURL(aci string) string {
	end := len(aci)
	if i := strings.IndexAny(aci, "?#"); i >= 0 {
		end = i
	}
	return aci[:end] + ".asc" + aci[end:]
}

// fromURL downloads the ACI at e, unless the copy that is stored is still good.
func (f *fetching) fromURL(ctx context.Context, e wire.Endpoint, w wanted) (*node, error) {
	if err := checkURL(e.ACI); err != nil {
		return nil, err
	}
	known, rec, ok := f.cached(e.ACI)
	if age := time.Since(known.Asked); ok && age >= 0 && age < time.Duration(known.MaxAge)*time.Second {
		return f.unchanged(ctx, e, rec, w, nil)
	}
	sig, deferred, err := f.signature(ctx, e.ASC)
	if err != nil {
		return nil, err
	}
	web := wire.Web{URL: e.ACI}
	if ok {
		web.Cached = wire.Validators{ETag: known.ETag, Modified: known.Modified}
	}
	j := newACI()
	asked := time.Now()
	file, err := f.transfer(ctx, j, web)
	if err != nil {
		j.abort()
		return nil, err
	}
	u := &url{address: e.ACI, was: file.Validators, asked: asked, maxAge: file.MaxAge}
	if file.Unchanged {
		j.abort()
		if !ok {
			return nil, errNonsense
		}
		if u.was == (wire.Validators{}) {
			u.was = web.Cached
		}
		return f.unchanged(ctx, e, rec, w, u)
	}
	n, err := f.accept(ctx, j, w, func() ([]byte, error) {
		if deferred {
			return f.signatureAgain(ctx, e.ASC)
		}
		return sig, nil
	})
	if n != nil {
		n.url = u
	}
	return n, err
}

// cached looks whether the image that a URL gave is stored.
func (f *fetching) cached(address string) (u store.URLState, rec image.Record, ok bool) {
	if u, ok = f.st.URL(address); !ok {
		return u, rec, false
	}
	rec, err := f.st.ByID(string(u.ID))
	if err != nil || rec.Claimed {
		return u, rec, false
	}
	own, _ := rec.Own()
	size, ok := f.st.HasBlob(own.Blob)
	return u, rec, ok && size == own.Size
}

// unchanged takes the stored image for what lies at e.
func (f *fetching) unchanged(ctx context.Context, e wire.Endpoint, rec image.Record, w wanted, u *url) (*node, error) {
	n, err := f.acceptStored(ctx, rec, w, func() ([]byte, error) {
		sig, deferred, err := f.signature(ctx, e.ASC)
		if err == nil && deferred {
			sig, err = f.signatureAgain(ctx, e.ASC)
		}
		return sig, err
	})
	if n != nil {
		n.url = u
		n.news = n.news || u != nil
	}
	return n, err
}

// signature gets an ACI's signature: the one that the user named, or the one at
// a URL; nil if there is none, or if nobody will look at it. deferred tells that
// the server wants to be asked again once it has been asked for the image.
func (f *fetching) signature(ctx context.Context, address string) (sig []byte, deferred bool, err error) {
	if f.opt.Signature != "" {
		sig, err = readSignature(f.opt.Signature)
		return sig, false, err
	}
	if f.opt.InsecureImage || address == "" {
		return nil, false, nil
	}
	quiet := f.opt
	quiet.Progress = wire.ProgressNone
	file, sig, err := downloadSmall(ctx, quiet, address, wire.MaxSignature)
	if missing(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("its signature: %w", err)
	}
	return sig, file.Deferred, nil
}

// signatureAgain asks a second and last time for a deferred signature.
func (f *fetching) signatureAgain(ctx context.Context, address string) ([]byte, error) {
	sig, deferred, err := f.signature(ctx, address)
	if err == nil && deferred {
		err = errors.New("its signature: the server will have it later (202)")
	}
	return sig, err
}

// transfer brings the file at web.URL and unpacks it, going on where a download
// before this one broke off, if it is still the same file.
func (f *fetching) transfer(ctx context.Context, j *job, web wire.Web) (wire.File, error) {
	if err := f.beginWeb(j, &web); err != nil {
		return wire.File{}, err
	}
	h, reply, err := startWeb(ctx, f.opt, wire.URL, web)
	if err != nil {
		keep(j)
		return wire.File{}, err
	}
	defer h.close()
	file := reply.File
	switch {
	case file == nil || file.Size > maxACI || file.Offset != 0 && file.Offset != j.blob.Size():
		return wire.File{}, errNonsense
	case len(file.ETag) > wire.MaxValidator || len(file.Modified) > wire.MaxValidator:
		return wire.File{}, errNonsense
	case file.Unchanged:
		return *file, nil
	case file.Deferred:
		return wire.File{}, fmt.Errorf("the server will have %s later (202)", web.URL)
	case file.Offset == 0 && j.blob.Size() > 0: // another file by now
		if err := j.blob.Restart(); err != nil {
			return wire.File{}, err
		}
	}
	if err := f.know(j, web.URL, file.Validators); err != nil {
		return wire.File{}, err
	}
	r, _, err := h.want(ctx, wire.Want{ID: 1, Show: true, Blob: wire.Descriptor{Digest: title(web.URL), Size: file.Size}})
	if err != nil {
		return wire.File{}, err
	}
	lane := &bounded{r: r, left: maxACI - j.blob.Size()}
	spoilt := false
	err = f.importACI(ctx, j, lane, func() {
		spoilt = !lane.broke.Load() // the extractor wants no more of it
		h.closePipes()
	})
	if err == nil && file.Size >= 0 && j.blob.Size() != file.Size {
		err = fmt.Errorf("it ended after %d of %d bytes", j.blob.Size(), file.Size)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		if ctx.Err() != nil || lane.broke.Load() && !spoilt {
			keep(j)
		}
		return wire.File{}, err
	}
	if f.opt.Progress != wire.ProgressBars {
		return *file, nil // whether it is the right image is still to be seen
	}
	return *file, h.order(wire.Order{Done: &wire.Done{ID: 1}})
}

// beginWeb makes j's blob, or goes on with what an earlier download left.
func (f *fetching) beginWeb(j *job, web *wire.Web) (err error) {
	if !f.opt.certain(web.URL) { // whose bytes come now is not what a later fetch may build on
		j.blob, err = f.st.NewBlob()
		return err
	}
	if j.blob, err = f.st.ResumeBlob(web.URL, "sha256"); err != nil {
		return err
	}
	known := j.blob.Size() > 0 && json.Unmarshal([]byte(j.blob.Note()), &web.Partial) == nil && web.Partial != (wire.Validators{})
	if !known || j.blob.Size() > maxACI {
		web.Partial = wire.Validators{}
		return j.blob.Restart()
	}
	web.Offset = j.blob.Size()
	return nil
}

// keep leaves what came of a download that broke off to the next one, if the
// server gave something by which the file can be known again.
func keep(j *job) {
	if j.blob.Note() != "" {
		j.blob.Keep()
	}
}

// know notes with j's blob by what the file can be known again, whatever ends
// the download.
func (f *fetching) know(j *job, address string, v wire.Validators) error {
	if v == (wire.Validators{}) || !f.opt.certain(address) {
		return nil
	}
	note, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return j.blob.SetNote(string(note))
}

// bounded ends in an error once more than left bytes came; it notes whether r
// ended too early.
type bounded struct {
	r     io.Reader
	left  int64
	broke atomic.Bool
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it is longer than %d bytes", int64(maxACI))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // only itself is the good end
		b.broke.Store(true)
	}
	return n, err
}

// title is a URL's last part, for the eye.
func title(address string) string {
	address, _, _ = strings.Cut(address, "#")
	address, _, _ = strings.Cut(address, "?")
	name := address[strings.LastIndexByte(address, '/')+1:]
	if len(name) > 40 {
		name = name[:40]
	}
	return name
}
