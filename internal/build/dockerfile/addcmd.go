// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/repository"
	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image/fetch"
)

// maxDownload bounds what ADD gets from a URL, bytes: it is kept in memory.
const maxDownload = 512 << 20

// addFiles is ADD.
func (s *stage) addFiles(ctx context.Context, cmd *instructions.AddCommand) error {
	c := &copying{s: s, verb: "ADD", from: s.b.context, chown: cmd.Chown, chmod: cmd.Chmod, link: cmd.Link,
		exclude: cmd.ExcludePatterns, dest: cmd.DestPath}
	defer c.close()
	if err := c.prepare(); err != nil {
		return err
	}
	for _, p := range cmd.SourcePaths {
		at, isRepository, err := repository.Parse(p)
		switch {
		case err != nil:
		case isRepository:
			err = c.clone(ctx, at, cmd)
		case isURL(p):
			err = c.download(ctx, p, cmd)
		default:
			if cmd.Checksum != "" {
				return errors.New("--checksum goes with a URL")
			}
			if err = c.add(p); err == nil && (cmd.Unpack == nil || *cmd.Unpack) {
				err = c.unpackLast(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, content := range cmd.SourceContents {
		if err := c.inline(content); err != nil {
			return err
		}
	}
	return c.do()
}

func isURL(p string) bool {
	return strings.HasPrefix(p, "http://") || strings.HasPrefix(p, "https://")
}

// clone gets the files of a repository.
func (c *copying) clone(ctx context.Context, at repository.Address, cmd *instructions.AddCommand) error {
	dir, err := c.s.b.cache.Work()
	if err != nil {
		return err
	}
	commit, err := repository.Clone(ctx, at, dir)
	if err != nil {
		return err
	}
	failpoint.Hit("dockerfile/cloned")
	if cmd.Checksum != "" && cmd.Checksum != commit {
		return fmt.Errorf("%s is commit %s, not %s", at.URL, commit, cmd.Checksum)
	}
	if cmd.KeepGitDir == nil || !*cmd.KeepGitDir {
		if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
			return err
		}
	}
	f, err := openPlain(dir, at.URL)
	if err != nil {
		return err
	}
	c.cleanup = append(c.cleanup, f.close)
	from := c.from
	c.from = f
	defer func() { c.from = from }()
	return c.add("/" + at.Subdir)
}

// download gets a file, in the helper that may talk to the network.
func (c *copying) download(ctx context.Context, address string, cmd *instructions.AddCommand) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("cannot add %q: %w", address, err)
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		if strings.HasSuffix(c.dest, "/") {
			return fmt.Errorf("cannot add %q: it has no file name, and %s is a directory", address, c.dest)
		}
		name = "file"
	}
	o := c.s.b.o.Fetch
	o.InsecureHTTP = true // asked for by its scheme, and no more than that
	text, err := fetch.Download(ctx, o, address, maxDownload)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	got := hex.EncodeToString(sum[:])
	if want := cmd.Checksum; want != "" {
		if !strings.EqualFold(strings.TrimPrefix(want, "sha256:"), got) {
			return fmt.Errorf("%s is sha256:%s, not %s", address, got, want)
		}
	}
	if err := c.file(name, func(p string) error { return os.WriteFile(p, text, 0o600) }, got); err != nil {
		return err
	}
	if cmd.Unpack != nil && *cmd.Unpack {
		return c.unpackLast(ctx)
	}
	return nil
}

// unpackLast takes the items that add has just brought, and makes trees of those
// that are archives.
func (c *copying) unpackLast(ctx context.Context) error {
	for i := range c.items {
		it := &c.items[i]
		if it.directory || it.archive {
			continue
		}
		is, err := c.isArchive(ctx, it)
		if err != nil {
			return err
		}
		if is {
			it.archive, it.unpack = true, func(it *item) error { return c.unpack(ctx, it) }
		}
	}
	return nil
}

// isArchive says whether a file is a tar, compressed or not: by its content alone,
// as with Docker. What is compressed is looked at by the helper.
func (c *copying) isArchive(ctx context.Context, it *item) (bool, error) {
	st, err := it.files.stat(it.match.real)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, err
	}
	r, err := it.files.open(it.match.real)
	if err != nil {
		return false, err
	}
	defer r.Close()
	var h head
	if _, err := io.Copy(&h, r); err != nil && !errors.Is(err, errEnough) {
		return false, err
	}
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(h, []byte(magic)) {
			h = nil
			err := fetch.Plain(ctx, c.s.b.o.Fetch.Helper, r, &h)
			switch {
			case ctx.Err() != nil:
				return false, errOther
			case errors.Is(err, fs.ErrNotExist): // the helper
				return false, err
			}
			break // what is no such stream after all is a file like others
		}
	}
	return h.isTar(), nil
}

// head keeps the first block of a tar, if it is one.
type head []byte

var errEnough = errors.New("that is enough")

func (h *head) Write(p []byte) (int, error) {
	const block = 512
	*h = append(*h, p[:min(len(p), block-len(*h))]...)
	if len(*h) == block {
		return len(p), errEnough
	}
	return len(p), nil
}

// isTar looks at the checksum, which all forms of tar have.
func (h head) isTar() bool {
	if len(h) < 512 {
		return false
	}
	sum := int64(' ') * 8
	for i, b := range h {
		if i < 148 || i >= 156 {
			sum += int64(b)
		}
	}
	want, err := strconv.ParseInt(strings.Trim(string(h[148:156]), " \x00"), 8, 64)
	return err == nil && want == sum
}

// unpack replaces an item by its content. It is unpacked by the helper, and only
// when the layer is made.
func (c *copying) unpack(ctx context.Context, it *item) error {
	dir, err := c.s.b.cache.Work()
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	d, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer d.Close()
	blob, err := it.files.open(it.match.real)
	if err != nil {
		return err
	}
	defer blob.Close()
	if err := fetch.UnpackTar(ctx, c.s.b.o.Fetch, blob, d, false); err != nil {
		return err
	}
	if it.seen != nil { // what was unpacked is what the key is of
		if sum, err := it.files.sum(it.match, c.skip, nil); err != nil {
			return err
		} else if sum != it.sum {
			return changed(it.match.asked)
		}
	}
	f, err := openPlain(tree, it.match.asked)
	if err != nil {
		return err
	}
	f.owned = true
	c.cleanup = append(c.cleanup, f.close)
	it.files, it.match, it.seen, it.unpack = f, match{}, nil, nil // the tree is our own
	return nil
}
