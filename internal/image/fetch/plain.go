// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/rkt/rkt/internal/image/fetch/wall"
)

// Plain writes to w what the blob holds, decompressed by the helper: rkt itself
// has no decompressor. What comes is a stranger's; the caller proves it.
func Plain(ctx context.Context, helper string, blob *os.File, w io.Writer) error {
	return filter(ctx, helper, wall.Plain, blob, w)
}

// Gzip writes to w what r holds, compressed by the helper.
func Gzip(ctx context.Context, helper string, r io.Reader, w io.Writer) error {
	return filter(ctx, helper, wall.Gzip, r, w)
}

// filter runs the helper as a filter.
func filter(ctx context.Context, helper string, kind wall.Kind, in io.Reader, w io.Writer) error {
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
	c := wall.Command{Kind: kind, Path: helper, Args: []string{string(kind)}, Files: []*os.File{from, outW}, Stderr: said}
	proc, err := c.Start(ctx)
	_ = outW.Close()
	if !isFile {
		_ = from.Close()
	}
	if err != nil {
		if !isFile {
			_ = inW.Close()
		}
		return err
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
