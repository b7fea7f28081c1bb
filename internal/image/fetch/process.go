// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/fetch/wall"
	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/linux/userns"
)

// pipeSize is what lanes may hold: with a megabyte the two sides take turns
// some hundred times a second, not some ten thousand.
const pipeSize = 1 << 20

// lanes is how many blobs travel at once.
const lanes = 4

// linger is how long a helper may take to end by itself once its pipes are
// closed, so that it leaves the terminal in order.
const linger = 2 * time.Second

// newPipe makes a pipe of pipeSize; less, if the user's quota is used up, only
// costs time.
func newPipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	_, _ = control(w, unix.F_SETPIPE_SZ, pipeSize)
	return r, w, nil
}

// control is fcntl without taking the descriptor out of the poller, as Fd would.
func control(f *os.File, cmd, arg int) (n int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := c.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, cmd, arg) })
	return n, errors.Join(cerr, err)
}

// helper is a running `fetch get`.
type helper struct {
	proc    *wall.Process
	mu      sync.Mutex // guards orders
	orders  *os.File
	answers *os.File
	replies *wire.Receiver
	files   []*os.File // rkt's ends of the lanes
	readers []*wire.LaneReader
	free    chan int // lanes at rest
}

// environment is what a helper that talks to the network may know of rkt's:
// where proxies and certificates are, and Go's own switches.
func environment() []string {
	var env []string
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG", "TERM", "COLUMNS"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// note tells the user what the walls lack.
func (o Options) note(text string) { o.say("%s", text) }

// startHelper starts the helper and sends it req. from is what a local image is
// read from, see local, nil for a registry's; scratch may be nil. Both stay the
// caller's. The caller calls close.
func startHelper(ctx context.Context, opt Options, req wire.Request, scratch, from *os.File) (*helper, error) {
	h := &helper{free: make(chan int, lanes)}
	c := wall.Command{Kind: wall.Get, Path: opt.Helper, Env: environment(), Note: opt.note}
	if from != nil {
		c.Kind = wall.Read
	}
	c.Args = []string{string(c.Kind)}
	if opt.Stderr != nil {
		c.Stderr = opt.Stderr
	}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	err := h.pipes(&theirs)
	if err == nil {
		c.Files = append(c.Files, theirs[0], theirs[1], nil)
		c.Files = append(c.Files, theirs[2:]...)
		if req.Scratch = scratch != nil; req.Scratch {
			c.Files = append(c.Files, scratch)
		}
		if from != nil {
			c.Files = append(c.Files, from)
		}
		h.proc, err = c.Start(ctx)
	}
	if err != nil {
		h.closePipes()
		return nil, err
	}
	h.replies = wire.NewReceiver(h.answers)
	req.Lanes = lanes
	if err := wire.Send(h.orders, req); err != nil {
		return nil, h.gone(h.close(), err)
	}
	return h, nil
}

// pipes makes all pipes; the helper's ends are appended to theirs in the order
// of its descriptors.
func (h *helper) pipes(theirs *[]*os.File) error {
	r, w, err := newPipe()
	if err != nil {
		return err
	}
	h.orders, *theirs = w, append(*theirs, r)
	if r, w, err = newPipe(); err != nil {
		return err
	}
	h.answers, *theirs = r, append(*theirs, w)
	for i := range lanes {
		if r, w, err = newPipe(); err != nil {
			return err
		}
		h.files, *theirs = append(h.files, r), append(*theirs, w)
		h.readers = append(h.readers, wire.NewLaneReader(r))
		h.free <- i
	}
	return nil
}

func (h *helper) closePipes() {
	for _, f := range append([]*os.File{h.orders, h.answers}, h.files...) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// close ends the helper, if it has not ended, and waits for it. The error is
// how it ended.
func (h *helper) close() error {
	h.closePipes()
	timer := time.AfterFunc(linger, h.proc.Kill)
	defer timer.Stop()
	return h.proc.Wait()
}

// root receives the top manifest or index.
func (h *helper) root() (wire.Root, error) {
	var reply wire.Reply
	err := h.replies.Receive(&reply)
	switch {
	case err != nil:
		return wire.Root{}, h.gone(nil, err)
	case reply.Err != nil:
		return wire.Root{}, reply.Err
	case reply.Root == nil:
		return wire.Root{}, errors.New("cannot understand the fetch helper's answer")
	}
	return *reply.Root, nil
}

// gone explains why the helper cannot be talked to.
func (h *helper) gone(ended, err error) error {
	if ended != nil {
		err = ended
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		return errors.New("the fetch helper ended unexpectedly")
	}
	return fmt.Errorf("lost the fetch helper: %w", err)
}

// order sends one order.
func (h *helper) order(o wire.Order) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := wire.Send(h.orders, o); err != nil {
		return h.gone(nil, err)
	}
	return nil
}

// want asks for a blob on a free lane, waiting for one. The blob must be read
// to its end, good or bad, before done gives the lane back.
func (h *helper) want(ctx context.Context, w wire.Want) (r io.Reader, done func(), err error) {
	if w.Lane, err = h.lane(ctx); err != nil {
		return nil, nil, err
	}
	return h.ask(w)
}

// lane waits for a free lane.
func (h *helper) lane(ctx context.Context) (int, error) {
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case lane := <-h.free:
		return lane, nil
	}
}

