// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/ref"
	"github.com/rkt/rkt/internal/image/settle"
	"github.com/rkt/rkt/internal/image/store"
)

// job is one layer that the store lacks: its blob, its tree, or the proof that
// the one gives the other.
type job struct {
	id     int
	layer  image.Layer
	stored bool // the blob is there
	format string
	hidden bool // the image needs no tree of it
	pieces bool // the blob is of several origins

	blob   *store.BlobWriter
	tree   *store.LayerDir
	result wire.UnpackResult
}

// abort gives up what is not committed.
func (j *job) abort() {
	if j.blob != nil {
		j.blob.Abort()
	}
	if j.tree != nil {
		_ = j.tree.Abort()
	}
}

// leave is abort after err, but for what the next fetch of the layer can go on
// with.
func (j *job) leave(err error) {
	if j.blob != nil && !final(err) {
		j.blob.Keep()
	}
	j.abort()
}

// final tells whether to try again is to fail again, so that what was received
// is of no use: the registry refuses, the image is wrong, the disk is full. What
// may pass is a network, a server or a process that broke down.
func final(err error) bool {
	var reported *wire.Error
	var wrong *wrongError
	return errors.As(err, &reported) && reported.Refused || errors.As(err, &wrong) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// wrongError is that of an image which is not what its documents say.
type wrongError struct{ error }

func (e *wrongError) Unwrap() error { return e.error }

func wrong(format string, args ...any) error { return &wrongError{fmt.Errorf(format, args...)} }

// errCorrupt is in the error of a blob with another digest than was asked for.
var errCorrupt = errors.New("the download is corrupt")

// plan lists the jobs for layers, one per blob, biggest first so that the last
// one running is a small one, and those that need nothing.
func (f *fetching) plan(layers []image.Layer, known map[pair]settle.Facts) (jobs []*job, present []image.Layer, err error) {
	seen := map[image.Digest]image.Digest{}
	for _, l := range layers {
		if id, ok := seen[l.Blob]; ok {
			if id != l.DiffID {
				return nil, nil, fmt.Errorf("layer %s cannot have two diff IDs", l.Blob)
			}
			continue
		}
		seen[l.Blob] = l.DiffID
		size, stored := f.st.HasBlob(l.Blob)
		if stored && size != l.Size {
			return nil, nil, fmt.Errorf("layer %s is %d bytes long, the manifest says %d", l.Blob, size, l.Size)
		}
		_, ok := known[pair{l.Blob, l.DiffID}]
		if stored && (ok && f.st.HasLayer(l.DiffID) || !f.st.Trees()) {
			present = append(present, l)
			continue
		}
		jobs = append(jobs, &job{layer: l, stored: stored, format: wire.FormatLayer})
	}
	slices.SortStableFunc(jobs, func(a, b *job) int { return cmp.Compare(b.layer.Size, a.layer.Size) })
	for i, j := range jobs {
		j.id = i + 1
	}
	return jobs, present, nil
}

// pair is a blob and the tree it unpacks to.
type pair struct{ blob, diffID image.Digest }

// known lists which blobs unpack to which trees, and what is known of those:
// by the records of stored images. A manifest's word is not enough, or an image
// could put another image's tree under itself by naming its diff ID.
func (f *fetching) known() (map[pair]settle.Facts, error) {
	all, err := f.st.List()
	if err != nil {
		return nil, err
	}
	pairs := map[pair]settle.Facts{}
	for _, r := range all {
		if r.Claimed {
			continue
		}
		for _, l := range slices.Concat(r.Layers, r.Parts) {
			if l.MediaType == settle.MediaType || l.MediaType == RenderedMediaType {
				continue // its blob tells how the tree was made, and unpacks to nothing
			}
			if facts, ok := recordedFacts(r, l.DiffID); ok {
				pairs[pair{l.Blob, l.DiffID}] = facts
			}
		}
	}
	return pairs, nil
}

// run does all jobs, as many at once as lanes and unpackers allow. On error
// everything is aborted; on success the jobs' blobs and trees are proven and
// wait for commit.
func (f *fetching) run(ctx context.Context, h *helper, jobs []*job) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, f.opt.unpackers())
	var all sync.WaitGroup
	for _, j := range jobs {
		all.Go(func() {
			if err := f.do(ctx, h, j, slots); err != nil {
				cancel(fmt.Errorf("layer %s: %w", j.layer.Blob.ID().Short(), err))
			}
		})
	}
	// What waits for a lane's next byte is woken by closing it.
	stop := context.AfterFunc(ctx, func() {
		if h != nil {
			h.closePipes()
		}
	})
	all.Wait()
	stop()
	if err := context.Cause(ctx); err != nil {
		for _, j := range jobs {
			j.leave(err)
		}
		return err
	}
	return nil
}

// do brings one layer. A blob that came in several pieces, from an earlier fetch
// or over several connections, and is corrupt, is fetched once more in one.
func (f *fetching) do(ctx context.Context, h *helper, j *job, slots chan struct{}) error {
	err := f.bring(ctx, h, j, slots, false)
	if errors.Is(err, errCorrupt) && j.pieces && ctx.Err() == nil {
		f.opt.say("layer %s: %v; fetching it again", j.layer.Blob.ID().Short(), err)
		j.abort()
		err = f.bring(ctx, h, j, slots, true)
	}
	return err
}

