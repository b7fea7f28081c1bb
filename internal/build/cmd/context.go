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

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/dockerfile"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/build/repository"
	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image/fetch"
)

// source is the directory that a build takes files from.
type source struct {
	dir string
	// text is the Dockerfile, if that is all that standard input had.
	text []byte
	// made: it is a copy of something, in work.
	made bool
	// work is where copies are: a build's own directory in the cache, so that the next
	// build removes what a killed one left.
	work *cache.Cache
}

// remove removes what was made.
func (s *source) remove() error {
	if s.work == nil {
		return nil
	}
	err := s.work.Close()
	s.work = nil
	return err
}

// scratch makes an empty directory for a copy.
func (s *source) scratch(cacheDir string) (dir string, err error) {
	if s.work == nil {
		if s.work, err = cache.Open(cacheDir); err != nil {
			return "", err
		}
	}
	s.made = true
	return s.work.Work()
}

// context finds CONTEXT: a directory as it is, a tar or a repository unpacked.
func (a *acbuild) context(ctx context.Context, word, cacheDir string, opt fetch.Options) (*source, error) {
	s := &source{}
	if err := a.findContext(ctx, s, word, cacheDir, opt); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use context %q: %w", word, err), s.remove())
	}
	return s, nil
}

func (a *acbuild) findContext(ctx context.Context, s *source, word, cacheDir string, opt fetch.Options) error {
	at, is, err := repository.Parse(word)
	switch {
	case err != nil:
		return err
	case is:
		return s.clone(ctx, at, cacheDir)
	case word == "-":
		return a.inputContext(ctx, s, cacheDir, opt)
	}
	if s.dir, err = filepath.Abs(word); err != nil {
		return err
	}
	if fi, err := os.Stat(s.dir); err != nil || !fi.Mode().IsRegular() {
		return nil // what is wrong with it is said later
	}
	f, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.unpack(ctx, f, cacheDir, opt)
}

// clone makes a directory of a repository's the context.
func (s *source) clone(ctx context.Context, at repository.Address, cacheDir string) error {
	dir, err := s.scratch(cacheDir)
	if err != nil {
		return err
	}
	if _, err := repository.Clone(ctx, at, dir); err != nil {
		return err
	}
	failpoint.Hit("cmd/context-made")
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		return err
	}
	s.dir, err = within(dir, at.Subdir)
	return err
}

// namedContexts finds what --build-context names: images are the build's to find,
// directories are here. What is unpacked of others goes with end.
func (a *acbuild) namedContexts(ctx context.Context, words map[string]string, cacheDir string, o *dockerfile.Options) (end func() error, err error) {
	var open []*source
	end = func() error {
		var err error
		for _, s := range open {
			err = errors.Join(err, s.remove())
		}
		return err
	}
	o.Contexts, o.Directories = map[string]string{}, map[string]dockerfile.Directory{}
	for name, word := range words {
		_, is, _ := repository.Parse(word)
		if !is && strings.Contains(word, ":") && !strings.HasPrefix(word, ".") && !strings.HasPrefix(word, "/") {
			o.Contexts[name] = word
			continue
		}
		if word == "-" {
			return end, fmt.Errorf("cannot use build context %q: standard input is the build's own", name)
		}
		s, err := a.context(ctx, word, cacheDir, o.Fetch)
		if err != nil {
			return end, err
		}
		open = append(open, s)
		o.Directories[name] = dockerfile.Directory{Path: s.dir, Made: s.made}
	}
	return end, nil
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
func (a *acbuild) inputContext(ctx context.Context, s *source, cacheDir string, opt fetch.Options) error {
	r := bufio.NewReaderSize(a.In, 4096)
	head, err := r.Peek(512)
	if err != nil && err != io.EOF { //nolint:errorlint // only itself
		return err
	}
	dir, err := s.scratch(cacheDir)
	if err != nil {
		return err
	}
	if !looksPacked(head) {
		s.dir = dir
		const most = 1 << 20
		if s.text, err = io.ReadAll(io.LimitReader(r, most+1)); err == nil && len(s.text) > most {
			err = fmt.Errorf("standard input is no tar, and for a Dockerfile it is larger than %d bytes", most)
		}
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	failpoint.Hit("cmd/context-read")
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.unpack(ctx, f, cacheDir, opt)
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

// unpack makes what is in a tar the context, by the helper that unpacks layers.
func (s *source) unpack(ctx context.Context, f *os.File, cacheDir string, opt fetch.Options) (err error) {
	if s.dir, err = s.scratch(cacheDir); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := fetch.UnpackTar(ctx, opt, f, d, false); err != nil {
		return err
	}
	failpoint.Hit("cmd/context-made")
	return nil
}

// inContext is the path of the Dockerfile: in a context that was unpacked all
// paths are of it.
func (s *source) inContext(file string) string {
	if !s.made || file == "" || file == "-" {
		return file
	}
	return filepath.Join(s.dir, strings.TrimPrefix(filepath.Clean("/"+file), "/"))
}
