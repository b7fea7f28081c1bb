// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/rkt/rkt/internal/plainjson/plainjsontest"
)

func frames() []Frame {
	return []Frame{
		{Kind: Hello, Payload: []byte("{}")}, {Kind: Run, Channel: 7, Payload: []byte("{}")}, {Kind: Started, Channel: 7},
		{Kind: Data, Channel: 1<<32 - 1, Stream: Stderr, Payload: bytes.Repeat([]byte("x"), MaxPayload)},
		{Kind: Credit, Stream: Stdout, Payload: Number(Window)}, {Kind: Resize, Payload: Size(24, 80)}, {Kind: Exited, Payload: []byte{255}},
		{Kind: End, Stream: Stdin}, {Kind: Failed, Payload: nil},
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, f := range frames() {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(iotest.OneByteReader(&b), MaxPayload)
	for _, want := range frames() {
		got, err := r.Read()
		if err != nil || got.Kind != want.Kind || got.Stream != want.Stream || got.Channel != want.Channel || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if f := frames()[4]; f.Taken() != Window {
		t.Errorf("credit of %d", f.Taken())
	}
	if rows, columns := (&Frame{Payload: Size(24, 80)}).Size(); rows != 24 || columns != 80 {
		t.Errorf("size %d, %d", rows, columns)
	}
}

// TestFramesRefused: each is refused for what it says, before what it announces
// has come.
func TestFramesRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"no kind":          {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"unknown kind":     {byte(last), 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"unknown stream":   {byte(Data), 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},
		"reserved bytes":   {byte(Data), 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1},
		"large":            {byte(Event), 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
		"empty data":       {byte(Data), 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"long exit":        {byte(Exited), 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2},
		"start with words": {byte(Started), 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2},
		"short credit":     {byte(Credit), 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3},
	} {
		if f, err := NewReader(bytes.NewReader(b), MaxPayload).Read(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	cut := (&Frame{Kind: Event, Payload: []byte("abc")}).Append(nil)
	if _, err := NewReader(bytes.NewReader(cut[:len(cut)-1]), MaxPayload).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
}

// FuzzReader: whatever a guest says is a frame that keeps to the limits, or an
// error; and what was read is what was written.
func FuzzReader(f *testing.F) {
	for _, fr := range frames() {
		f.Add(fr.Append(nil))
	}
	f.Add([]byte{byte(Data), 1, 0, 0, 0, 0, 0, 1, 0, 0, 0x80, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), MaxPayload)
		var again []byte
		for {
			fr, err := r.Read()
			if err != nil {
				break
			}
			if len(fr.Payload) > MaxPayload || fr.Stream > Stderr || fr.Kind == 0 || fr.Kind >= last {
				t.Fatalf("%+v", fr)
			}
			switch fr.Kind { // what these are asked without looking
			case Credit:
				_ = fr.Taken()
			case Resize:
				_, _ = fr.Size()
			case Exited, Signal:
				_ = fr.Payload[0]
			}
			again = fr.Append(again)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("read %x of %x", again, b)
		}
	})
}

func machineCodec() plainjsontest.Codec[Machine] {
	return plainjsontest.Codec[Machine]{Encode: func(m *Machine) ([]byte, error) { return m.Encode(), nil }, Decode: DecodeMachine}
}

func processCodec() plainjsontest.Codec[Process] {
	return plainjsontest.Codec[Process]{Encode: func(p *Process) ([]byte, error) { return p.Encode(), nil }, Decode: DecodeProcess}
}

func greetingCodec() plainjsontest.Codec[Greeting] {
	return plainjsontest.Codec[Greeting]{Encode: func(g *Greeting) ([]byte, error) { return g.Encode(), nil }, Decode: DecodeGreeting}
}

func TestMachineCodec(t *testing.T)   { machineCodec().Check(t) }
func TestProcessCodec(t *testing.T)   { processCodec().Check(t) }
func TestGreetingCodec(t *testing.T)  { greetingCodec().Check(t) }
func FuzzDecodeGreeting(f *testing.F) { greetingCodec().Fuzz(f) }
func FuzzDecodeProcess(f *testing.F)  { processCodec().Fuzz(f) }

// TestSending: no more is under way than there is room for.
func TestSending(t *testing.T) {
	in, out := io.Pipe()
	s := NewSending(NewWriter(out), 1, Stdout)
	done := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, Window+1))
		done <- err
	}()
	r := NewReader(in, MaxPayload)
	got := 0
	for got < Window {
		f, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		got += len(f.Payload)
	}
	if got != Window {
		t.Fatalf("%d bytes came, and there was room for %d", got, Window)
	}
	select {
	case err := <-done:
		t.Fatalf("it does not wait: %v", err)
	default:
	}
	if err := s.Credit(Window + 1); !errors.Is(err, ErrProtocol) {
		t.Errorf("room for more than was sent: %v", err)
	}
	if err := s.Credit(1); err != nil {
		t.Fatal(err)
	}
	if f, err := r.Read(); err != nil || len(f.Payload) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Close()
	if _, err := s.Write([]byte("x")); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// TestReceiving: what there is no room for is against the protocol.
func TestReceiving(t *testing.T) {
	r := NewReceiving()
	for range Window / MaxPayload {
		if err := r.Put(make([]byte, MaxPayload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Put([]byte("x")); !errors.Is(err, ErrProtocol) {
		t.Errorf("more than the window: %v", err)
	}
	b, ok := r.Next()
	if err := r.Put([]byte("x")); !ok || !errors.Is(err, ErrProtocol) {
		t.Errorf("what is not done with counts no more: %v", err)
	}
	r.Done(len(b))
	if err := r.Put([]byte("x")); err != nil {
		t.Error(err)
	}
	r.End()
	if err := r.Put([]byte("x")); !errors.Is(err, ErrProtocol) {
		t.Errorf("after the end: %v", err)
	}
	for range Window / MaxPayload {
		if _, ok := r.Next(); !ok {
			t.Fatal("what has come before the end is lost")
		}
	}
	if _, ok := r.Next(); ok {
		t.Error("there is no end")
	}
}
