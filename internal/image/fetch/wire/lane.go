// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A lane carries blobs one after the other. A blob is a row of frames, each a
// big-endian 32-bit length and so many bytes; length 0 is the good end of the
// blob, and failure means that what follows is a frame with an Error as JSON,
// after which the lane is free again too.
const (
	MaxFrame        = 1 << 20
	failure  uint32 = 0xffffffff
	headSize        = 4
)

// LaneWriter writes blobs to a lane. Not safe for concurrent use.
type LaneWriter struct {
	w   io.Writer
	buf []byte // a frame with its head, so that each frame is one write
}

// NewLaneWriter writes to w.
func NewLaneWriter(w io.Writer) *LaneWriter { return &LaneWriter{w: w} }

// Copy sends all of r and the good end. If r fails, the reader of the lane is
// told and Copy returns nil: the lane remains usable. The error is that of the
// lane itself. Each frame's size is told to seen, if not nil.
func (l *LaneWriter) Copy(r io.Reader, seen func(int)) error {
	if l.buf == nil {
		l.buf = make([]byte, headSize+MaxFrame)
	}
	for {
		n, rerr := r.Read(l.buf[headSize:])
		if n > 0 {
			binary.BigEndian.PutUint32(l.buf, uint32(n))
			if _, err := l.w.Write(l.buf[:headSize+n]); err != nil {
				return err
			}
			if seen != nil {
				seen(n)
			}
		}
		if rerr == io.EOF { //nolint:errorlint // an error that wraps io.EOF is no good end
			return l.end()
		}
		if rerr != nil {
			return l.Fail(rerr)
		}
	}
}

func (l *LaneWriter) end() error {
	_, err := l.w.Write(make([]byte, headSize))
	return err
}

// Fail ends the blob with an error.
func (l *LaneWriter) Fail(cause error) error {
	text, err := json.Marshal(AsError(cause))
	if err != nil || len(text) > MaxFrame {
		text = []byte(`{"message":"unknown error"}`)
	}
	b := binary.BigEndian.AppendUint32(nil, failure)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	_, err = l.w.Write(append(b, text...))
	return err
}

// LaneReader reads blobs from a lane. Not safe for concurrent use.
type LaneReader struct {
	r    io.Reader
	left int
	err  error // of the current blob; cleared by Next
}

// NewLaneReader reads from r.
func NewLaneReader(r io.Reader) *LaneReader { return &LaneReader{r: r} }

// Next makes ready for the next blob. The last one must have been read to its
// end.
func (l *LaneReader) Next() { l.left, l.err = 0, nil }

// Read returns io.EOF at the blob's good end, an *Error if the helper reported
// one, and io.ErrUnexpectedEOF if the helper is gone.
func (l *LaneReader) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if l.left == 0 {
		if l.left, l.err = l.head(); l.err != nil {
			return 0, l.err
		}
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	if err != nil {
		l.err = lost(err)
		if n > 0 {
			return n, nil
		}
		return 0, l.err
	}
	return n, nil
}

func (l *LaneReader) head() (int, error) {
	n, err := l.length()
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	case n != failure && n <= MaxFrame:
		return int(n), nil
	case n != failure:
		return 0, fmt.Errorf("cannot read frame of %d bytes: at most %d", n, MaxFrame)
	}
	if n, err = l.length(); err != nil {
		return 0, err
	}
	if n > MaxFrame {
		return 0, fmt.Errorf("cannot read frame of %d bytes: at most %d", n, MaxFrame)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(l.r, text); err != nil {
		return 0, lost(err)
	}
	e := new(Error)
	if err := json.Unmarshal(text, e); err != nil {
		return 0, fmt.Errorf("cannot read frame: %w", err)
	}
	return 0, e
}

func (l *LaneReader) length() (uint32, error) {
	var b [headSize]byte
	if _, err := io.ReadFull(l.r, b[:]); err != nil {
		return 0, lost(err)
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

// lost turns the end of the pipe into an unexpected one.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
