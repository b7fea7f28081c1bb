// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"context"
	"errors"
	"hash"
	"io"
	"sync"
)

// The stream runs through three goroutines in a row: one inflates (or reads
// what another process inflated), one hashes, and the caller's parses and
// writes. Each hands whole buffers to the next.
const (
	chunkSize = 256 << 10
	chunks    = 12
)

// stream is the reading end of that row.
type stream struct {
	ctx    context.Context
	in     chan []byte // hashed buffers
	free   chan []byte
	whole  []byte // the current buffer
	rest   []byte // what is unread of it
	mu     sync.Mutex
	failed error // why in was closed early
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	s.failed = err
	s.mu.Unlock()
}

// startStream reads plain until its end, an error, or the end of ctx. The
// digest in h is complete once Read returned io.EOF.
func startStream(ctx context.Context, plain *plainReader, h hash.Hash, lim Limits) *stream {
	s := &stream{ctx: ctx, in: make(chan []byte, chunks), free: make(chan []byte, chunks)}
	raw := make(chan []byte, chunks)
	for range chunks {
		s.free <- nil // allocated when first used: most layers are small
	}
	go func() {
		defer close(raw)
		if err := s.pump(plain, raw, lim); err != io.EOF {
			s.fail(err)
		}
	}()
	go func() {
		defer close(s.in)
		for b := range raw {
			h.Write(b)
			s.in <- b // never blocks: as many places as buffers
		}
	}()
	return s
}

func (s *stream) pump(plain *plainReader, out chan<- []byte, lim Limits) error {
	var total int64
	for {
		var b []byte
		select {
		case b = <-s.free:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if b == nil {
			b = make([]byte, chunkSize)
		}
		b = b[:cap(b)]
		n, err := fill(plain, b)
		total += int64(n)
		switch {
		case total > lim.Bytes:
			return &LimitError{"bytes", lim.Bytes}
		case total > lim.RatioAt && total/lim.Ratio > plain.compressed():
			return &LimitError{"bytes for each compressed one", lim.Ratio}
		}
		if n > 0 {
			out <- b[:n]
		}
		if err != nil {
			return err
		}
	}
}

// fill reads until b is full or r fails; unlike io.ReadFull it leaves r's error
// as it is.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.whole != nil {
			s.free <- s.whole
			s.whole = nil
		}
		b, ok := <-s.in
		if !ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.failed != nil {
				return 0, s.failed
			}
			return 0, io.EOF
		}
		s.whole, s.rest = b, b
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// reason prefers why the stream ended early to what the tar reader made of it.
func (s *stream) reason(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil && !errors.Is(s.failed, context.Canceled) && errors.Is(err, io.ErrUnexpectedEOF) {
		return s.failed
	}
	return err
}
