// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// asked is an agent that remembers.
type asked struct {
	mu       sync.Mutex
	messages []string
}

func (a *asked) ask(_ context.Context, message []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages = append(a.messages, string(message))
	return append([]byte("answer to "), message...), nil
}

func listening(t *testing.T, ask Ask) *Forward {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Listen(dir, ask)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestForward: questions go through, and nothing else does.
func TestForward(t *testing.T) {
	a := &asked{}
	f := listening(t, a.ask)
	ask := Socket(f.Path)
	big := string(rune(signRequest)) + strings.Repeat("x", maxMessage-64)
	for message, want := range map[string]string{
		"\x0b": "answer to \x0b", "\x0dsign this": "answer to \x0dsign this", big: "answer to " + big,
		"\x11add": "\x05", "\x12remove": "\x05", "\x13": "\x05", "\x16lock": "\x05", "\x17unlock": "\x05", "\x1bextension": "\x05", "\x00": "\x05",
	} {
		got, err := ask(t.Context(), []byte(message))
		if err != nil || string(got) != want {
			t.Errorf("%.20q: %.20q, %v", message, got, err)
		}
	}
	if len(a.messages) != 3 {
		t.Errorf("the agent heard %d messages", len(a.messages))
	}
	if _, err := ask(t.Context(), bytes.Repeat([]byte{listRequest}, maxMessage+1)); err == nil {
		t.Error("a message without bound is answered")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ask(t.Context(), []byte{listRequest}); err == nil {
		t.Error("it answers after the end")
	}
}

// TestForwardEnds: neither a conversation nor an agent that waits for its user
// keeps it open, and more connections than there may be at once all have their turn.
func TestForwardEnds(t *testing.T) {
	waits := make(chan struct{})
	f := listening(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(waits)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	idle, err := dial(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	done := make(chan error, 1)
	go func() {
		_, err := Socket(f.Path)(context.Background(), []byte{listRequest})
		done <- err
	}()
	<-waits
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection is open: %v", err)
	}
	a := &asked{}
	f = listening(t, a.ask)
	defer f.Close()
	var all sync.WaitGroup
	for range 3 * maxConnections {
		all.Go(func() {
			if _, err := Socket(f.Path)(context.Background(), []byte{listRequest}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func FuzzReceive(f *testing.F) {
	for _, text := range []string{"", "\x00\x00\x00\x01\x0b", "\x00\x00\x00\x00", "\xff\xff\xff\xffx", "\x00\x00\x00\x09short"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		message, err := receive(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := send(&again, message); err != nil || !bytes.HasPrefix(text, again.Bytes()) {
			t.Errorf("%q was read as %q", text, message)
		}
	})
}
