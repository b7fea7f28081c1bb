// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rkt/rkt/internal/hint"
)

// File makes the file path of what write writes, with the caller's own rights
// and umask. It must not exist, unless overwrite: then a regular file is
// replaced once the new one is whole. On error, and when ctx ends, path is as it
// was.
func File(ctx context.Context, path string, overwrite bool, write func(io.Writer) error) (err error) {
	f, target, err := create(path, overwrite)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(interruptible{ctx, f}, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && target != f.Name() {
		err = os.Rename(f.Name(), target)
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && pe.Path == f.Name() {
		err = fmt.Errorf("cannot write %q: %w", path, pe.Err)
	}
	return err
}

func create(path string, overwrite bool) (f *os.File, target string, err error) {
	if overwrite {
		switch fi, err := os.Stat(path); {
		case err == nil && !fi.Mode().IsRegular():
			return nil, "", fmt.Errorf("cannot write %q: it is there and is no regular file", path)
		case err == nil:
			// Through a link: what the user names is the file behind it.
			if target, err = filepath.EvalSymlinks(path); err != nil {
				return nil, "", fmt.Errorf("cannot write %q: %w", path, cause(err))
			}
			name := filepath.Join(filepath.Dir(target), ".rkt-export-"+strconv.FormatUint(rand.Uint64(), 36))
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
			if err != nil {
				return nil, "", fmt.Errorf("cannot write %q: %w", path, cause(err))
			}
			return f, target, nil
		}
	}
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, "", hint.Wrap(fmt.Errorf("cannot write %q: it exists already", path), "--overwrite replaces it")
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot write %q: %w", path, cause(err))
	}
	return f, path, nil
}

// interruptible ends a long copy when its context does.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, errors.New("interrupted")
	}
	return i.w.Write(p)
}

func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}
