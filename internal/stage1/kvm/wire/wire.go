// SPDX-License-Identifier: Apache-2.0

// Package wire is what rkt and the guest in a virtual machine say to each other,
// over one stream of bytes (a virtio serial port): frames, of processes in the
// guest and of their streams.
//
// The guest is not trusted. What it sends is bounded by MaxPayload a frame and, for
// each stream of each process, by Window; who reads may take any other for a
// reason to end the machine. No frame is answered with more than was asked for.
//
// A process has a channel, a number that the host chose. The host sends Run; the
// guest answers with Started or Failed and, in the end, Exited, after which the
// number may be used again. Data flows as Data frames: stream 0 to the process, 1
// and 2 from it. Who sends may have Window bytes of a stream under way; Credit says
// how many have been taken.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Version is the protocol's; it is in Hello.
const Version = 1

// Limits of a frame's payload, bytes: of what a guest sends, and of what it is
// sent (Boot has the pod's document).
const (
	MaxPayload = 32 << 10
	MaxBoot    = 8 << 20
)

// Window is how many bytes of a stream may be under way.
const Window = 128 << 10

// Kind says what a frame is.
type Kind byte

// The kinds of frames; payloads in parentheses.
const (
	// Boot is the first frame to the guest (Machine).
	Boot Kind = 1 + iota
	// Hello is the first frame from the guest (Greeting).
	Hello
	// Run starts a process (Process).
	Run
	// Started says that a process runs.
	Started
	// Failed says that it does not (text).
	Failed
	// Exited says how it ended (a byte).
	Exited
	// Data are bytes of a stream.
	Data
	// End says that a stream has no more; from who receives it, that nobody takes
	// any more.
	End
	// Credit says that bytes of a stream have been taken (4 bytes: how many).
	Credit
	// Resize is a terminal's size (rows and columns, 2 bytes each).
	Resize
	// Signal is for a process (a byte).
	Signal
	// Event is a line of the pod's events, with the guest's pids (text).
	Event
	last
)

// Streams of a process.
const (
	Stdin = iota
	Stdout
	Stderr
	streams
)

// A Frame is one message. Numbers are in the frame's own encoding, big-endian.
type Frame struct {
	Kind    Kind
	Stream  byte // of Data, End and Credit
	Channel uint32
	Payload []byte
}

// header: kind, stream, two zero bytes, channel, length of the payload.
const header = 12

// Append appends the frame's encoding to b.
func (f *Frame) Append(b []byte) []byte {
	b = append(b, byte(f.Kind), f.Stream, 0, 0)
	b = binary.BigEndian.AppendUint32(b, f.Channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
	return append(b, f.Payload...)
}

// ErrProtocol is what a peer says that does not keep to the protocol.
var ErrProtocol = errors.New("it does not keep to the protocol")

// A Reader takes frames from a stream. It is for one goroutine.
type Reader struct {
	r   *bufio.Reader
	max int
}

// NewReader reads frames with payloads of up to max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 16<<10), max: max}
}

// Read takes the next frame, whose payload is the caller's. io.EOF is an end
// between two frames. No more memory is taken than has arrived.
func (r *Reader) Read() (Frame, error) {
	var h [header]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(h[0]), Stream: h[1], Channel: binary.BigEndian.Uint32(h[4:])}
	n := binary.BigEndian.Uint32(h[8:])
	switch {
	case f.Kind == 0 || f.Kind >= last || h[2] != 0 || h[3] != 0 || f.Stream >= streams:
		return Frame{}, fmt.Errorf("%w: a frame of kind %d and stream %d", ErrProtocol, h[0], h[1])
	case int64(n) > int64(r.max):
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, n)
	case !f.fits(int(n)):
		return Frame{}, fmt.Errorf("%w: a frame of kind %d with %d bytes", ErrProtocol, f.Kind, n)
	}
	// In pieces: what is announced may never come.
	const piece = 64 << 10
	for left := int(n); left > 0; {
		k := min(left, piece)
		at := len(f.Payload)
		f.Payload = append(f.Payload, make([]byte, k)...)
		if _, err := io.ReadFull(r.r, f.Payload[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		left -= k
	}
	return f, nil
}

// fits tells whether a payload of n bytes goes with the frame's kind, which then
// need not ask again.
func (f *Frame) fits(n int) bool {
	switch f.Kind {
	case Exited, Signal:
		return n == 1
	case Credit, Resize:
		return n == 4
	case Started, End:
		return n == 0
	case Data:
		return n > 0 && n <= MaxPayload
	}
	return true
}

// A Writer sends frames. It is safe for use by several goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter sends frames to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends a frame, in one piece.
func (w *Writer) Write(f Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = f.Append(w.buf[:0])
	_, err := w.w.Write(w.buf)
	if cap(w.buf) > 2*MaxPayload {
		w.buf = nil
	}
	return err
}

// Number is the payload of Credit.
func Number(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// Taken is what a Credit frame says.
func (f *Frame) Taken() int { return int(binary.BigEndian.Uint32(f.Payload)) }

// Size is the payload of Resize.
func Size(rows, columns uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, rows), columns)
}

// Size is what a Resize frame says.
func (f *Frame) Size() (rows, columns uint16) {
	return binary.BigEndian.Uint16(f.Payload), binary.BigEndian.Uint16(f.Payload[2:])
}
