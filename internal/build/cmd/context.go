// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/repository"
	"github.com/rkt/rkt/internal/image/fetch"
)

// source is the directory that a build takes files from.
type source struct {
	dir string
	// text is the Dockerfile, if that is all that standard input had.
	text []byte
	// made: it is a copy of something, to be removed.
	made string
}

func (s source) remove() error {
	if s.made == "" {
		return nil
	}
	return os.RemoveAll(s.made)
}

// context finds CONTEXT: a directory as it is, a tar or a repository unpacked.
func (a *acbuild) context(ctx context.Context, word string, opt fetch.Options) (s source, err error) {
	at, is, err := repository.Parse(word)
	switch {
	case err != nil:
		return s, err
	case is:
		if s.made, _, err = repository.Clone(ctx, at); err != nil {
			return s, err
		}
		err = os.RemoveAll(filepath.Join(s.made, ".git"))
		if err == nil {
			s.dir, err = within(s.made, at.Subdir)
		}
	case word == "-":
		s, err = a.inputContext(ctx, opt)
	default:
		if s.dir, err = filepath.Abs(word); err != nil {
			return s, err
		}
		if fi, serr := os.Stat(s.dir); serr != nil || !fi.Mode().IsRegular() {
			return s, nil // what is wrong with it is said later
		}
		f, oerr := os.Open(s.dir)
		if oerr != nil {
			return s, fmt.Errorf("cannot open the context: %w", oerr)
		}
		defer f.Close()
		s, err = tarContext(ctx, f, opt)
	}
	if err != nil {
		return s, errors.Join(fmt.Errorf("cannot use context %q: %w", word, err), s.remove())
	}
	return s, nil
}

// within is the path of a directory below dir, whatever links lead there.
func within(dir, sub string) (string, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	real, there, err := engine.Resolve(fd, sub)
	if err == nil && there < len(real) {
		err = fmt.Errorf("%q is not in it", sub)
	}
	return filepath.Join(append([]string{dir}, real...)...), err
}

// inputContext takes standard input, as docker does, for a tar if it looks so and
// else for a Dockerfile, which has no files beside it.
func (a *acbuild) inputContext(ctx context.Context, opt fetch.Options) (s source, err error) {
	r := bufio.NewReaderSize(a.In, 4096)
	head, err := r.Peek(512)
	if err != nil && err != io.EOF { //nolint:errorlint // only itself
		return s, err
	}
	if !looksPacked(head) {
		const most = 1 << 20
		if s.text, err = io.ReadAll(io.LimitReader(r, most+1)); err == nil && len(s.text) > most {
			err = fmt.Errorf("standard input is no tar, and for a Dockerfile it is larger than %d bytes", most)
		}
		if err == nil {
			s.made, err = os.MkdirTemp("", "acbuild-context-")
			s.dir = s.made
		}
		return s, err
	}
	f, err := os.CreateTemp("", "acbuild-context-")
	if err != nil {
		return s, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return s, err
	}
	if _, err := io.Copy(f, r); err != nil {
		return s, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return s, err
	}
	return tarContext(ctx, f, opt)
}

// looksPacked: a tar, or something compressed.
func looksPacked(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return len(head) > 262 && string(head[257:262]) == "ustar"
}

// tarContext unpacks a tar, in the helper that unpacks layers.
func tarContext(ctx context.Context, f *os.File, opt fetch.Options) (s source, err error) {
	if s.made, err = os.MkdirTemp("", "acbuild-context-"); err != nil {
		return s, err
	}
	s.dir = s.made
	d, err := os.Open(s.dir)
	if err != nil {
		return s, err
	}
	defer d.Close()
	return s, fetch.UnpackTar(ctx, opt, f, d, false)
}

// inContext is the path of the Dockerfile: in a context that was unpacked all
// paths are of it.
func (s source) inContext(file string) string {
	if s.made == "" || file == "" || file == "-" {
		return file
	}
	return filepath.Join(s.dir, strings.TrimPrefix(filepath.Clean("/"+file), "/"))
}