// ask is want on a lane that is free.
func (h *helper) ask(w wire.Want) (r io.Reader, done func(), err error) {
	h.readers[w.Lane].Next()
	if err := h.order(wire.Order{Want: &w}); err != nil {
		return nil, nil, err
	}
	return &carried{h, h.readers[w.Lane]}, func() { h.free <- w.Lane }, nil
}

// carried is a blob on a lane.
type carried struct {
	h *helper
	r io.Reader
}

// Read reports what the helper reported, or its end.
func (c *carried) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	var reported *wire.Error
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // only itself is the good end
		return n, err
	case errors.As(err, &reported):
		return n, reported
	}
	return n, c.h.gone(nil, err)
}

// extractor is a running `fetch unpack` or `fetch look`.
type extractor struct {
	proc   *wall.Process
	in     *os.File // the blob goes here
	result *os.File
	// inflate decompresses before the extractor; nil: it does so itself.
	inflate *inflation
}

// startExtractor starts unpacking a blob that begins with head and has size
// bytes into dir, which stays the caller's; without one an ACI is only looked at. The caller writes the blob to in,
// closes it, and calls wait.
func startExtractor(ctx context.Context, opt Options, req wire.UnpackRequest, dir *os.File, head []byte, size int64) (*extractor, error) {
	inR, inW, err := newPipe()
	if err != nil {
		return nil, err
	}
	x := &extractor{in: inW}
	inR, x.inflate, err = startInflater(ctx, opt, head, inR)
	defer inR.Close()
	if err != nil {
		_ = inW.Close()
		return nil, err
	}
	if x.inflate != nil {
		req.Compressed = max(size, 1)
	}
	req.Namespaced = !userns.Initial()
	var outW *os.File
	arg, err := json.Marshal(req)
	if err == nil {
		x.result, outW, err = os.Pipe()
	}
	if err == nil {
		defer outW.Close()
		c := wall.Command{Kind: wall.Unpack, Path: opt.Helper, Note: opt.note}
		c.Args = []string{string(c.Kind), string(arg)}
		// Nothing it says beside its result is of use to the user.
		c.Files = []*os.File{inR, nil, nil, dir, outW}
		if dir == nil {
			c.Kind, c.Files = wall.Look, []*os.File{inR, outW, nil}
			c.Args[0] = string(c.Kind)
		}
		x.proc, err = c.Start(ctx)
	}
	if err != nil {
		_ = inW.Close()
		if x.result != nil {
			_ = x.result.Close()
		}
		if x.inflate != nil {
			x.inflate.proc.Kill()
			_ = x.inflate.wait()
		}
		return nil, err
	}
	return x, nil
}

// kill ends the extractor at once.
func (x *extractor) kill() {
	x.proc.Kill()
	if x.inflate != nil {
		x.inflate.proc.Kill()
	}
}

// wait returns the result once the extractor has ended.
func (x *extractor) wait() (wire.UnpackResult, error) {
	_ = x.in.Close()
	var res wire.UnpackResult
	rerr := wire.NewReceiver(x.result).Receive(&res)
	_ = x.result.Close()
	werr := x.proc.Wait()
	var ierr error
	if x.inflate != nil {
		ierr = x.inflate.wait()
	}
	switch {
	case ierr != nil && rerr == nil && (res.Err == nil || res.Cut):
		return res, ierr // that is why
	case rerr == nil && res.Err != nil:
		return res, res.Err
	case rerr != nil && werr != nil:
		return res, fmt.Errorf("the extractor ended unexpectedly: %w", werr)
	case rerr != nil:
		return res, errors.New("the extractor ended without a result")
	}
	return res, nil
}
