// SPDX-License-Identifier: Apache-2.0

package rkt

import (
	"errors"
	"strings"
	"sync"
	"time"
)

// A transcript collects output and lets a test wait for words in it.
type transcript struct {
	mu     sync.Mutex
	text   strings.Builder
	seen   int // how far expect has read
	closed bool
	more   chan struct{} // closed and replaced when there is news
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(b)
	t.news()
	return len(b), nil
}

func (t *transcript) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.news()
}

// news wakes the waiters. Preconditions: t.mu is held.
func (t *transcript) news() {
	close(t.more)
	t.more = make(chan struct{})
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *transcript) expect(text string, patience time.Duration) error {
	late := time.After(patience)
	for {
		t.mu.Lock()
		if i := strings.Index(t.text.String()[t.seen:], text); i >= 0 {
			t.seen += i + len(text)
			t.mu.Unlock()
			return nil
		}
		closed, more := t.closed, t.more
		t.mu.Unlock()
		if closed {
			return errors.New("the output ended")
		}
		select {
		case <-more:
		case <-late:
			return errors.New("no such output in time")
		}
	}
}

// drain waits until the output has ended.
func (t *transcript) drain(patience time.Duration) {
	late := time.After(patience)
	for {
		t.mu.Lock()
		closed, more := t.closed, t.more
		t.mu.Unlock()
		if closed {
			return
		}
		select {
		case <-more:
		case <-late:
			return
		}
	}
}
