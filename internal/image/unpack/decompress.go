// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// zstdWindow is the largest window the zstd command accepts without being
	// told (--long=27); such a frame costs that much memory.
	zstdWindow = 128 << 20
	// xzMemory is what `xz` may take: preset -9 needs 65 MiB.
	xzMemory = "256MiB"
	// inflateRatio is the most that deflate can do: a layer in gzip needs no
	// counting of compressed bytes as long as Limits.Ratio is above it.
	inflateRatio = 1032
	pipeSize     = 1 << 20
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
	count *counter  // nil: the compressed bytes are not seen
	src   io.Reader // what finish drains; nil: nothing is left of it
	stop  func()
	wait  func() error // a child's end; nil if there is none
}

func (p *plainReader) counted() bool     { return p.count != nil }
func (p *plainReader) compressed() int64 { return p.count.n.Load() }

// Read tells of a child that died instead of io.EOF.
func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err == io.EOF && p.wait != nil {
		if werr := p.wait(); werr != nil {
			err = werr
		}
		p.wait = nil
	}
	return n, err
}

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
func decompress(ctx context.Context, r io.Reader, opt Options) (*plainReader, error) {
	if f, ok := r.(*os.File); ok && !opt.InProcess && opt.Limits.Ratio >= inflateRatio {
		if head, err := peek(f); err == nil && detect(head) == inGzip {
			if p := inflateChild(ctx, f, opt); p != nil {
				p.src = r
				return p, nil
			}
		}
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
		if child := feedChild(ctx, br, c, opt, "igzip", "unpigz"); child != nil {
			return child, nil
		}
		p.Reader, err = newMembers(br)
	case inZstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		p.Reader = z
	case inBzip2:
		p.Reader = bzip2.NewReader(br)
	case inXz:
		if child := feedChild(ctx, br, c, opt, "xz"); child != nil {
			return child, nil
		}
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

// peek looks at the first bytes of a pipe or a regular file and leaves them
// there. It fails where that cannot be done.
func peek(f *os.File) ([]byte, error) {
	b := make([]byte, magicLen)
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Mode().IsRegular() {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		n, err := f.ReadAt(b, at)
		if err == io.EOF {
			err = nil
		}
		return b[:n], err
	}
	if fi.Mode().Type() != os.ModeNamedPipe {
		return nil, errors.New("not a pipe")
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer pr.Close()
	defer pw.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int64
	var terr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, terr = unix.Tee(int(fd), int(pw.Fd()), magicLen, 0)
			if terr != unix.EINTR {
				break
			}
		}
		return terr != unix.EAGAIN
	})
	if err = errors.Join(err, terr); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(pr, b[:n])
	return b[:n], err
}

// child starts the first of names that is on PATH with in as its input. What it
// parses comes from a stranger: it gets no privilege and no environment. nil
// means that there is no such program, or that it may not be run.
func child(ctx context.Context, in *os.File, opt Options, names ...string) (out *os.File, wait func() error) {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		args := []string{"-dc"}
		if name == "xz" {
			args = append(args, "-T1", "--memlimit-decompress="+xzMemory)
		}
		pr, pw, err := os.Pipe()
		if err != nil {
			return nil, nil
		}
		widen(pr)
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = []string{"LC_ALL=C"}
		cmd.Dir = "/"
		cmd.Stdin, cmd.Stdout = in, pw
		var said tail
		cmd.Stderr = &said
		if os.Geteuid() == 0 && !opt.Rootless {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		err = cmd.Start()
		_ = pw.Close()
		if err != nil {
			_ = pr.Close()
			continue
		}
		return pr, func() error {
			err := cmd.Wait()
			if err == nil {
				return nil
			}
			if text := said.String(); text != "" {
				return fmt.Errorf("cannot decompress: %s (%s)", text, name)
			}
			return fmt.Errorf("cannot decompress: %s: %w", name, err)
		}
	}
	return nil, nil
}

// inflateChild gives the gzip stream in f to a child as it is.
func inflateChild(ctx context.Context, f *os.File, opt Options) *plainReader {
	ctx, cancel := context.WithCancel(ctx)
	out, wait := child(ctx, f, opt, "igzip", "unpigz")
	if out == nil {
		cancel()
		return nil
	}
	return newChildReader(out, wait, cancel)
}

// feedChild copies br into a child.
func feedChild(ctx context.Context, br *bufio.Reader, c *counter, opt Options, names ...string) *plainReader {
	if opt.InProcess {
		return nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	out, wait := child(ctx, pr, opt, names...)
	_ = pr.Close()
	if out == nil {
		cancel()
		_ = pw.Close()
		return nil
	}
	widen(pw)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		// A child that has enough of it leaves the rest to finish.
		_, _ = io.Copy(pw, struct{ io.Reader }{br})
		_ = pw.Close()
	}()
	p := newChildReader(out, func() error {
		err := wait()
		if err == nil {
			<-fed // br is finish's from now on
		}
		if f := c.failure(); f != nil {
			return f
		}
		return err
	}, cancel)
	p.count, p.src = c, br
	return p
}

func newChildReader(out *os.File, wait func() error, kill func()) *plainReader {
	once := sync.OnceValue(wait)
	return &plainReader{Reader: out, wait: once, stop: func() {
		kill()
		_ = out.Close()
		_ = once()
	}}
}

// widen makes a pipe as large as a user may; nothing is lost if that fails.
func widen(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// tail keeps the last line a child wrote, bounded.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 512; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, lines[len(lines)-1])
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
