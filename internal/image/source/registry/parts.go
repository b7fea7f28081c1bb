// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"io"
	"sync"

	"github.com/rkt/rkt/internal/image/fetch/wire"
)

// What is fetched in parts, and how much of it ahead of its turn.
const (
	partSize = 8 << 20 // bytes
	// splitFrom is the least that is fetched so, in parts.
	splitFrom = wire.InParts / partSize
	// maxAhead is how many parts, of all blobs together, may be under way or
	// waiting in memory before it is their turn. With one connection for each
	// lane this also bounds the connections.
	maxAhead = 4
)

// parts reads a large blob: what is due over one connection, and what follows
// over others at the same time, into memory. The bytes come out in their order,
// so that rkt can prove and unpack them as they flow; memory is what bounds how
// far others run ahead. That is all that parts of different origin have to do
// with each other: their sum has the digest asked for, or it is nothing.
type parts struct {
	im     *Image
	ctx    context.Context
	cancel context.CancelFunc
	blob   wire.Descriptor

	off    int64   // bytes handed out, and those that were not wanted
	due    *body   // nil: the first of queue is due
	ranged bool    // the server can give parts
	queue  []*part // what follows due, without gaps
	next   int64   // where the next part begins
}

// openParts asks for the first part, and so learns whether the server has parts
// to give.
func (im *Image) openParts(ctx context.Context, blob wire.Descriptor, off int64) (*parts, error) {
	p := &parts{im: im, blob: blob, off: off}
	p.ctx, p.cancel = context.WithCancel(ctx)
	if err := p.open(); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

// open makes due what begins at off; a server without parts answers with all of
// the rest.
func (p *parts) open() error {
	end := min(p.off+p.im.partSize, p.blob.Size)
	if len(p.queue) > 0 {
		end = p.queue[0].from
	}
	p.due = &body{im: p.im, ctx: p.ctx, blob: p.blob, off: p.off, end: end}
	if err := p.due.open(); err != nil {
		return err
	}
	p.see()
	return nil
}

// see looks what the server made of the last request: it may lose the ability
// to give parts with a change of mirrors.
func (p *parts) see() {
	p.ranged = p.due.ranged
	if p.due.end == p.blob.Size {
		p.forget()
	}
	if len(p.queue) == 0 {
		p.next = p.due.end
	}
}

// forget gives up everything that is fetched ahead.
func (p *parts) forget() {
	for _, q := range p.queue {
		q.giveUp()
	}
	p.queue = nil
}

// hurry starts as many parts ahead as may be.
func (p *parts) hurry() {
	for p.ranged && p.next < p.blob.Size {
		select {
		case buf := <-p.im.ahead:
			if buf == nil {
				buf = make([]byte, p.im.partSize)
			}
			q := startPart(p, buf, p.next, min(p.next+p.im.partSize, p.blob.Size))
			p.queue = append(p.queue, q)
			p.next = q.end
		default:
			return
		}
	}
}

func (p *parts) Read(b []byte) (int, error) {
	for {
		if p.off == p.blob.Size && p.due == nil {
			return 0, io.EOF
		}
		p.hurry()
		n, err := p.read(b)
		p.off += int64(n)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// read gives what is due; nothing, and no error, if that has just ended.
func (p *parts) read(b []byte) (int, error) {
	if p.due != nil {
		n, err := p.due.Read(b)
		if p.due.end == p.blob.Size {
			p.see() // mended by a server without parts, or the last one
		}
		if err == io.EOF { //nolint:errorlint // only itself is the good end
			p.due, err = nil, nil
		}
		return n, err
	}
	if len(p.queue) == 0 {
		return 0, p.open()
	}
	q := p.queue[0]
	n, err := q.Read(b)
	if err == nil {
		return n, nil
	}
	p.queue = p.queue[1:]
	q.giveUp()
	if err != io.EOF { //nolint:errorlint // only itself is the good end
		// Whatever happened to it, what is due is asked for with patience.
		err = p.open()
	} else {
		err = nil
	}
	return n, err
}

// Close gives all connections up.
func (p *parts) Close() error {
	p.cancel()
	p.forget()
	if p.due != nil {
		return p.due.Close()
	}
	return nil
}

// part is fetched ahead of its turn.
type part struct {
	from, end int64
	buf       []byte
	cancel    context.CancelFunc
	give      func() // buf back, once nobody writes to it
	off       int    // handed out

	mu   sync.Mutex
	cond *sync.Cond
	have int
	err  error // io.EOF once all is there
}

func startPart(p *parts, buf []byte, from, end int64) *part {
	ctx, cancel := context.WithCancel(p.ctx)
	q := &part{from: from, end: end, buf: buf, cancel: cancel}
	q.cond = sync.NewCond(&q.mu)
	filled := make(chan struct{})
	q.give = sync.OnceFunc(func() {
		go func() { <-filled; p.im.ahead <- buf }() // never blocks: it came from there
	})
	b := &body{im: p.im, ctx: ctx, blob: p.blob, off: from, end: end, ahead: true}
	go func() {
		defer close(filled)
		defer b.Close()
		q.fill(b)
	}()
	return q
}

func (q *part) fill(b *body) {
	for have := 0; ; {
		n, err := 0, io.EOF
		if have < int(q.end-q.from) {
			n, err = b.Read(q.buf[have:int(q.end-q.from)])
		}
		have += n
		if err == io.EOF && have < int(q.end-q.from) { //nolint:errorlint // only itself is the good end
			err = io.ErrUnexpectedEOF
		}
		q.mu.Lock()
		q.have, q.err = have, err
		q.mu.Unlock()
		q.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

// Read waits for bytes.
func (q *part) Read(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.have == q.off && q.err == nil {
		q.cond.Wait()
	}
	if q.have == q.off {
		return 0, q.err
	}
	n := copy(b, q.buf[q.off:q.have])
	q.off += n
	return n, nil
}

// giveUp ends the part, whatever became of it.
func (q *part) giveUp() {
	q.cancel()
	q.give()
}
