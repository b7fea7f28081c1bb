// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindow is the largest window the zstd command accepts without being
	// told (--long=27); such a frame costs that much memory.
	zstdWindow = 128 << 20
)

// algorithm is a compression told by its first bytes.
type algorithm int

const (
	none algorithm = iota
	inGzip
	inZstd
	inBzip2
	inXz
)

// magicLen is how many bytes detect wants to see.
const magicLen = 10

// detect goes by the first bytes alone: media types are often wrong about it.
func detect(b []byte) algorithm {
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b, 8}):
		return inGzip
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(b) >= 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18}): // skippable frame
		return inZstd
	case bytes.HasPrefix(b, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return inXz
	// "BZh9" alone could begin a file name in a plain tar.
	case len(b) >= 10 && bytes.HasPrefix(b, []byte("BZh")) && b[3] >= '1' && b[3] <= '9' &&
		(string(b[4:10]) == "\x31\x41\x59\x26\x53\x59" || string(b[4:10]) == "\x17\x72\x45\x38\x50\x90"):
		return inBzip2
	}
	return none
}

// plainReader is the uncompressed stream with what stands behind it.
type plainReader struct {
	io.Reader
	count *counter  // of compressed bytes
	src   io.Reader // what finish drains; nil: nothing is left of it
	stop  func()
}

func (p *plainReader) compressed() int64 { return p.count.n.Load() }

// finish reads the source to its end, so that its writer is not cut off over
// bytes that follow the compressed stream.
func (p *plainReader) finish() error {
	p.stop()
	if p.src == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, p.src)
	return err
}

func (p *plainReader) abort() { p.stop() }

// counter counts what is read through it, and keeps its error: decompressors
// turn a failing source into "corrupt".
type counter struct {
	r   io.Reader
	n   atomic.Int64
	err atomic.Pointer[error]
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	if err != nil && err != io.EOF {
		c.err.Store(&err)
	}
	return n, err
}

func (c *counter) failure() error {
	if p := c.err.Load(); p != nil {
		return *p
	}
	return nil
}

// honest reports the source's failure rather than what the decompressor says.
type honest struct {
	io.Reader
	c *counter
}

func (h honest) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if err != nil {
		if f := h.c.failure(); f != nil {
			err = f
		}
	}
	return n, err
}

// decompress recognizes the compression of r and undoes it.
func decompress(r io.Reader, opt Options) (*plainReader, error) {
	if opt.Compressed > 0 {
		p := &plainReader{Reader: r, count: &counter{r: r}, stop: func() {}}
		p.count.n.Store(opt.Compressed)
		return p, nil
	}
	c := &counter{r: r}
	br := bufio.NewReaderSize(c, 128<<10)
	head, err := br.Peek(magicLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	p := &plainReader{count: c, src: br, stop: func() {}}
	switch detect(head) {
	case none:
		p.Reader, p.src = br, nil
		return p, nil
	case inGzip:
		p.Reader, err = newMembers(br)
	case inZstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		p.Reader = z
	case inBzip2:
		p.Reader = bzip2.NewReader(br)
	case inXz:
		p.Reader, err = newXz(br)
	}
	if err != nil {
		if f := c.failure(); f != nil {
			err = f
		}
		return nil, fmt.Errorf("cannot decompress: %w", err)
	}
	p.Reader = honest{p.Reader, c}
	return p, nil
}

// members reads a gzip stream of any number of members. What follows the last
// one and is no member is ignored, as gzip, pigz and igzip do, so that the same
// blob gives the same tree whichever of them is there.
type members struct {
	src *bufio.Reader
	z   *gzip.Reader
	end bool
}

func newMembers(src *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	z.Multistream(false)
	return &members{src: src, z: z}, nil
}

func (m *members) Read(p []byte) (int, error) {
	for {
		if m.end {
			return 0, io.EOF
		}
		n, err := m.z.Read(p)
		if err != io.EOF {
			return n, err
		}
		// Only something that begins like a member is one.
		if head, _ := m.src.Peek(3); detect(head) != inGzip {
			m.end = true
		} else if err := m.z.Reset(m.src); err != nil {
			return n, err
		} else {
			m.z.Multistream(false)
		}
		if n > 0 {
			return n, nil
		}
	}
}
