// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wall"
)

// Plain writes to w what the blob holds from its start on, decompressed by this
// machine's program for it, where there is one, or by the helper: rkt itself has
// no decompressor. What comes is a stranger's, and not bounded by how well it was
// compressed where the helper did not do it; the caller proves it.
func Plain(ctx context.Context, helper string, blob *os.File, w io.Writer) error {
	if _, err := blob.Seek(0, io.SeekStart); err != nil {
		return err
	}
	head := make([]byte, headSize)
	n, err := blob.ReadAt(head, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // only itself is the end
		return err
	}
	if c, ok := inflater(head[:n]); ok {
		err := filtered(ctx, c, blob, &counted{w: w, left: maxInflated})
		if !errors.Is(err, errNotStarted) {
			return err
		}
	}
	return filter(ctx, helper, wall.Plain, blob, w)
}

// maxInflated bounds what a blob may decompress to, bytes: as unpack.DefaultBytes.
const maxInflated = 100 << 30

// counted refuses more than left bytes.
type counted struct {
	w    io.Writer
	left int64
}

func (c *counted) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, fmt.Errorf("it decompresses to more than %d bytes", int64(maxInflated))
	}
	return c.w.Write(p)
}

// errNotStarted: nothing of the input was read.
var errNotStarted = errors.New("cannot start the program")

// Gzip writes to w what r holds, compressed by the helper.
func Gzip(ctx context.Context, helper string, r io.Reader, w io.Writer) error {
	return filter(ctx, helper, wall.Gzip, r, w)
}

// filter runs the helper as a filter.
func filter(ctx context.Context, helper string, kind wall.Kind, in io.Reader, w io.Writer) error {
	return filtered(ctx, wall.Command{Kind: kind, Path: helper, Args: []string{string(kind)}}, in, w)
}

// filtered runs c between in and w; its Files and Stderr are made here.
func filtered(ctx context.Context, c wall.Command, in io.Reader, w io.Writer) error {
	outR, outW, err := newPipe()
	if err != nil {
		return err
	}
	defer outR.Close()
	from, isFile := in.(*os.File)
	var inW *os.File
	if !isFile {
		if from, inW, err = newPipe(); err != nil {
			_ = outW.Close()
			return err
		}
	}
	said := new(tail)
	c.Files, c.Stderr = []*os.File{from, outW}, said
	proc, err := c.Start(ctx)
	_ = outW.Close()
	if !isFile {
		_ = from.Close()
	}
	if err != nil {
		if !isFile {
			_ = inW.Close()
		}
		return fmt.Errorf("%w: %w", errNotStarted, err)
	}
	fed := make(chan error, 1)
	if isFile {
		fed <- nil
	} else {
		go func() {
			_, err := io.Copy(inW, in)
			_ = inW.Close()
			fed <- err
		}()
	}
	_, cerr := io.Copy(w, outR)
	if cerr != nil {
		proc.Kill()
	}
	werr := proc.Wait()
	ferr := <-fed
	switch message := strings.TrimPrefix(said.String(), "fetch: "); {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case cerr != nil:
		return cerr
	case werr != nil && message != "":
		return errors.New(message)
	case werr != nil:
		return werr
	}
	return ferr
}