// bring gets j's blob from the helper, unless it is stored, and its tree from
// the blob while that is still growing.
func (f *fetching) bring(ctx context.Context, h *helper, j *job, slots chan struct{}, whole bool) error {
	file, grow := (*os.File)(nil), newGrowing()
	received := make(chan error, 1)
	if j.stored {
		var err error
		if file, err = f.st.OpenBlob(j.layer.Blob); err != nil {
			return err
		}
		grow.grown(int(j.layer.Size))
		grow.end(nil)
		received <- nil
	} else {
		if h == nil {
			return errors.New("its blob is not in the store")
		}
		lane, err := h.lane(ctx)
		if err != nil {
			return err
		}
		if err := f.begin(j); err != nil {
			return err
		}
		if file, err = j.blob.Reader(); err != nil {
			return err
		}
		have := j.blob.Size()
		if have > 0 && f.opt.Progress != wire.ProgressNone {
			f.opt.say("layer %s: going on after %d of %d bytes", j.layer.Blob.ID().Short(), have, j.layer.Size)
		}
		grow.grown(int(have))
		j.pieces = have > 0 || f.ref.Kind == ref.Docker && j.layer.Size >= wire.InParts
		if have == j.layer.Size && have > 0 {
			h.free <- lane
			grow.end(nil)
			received <- verify(j.blob, j.layer)
		} else {
			r, done, err := h.ask(wire.Want{ID: j.id, Lane: lane, Show: true, Offset: have, Whole: whole, Blob: wire.Descriptor{
				MediaType: j.layer.MediaType, Digest: string(j.layer.Blob), Size: j.layer.Size}})
			if err != nil {
				_ = file.Close()
				return err
			}
			go func() {
				err := f.download(ctx, j, r, grow)
				if err == nil || errors.Is(err, errCorrupt) {
					done() // the lane was read to the blob's end
				}
				received <- err
			}()
		}
	}
	defer file.Close()
	var uerr error
	if f.st.Trees() || j.format == wire.FormatACI {
		uerr = f.unpack(ctx, j, file, grow, slots)
	}
	// If the blob is corrupt, that is what the user must hear, not what the
	// extractor made of it: so the download is always seen to its end.
	derr := <-received
	var verdict *wire.Error
	switch {
	case derr != nil:
		return derr
	case errors.As(uerr, &verdict):
		return &wrongError{uerr} // the same bytes give the same verdict
	case uerr != nil:
		return uerr
	case j.tree == nil && j.result.DiffID == "": // root unpacks it when it first uses the image
	case j.result.DiffID != string(j.layer.DiffID):
		return wrong("it unpacks to %s, the image's configuration says %s", short(j.result.DiffID), short(string(j.layer.DiffID)))
	}
	j.layer.TreeSize = j.result.TreeSize
	for _, note := range j.result.Notes {
		f.opt.say("layer %s: %s", j.layer.Blob.ID().Short(), wire.Printable(note))
	}
	if h != nil {
		return h.order(wire.Order{Done: &wire.Done{ID: j.id}})
	}
	return nil
}

// begin makes j's blob, or goes on with what an earlier fetch left of it. A
// local file is not worth it.
func (f *fetching) begin(j *job) (err error) {
	if f.ref.Kind != ref.Docker || j.layer.Size < store.MinPartial {
		j.blob, err = f.st.NewBlobAlgo(j.layer.Blob.Algorithm())
		return err
	}
	if j.blob, err = f.st.ResumeBlob(string(j.layer.Blob), j.layer.Blob.Algorithm()); err != nil {
		return err
	}
	if j.blob.Size() > j.layer.Size {
		return j.blob.Restart()
	}
	return nil
}

// download receives j's blob and proves it.
func (f *fetching) download(ctx context.Context, j *job, r io.Reader, grow *growing) error {
	if err := receive(ctx, j.blob, r, j.layer.Size, grow); err != nil {
		return err
	}
	return verify(j.blob, j.layer)
}

// verify compares what was received with what the manifest says.
func verify(b *store.BlobWriter, want image.Layer) error {
	if b.Size() != want.Size {
		return fmt.Errorf("it ended after %d of %d bytes", b.Size(), want.Size)
	}
	if got := b.Digest(); got != want.Blob {
		return wrong("%w: its digest is %s", errCorrupt, short(string(got)))
	}
	return nil
}

// unpack feeds a blob to an extractor as soon as one of slots is free.
func (f *fetching) unpack(ctx context.Context, j *job, file *os.File, grow *growing, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var dir *os.File
	if f.st.Trees() { // else it is an ACI, whose ID and manifest are wanted
		var err error
		if j.tree, err = f.st.NewLayer(); err != nil {
			return err
		}
		dir = j.tree.File()
	}
	x, err := startExtractor(ctx, f.opt, wire.UnpackRequest{Format: j.format}, dir, head(file, grow), j.layer.Size)
	if err != nil {
		return err
	}
	ferr := feed(x.in, file, grow)
	if ferr != nil {
		x.kill() // it must not take a torn blob for a whole one
	}
	res, err := x.wait()
	if ferr != nil {
		return ferr
	}
	j.result = res
	return err
}

// commit stores what jobs brought: first all blobs, then all trees.
func commit(st *store.Store, jobs []*job) error {
	defer func() {
		for _, j := range jobs {
			j.abort()
		}
	}()
	var trees []*store.LayerDir
	for _, j := range jobs {
		if !j.hidden && j.tree != nil {
			trees = append(trees, j.tree)
		}
	}
	// The blobs' file system is most often the same: their own syncs find
	// nothing left to do then.
	if err := st.SyncLayers(trees); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.blob == nil {
			continue
		}
		if err := j.blob.Commit(j.layer.Blob, j.layer.Size); err != nil {
			return err
		}
	}
	for _, j := range jobs {
		if j.hidden || j.tree == nil {
			continue
		}
		if err := j.tree.Commit(j.layer.DiffID); err != nil {
			return err
		}
	}
	return nil
}

func short(digest string) string {
	if d, err := image.ParseDigest(digest); err == nil {
		return d.ID().Short()
	}
	return fmt.Sprintf("%q", digest)
}
