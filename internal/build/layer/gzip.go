// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

// A gzip stream (RFC 1952) of one member, whose blocks are compressed at the
// same time. Where a block begins depends on the content alone, never on how
// many CPUs there are, so the same content always gives the same bytes, as long
// as the library is the same.
const (
	blockSize = 1 << 20
	window    = 32 << 10 // what deflate looks back to
	level     = flate.DefaultCompression
)

// Gzip compresses what is written to it into w, always to the same bytes. Close
// ends the stream, and leaves w open.
func Gzip(w io.Writer) io.WriteCloser { return newGzip(w) }

type gzipWriter struct {
	w      io.Writer
	buf    []byte // of the block that fills
	dict   []byte // the end of the block before
	crc    uint32
	size   uint32
	queue  chan chan []byte // compressed blocks, in order
	slots  chan struct{}
	done   chan error
	mu     sync.Mutex
	failed error
}

func newGzip(w io.Writer) *gzipWriter {
	n := max(runtime.GOMAXPROCS(0), 1)
	z := &gzipWriter{w: w, buf: make([]byte, 0, blockSize), queue: make(chan chan []byte, n), slots: make(chan struct{}, n), done: make(chan error, 1)}
	go z.write()
	return z
}

// write sends blocks out in their order.
func (z *gzipWriter) write() {
	_, err := z.w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	z.fail(err)
	for block := range z.queue {
		b := <-block
		if z.err() == nil {
			_, err := z.w.Write(b)
			z.fail(err)
		}
	}
	z.done <- z.err()
}

func (z *gzipWriter) fail(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.failed == nil {
		z.failed = err
	}
}

func (z *gzipWriter) err() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.failed
}

func (z *gzipWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if err := z.err(); err != nil {
			return written, err
		}
		n := min(len(p), blockSize-len(z.buf))
		z.buf = append(z.buf, p[:n]...)
		p, written = p[n:], written+n
		if len(z.buf) == blockSize {
			z.block(false)
		}
	}
	return written, nil
}

// block hands the buffer to a compressor.
func (z *gzipWriter) block(last bool) {
	z.crc = crc32.Update(z.crc, crc32.IEEETable, z.buf)
	z.size += uint32(len(z.buf))
	b, dict := z.buf, z.dict
	out := make(chan []byte, 1)
	z.slots <- struct{}{}
	z.queue <- out
	go func() {
		defer func() { <-z.slots }()
		out <- z.compress(b, dict, last)
	}()
	z.dict = b[max(0, len(b)-window):]
	z.buf = make([]byte, 0, blockSize)
}

// compress makes a run of deflate blocks that ends on a byte, or the stream.
func (z *gzipWriter) compress(b, dict []byte, last bool) []byte {
	var out sliceWriter
	f, err := flate.NewWriterDict(&out, level, dict)
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil && last {
		err = f.Close()
	} else if err == nil {
		err = f.Flush()
	}
	z.fail(err)
	return out
}

// Close writes what is left, and the end. It does not close the writer below.
func (z *gzipWriter) Close() error {
	z.block(true)
	close(z.queue)
	if err := <-z.done; err != nil {
		return err
	}
	end := binary.LittleEndian.AppendUint32(nil, z.crc)
	_, err := z.w.Write(binary.LittleEndian.AppendUint32(end, z.size))
	return err
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) { *s = append(*s, p...); return len(p), nil }
