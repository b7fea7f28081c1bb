// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/rkt/rkt/internal/image/fetch/wire"
	"github.com/rkt/rkt/internal/image/source/progress"
	"github.com/rkt/rkt/internal/image/source/registry"
)

// maxLanes is more than anybody needs.
const maxLanes = 64

// Get is `fetch get` and `fetch read`: it serves one request that comes on
// orders, as package wire describes, and returns when orders ends. Errors of the image go to rkt;
// what Get returns is that rkt itself cannot be talked to. Descriptor n of the
// process is opened by file.
func Get(ctx context.Context, orders io.Reader, replies, show io.Writer, file func(fd int) *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := wire.NewReceiver(orders)
	var req wire.Request
	if err := in.Receive(&req); err != nil {
		return fmt.Errorf("cannot read request: %w", err)
	}
	if req.Lanes < 1 || req.Lanes > maxLanes {
		return fmt.Errorf("cannot serve %d lanes", req.Lanes)
	}
	g := &getter{ctx: ctx, cancel: cancel, in: in, display: progress.New(req.Progress, show)}
	defer g.display.Close()
	for i := range req.Lanes {
		g.lanes = append(g.lanes, &lane{w: file(wire.FirstLane + i), wants: make(chan wire.Want, 1)})
	}
	next := wire.FirstLane + req.Lanes
	var scratch, from *os.File
	if req.Scratch {
		scratch = file(next)
		next++
	}
	if req.Kind != wire.Docker && !onWeb(req.Kind) {
		from = file(next)
	}

	// Orders are read from the start, so that rkt's going away stops whatever
	// is under way, reading the root too.
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- g.serve(ready) }()
	reply, err := g.answer(req, scratch, from)
	if err != nil {
		reply = wire.Reply{Err: wire.AsError(err)}
	}
	close(ready)
	if err := wire.Send(replies, reply); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return <-done
}

// Credentials is `fetch credentials`: it tells out what the user's configuration
// has for hosts. Its error is that rkt cannot be told.
func Credentials(ctx context.Context, hosts []string, out io.Writer) error {
	list, err := registry.Credentials(ctx, hosts)
	return wire.Send(out, wire.Credentials{List: list, Err: wire.AsError(err)})
}

type getter struct {
	ctx     context.Context //nolint:containedctx // the process's own
	cancel  context.CancelFunc
	in      *wire.Receiver
	src     source
	lanes   []*lane
	display *progress.Display
}

type lane struct {
	w     *os.File
	wants chan wire.Want
}

// onWeb tells the kinds of request that web servers answer.
func onWeb(kind string) bool { return kind == wire.Discovery || kind == wire.URL }

// answer does what the request asks for before anything is wanted.
func (g *getter) answer(req wire.Request, scratch, from *os.File) (wire.Reply, error) {
	if onWeb(req.Kind) {
		return g.ask(req)
	}
	src, err := open(req, scratch, from)
	if err != nil {
		return wire.Reply{}, err
	}
	g.src = src
	root, err := src.Root(g.ctx)
	return wire.Reply{Root: &root}, err
}

// serve passes orders to the lanes until there are no more. What rkt sends
// before it has its answer waits for ready.
func (g *getter) serve(ready <-chan struct{}) error {
	var lanes sync.WaitGroup
	for _, l := range g.lanes {
		lanes.Go(func() { g.run(l, ready) })
	}
	defer lanes.Wait()
	defer func() {
		for _, l := range g.lanes {
			close(l.wants)
		}
	}()
	for {
		var o wire.Order
		err := g.in.Receive(&o)
		switch {
		case errors.Is(err, io.EOF):
			// Transfers still under way are of no use to anybody.
			g.cancel()
			for _, l := range g.lanes {
				_ = l.w.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("cannot read order: %w", err)
		case o.Want != nil:
			if o.Want.Lane < 0 || o.Want.Lane >= len(g.lanes) {
				return fmt.Errorf("cannot serve lane %d", o.Want.Lane)
			}
			g.lanes[o.Want.Lane].wants <- *o.Want
		case o.Done != nil && o.Done.Present:
			g.display.Present(o.Done.Blob)
		case o.Done != nil:
			g.display.Done(o.Done.ID)
		}
	}
}

// run sends blobs over one lane. An error of the lane means that rkt is gone.
func (g *getter) run(l *lane, ready <-chan struct{}) {
	<-ready
	w := wire.NewLaneWriter(l.w)
	for want := range l.wants {
		if err := g.send(w, want); err != nil {
			break
		}
	}
	for range l.wants { // keep serve from blocking
	}
}

func (g *getter) send(w *wire.LaneWriter, want wire.Want) error {
	if g.src == nil {
		return w.Fail(errors.New("no image to read from"))
	}
	if want.Signatures {
		return g.sendSignatures(w, want.Blob.Digest)
	}
	r, err := g.src.Open(g.ctx, want)
	if err != nil {
		return w.Fail(err)
	}
	defer r.Close()
	var seen func(int)
	if want.Show {
		g.display.Start(want.ID, want.Blob)
		g.display.Add(want.ID, int(want.Offset))
		seen = func(n int) { g.display.Add(want.ID, n) }
	}
	return w.Copy(r, seen)
}

// sendSignatures sends what is said about signatures of a manifest where it
// came from.
func (g *getter) sendSignatures(w *wire.LaneWriter, digest string) error {
	src, ok := g.src.(interface {
		Signatures(ctx context.Context, digest string) (wire.Signatures, error)
	})
	if !ok {
		return w.Fail(errors.New("only registries have signatures"))
	}
	found, err := src.Signatures(g.ctx, digest)
	if err != nil {
		return w.Fail(err)
	}
	text, err := json.Marshal(found)
	if err != nil {
		return w.Fail(err)
	}
	return w.Copy(bytes.NewReader(text), nil)
}
