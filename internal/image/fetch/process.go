// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image/fetch/wire"
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
	cmd     *exec.Cmd
	mu      sync.Mutex // guards orders
	orders  *os.File
	answers *os.File
	replies *wire.Receiver
	files   []*os.File // rkt's ends of the lanes
	readers []*wire.LaneReader
	free    chan int // lanes at rest
}

// command prepares the helper's program so that it does not outlive rkt: it is
// killed when rkt dies, and its pipes end.
func command(ctx context.Context, path string, arg ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, arg...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = linger
	return cmd
}

// startHelper starts the helper and sends it req. scratch may be nil and stays
// the caller's. The caller calls close.
func startHelper(ctx context.Context, opt Options, req wire.Request, scratch *os.File) (*helper, error) {
	h := &helper{free: make(chan int, lanes)}
	h.cmd = command(ctx, opt.Helper, "get")
	if opt.Stderr != nil {
		h.cmd.Stderr = opt.Stderr
	}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	err := h.pipes(&theirs)
	if err == nil {
		h.cmd.Stdin, h.cmd.Stdout = theirs[0], theirs[1]
		h.cmd.ExtraFiles = theirs[2:len(theirs):len(theirs)]
		if req.Scratch = scratch != nil; req.Scratch {
			h.cmd.ExtraFiles = append(h.cmd.ExtraFiles, scratch)
		}
		err = h.cmd.Start()
	}
	if err != nil {
		h.closePipes()
		return nil, helperError(opt.Helper, err)
	}
	h.replies = wire.NewReceiver(h.answers)
	req.Lanes = lanes
	if err := wire.Send(h.orders, req); err != nil {
		return nil, h.gone(h.close(), err)
	}
	return h, nil
}

func helperError(path string, err error) error {
	err = fmt.Errorf("cannot start %q: %w", path, err)
	if errors.Is(err, os.ErrNotExist) {
		err = hint.Wrap(err, "rkt's programs in libexec/rkt belong beside its bin directory")
	}
	return err
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
	timer := time.AfterFunc(linger, func() { _ = h.cmd.Process.Kill() })
	defer timer.Stop()
	return h.cmd.Wait()
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

// extractor is a running `fetch unpack`.
type extractor struct {
	cmd    *exec.Cmd
	in     *os.File // the blob goes here
	result *os.File
}

// startExtractor starts unpacking into dir, which stays the caller's. The
// caller writes the blob to in, closes it, and calls wait.
func startExtractor(ctx context.Context, opt Options, req wire.UnpackRequest, dir *os.File) (*extractor, error) {
	arg, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	inR, inW, err := newPipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		_, _ = inR.Close(), inW.Close()
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	x := &extractor{cmd: command(ctx, opt.Helper, "unpack", string(arg)), in: inW, result: outR}
	x.cmd.Stdin = inR
	x.cmd.ExtraFiles = []*os.File{dir, outW}
	// What igzip and its like say is of no use to the user; errors come as the
	// result.
	x.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	err = x.cmd.Start()
	_, _ = inR.Close(), outW.Close()
	if err != nil {
		_, _ = inW.Close(), outR.Close()
		return nil, helperError(opt.Helper, err)
	}
	return x, nil
}

// wait returns the result once the extractor has ended.
func (x *extractor) wait() (wire.UnpackResult, error) {
	_ = x.in.Close()
	var res wire.UnpackResult
	rerr := wire.NewReceiver(x.result).Receive(&res)
	_ = x.result.Close()
	werr := x.cmd.Wait()
	switch {
	case rerr == nil && res.Err != nil:
		return res, res.Err
	case rerr != nil && werr != nil:
		return res, fmt.Errorf("the extractor ended unexpectedly: %w", werr)
	case rerr != nil:
		return res, errors.New("the extractor ended without a result")
	}
	return res, nil
}
