// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/store"
)

// bufferSize is what is read from a lane at once.
const bufferSize = 512 << 10

// growing says how much of a blob's file is written, to whoever reads behind
// the writer.
type growing struct {
	mu   sync.Mutex
	cond *sync.Cond
	size int64
	done bool
	err  error
}

func newGrowing() *growing {
	g := &growing{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// grown tells that n more bytes are there.
func (g *growing) grown(n int) {
	g.mu.Lock()
	g.size += int64(n)
	g.mu.Unlock()
	g.cond.Broadcast()
}

// end tells that no more will come; err says why if that is too early.
func (g *growing) end(err error) {
	g.mu.Lock()
	g.done, g.err = true, err
	g.mu.Unlock()
	g.cond.Broadcast()
}

// after waits until there is more than off, and returns how much there is:
// off itself at the end.
func (g *growing) after(off int64) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.size == off && !g.done {
		g.cond.Wait()
	}
	return g.size, g.err
}

// receive copies r into w, at most size bytes if size is not negative, and
// tells g.
func receive(ctx context.Context, w *store.BlobWriter, r io.Reader, size int64, g *growing) (err error) {
	defer func() { g.end(err) }()
	buf := make([]byte, bufferSize)
	for {
		n, rerr := r.Read(buf)
		if n > 0 {
			if size >= 0 && w.Size()+int64(n) > size {
				return wrong("it is longer than the manifest says (%d bytes)", size)
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			g.grown(n)
		}
		switch {
		case rerr == io.EOF: //nolint:errorlint // only itself is the good end
			return nil
		case rerr != nil:
			return rerr
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// feed gives the blob in f to an extractor's pipe while it grows. The pages go
// from the page cache into the pipe without being copied. A reader that is
// gone is no error here: its result tells.
func feed(w, f *os.File, g *growing) error {
	conn, err := w.SyscallConn()
	if err != nil {
		return err
	}
	in, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var off int64
	for {
		have, err := g.after(off)
		if err != nil {
			return err
		}
		if have == off {
			return nil
		}
		for off < have {
			var n int64
			var serr, werr error
			err := in.Control(func(src uintptr) {
				werr = conn.Write(func(dst uintptr) bool {
					n, serr = unix.Splice(int(src), &off, int(dst), nil, int(min(have-off, pipeSize)), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
					return !errors.Is(serr, unix.EAGAIN)
				})
			})
			if err = cmp.Or(err, werr, serr); err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			switch {
			case err == nil:
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed):
				return nil
			case err != nil:
				return fmt.Errorf("cannot read stored blob: %w", err)
			}
		}
	}
}
