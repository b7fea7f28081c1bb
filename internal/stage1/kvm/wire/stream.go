// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"sync"
)

// A Sending is the sender's side of a stream: it sends no more than the other has
// room for.
type Sending struct {
	w       *Writer
	channel uint32
	stream  byte

	mu   sync.Mutex
	cond *sync.Cond
	room int
	over bool
}

// NewSending sends the stream of a channel by w.
func NewSending(w *Writer, channel uint32, stream byte) *Sending {
	s := &Sending{w: w, channel: channel, stream: stream, room: Window}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// Write sends all of b, waiting for room; after Close it sends nothing.
func (s *Sending) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		s.mu.Lock()
		for s.room == 0 && !s.over {
			s.cond.Wait()
		}
		if s.over {
			s.mu.Unlock()
			return sent, ErrClosed
		}
		n := min(len(b), s.room, MaxPayload)
		s.room -= n
		s.mu.Unlock()
		if err := s.w.Write(Frame{Kind: Data, Channel: s.channel, Stream: s.stream, Payload: b[:n]}); err != nil {
			return sent, err
		}
		b, sent = b[n:], sent+n
	}
	return sent, nil
}

// End says that no more comes.
func (s *Sending) End() error {
	return s.w.Write(Frame{Kind: End, Channel: s.channel, Stream: s.stream})
}

// Credit gives room for n bytes. More than was sent is against the protocol.
func (s *Sending) Credit(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 || n > Window-s.room {
		return fmt.Errorf("%w: it took %d bytes of %d", ErrProtocol, n, Window-s.room)
	}
	s.room += n
	s.cond.Broadcast()
	return nil
}

// Close has waiting and later Writes give up.
func (s *Sending) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.cond.Broadcast()
}

// A Receiving is the receiver's side of a stream: a queue of what has arrived and
// was not taken yet, which the sender keeps below Window. It is read by one
// goroutine.
type Receiving struct {
	mu    sync.Mutex
	cond  *sync.Cond
	queue [][]byte
	held  int
	ended bool
}

// NewReceiving is an empty one.
func NewReceiving() *Receiving {
	r := &Receiving{}
	r.cond = sync.NewCond(&r.mu)
	return r
}

// Put adds what has arrived, which becomes its own. What no room was given for, or
// comes after the end, is against the protocol.
func (r *Receiving) Put(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.held+len(b) > Window {
		return fmt.Errorf("%w: data that there is no room for", ErrProtocol)
	}
	r.queue = append(r.queue, b)
	r.held += len(b)
	r.cond.Broadcast()
	return nil
}

// End says that no more comes. It may be said again.
func (r *Receiving) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.cond.Broadcast()
}

// Next waits for what comes next; ok is false at the end. What was returned counts
// against the window until Done.
func (r *Receiving) Next() (b []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.ended {
		r.cond.Wait()
	}
	if len(r.queue) == 0 {
		return nil, false
	}
	b = r.queue[0]
	r.queue = r.queue[1:]
	return b, true
}

// Done says that n bytes were taken, for which Credit is to be sent then.
func (r *Receiving) Done(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= n
}
