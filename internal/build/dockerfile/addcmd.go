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
	"net/url"
	"os"
	"path"
	"path/filepath"
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
		is, err := it.files.isArchive(it.match.real)
		if err != nil {
			return err
		}
		if is {
			it.archive, it.unpack = true, func(it *item) error { return c.unpack(ctx, it) }
		}
	}
	return nil
}

// isArchive says whether a file is a tar, compressed or not.
func (f *files) isArchive(rel string) (bool, error) {
	st, err := f.stat(rel)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, err
	}
	r, err := f.open(rel)
	if err != nil {
		return false, err
	}
	defer r.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return false, err
	}
	head = head[:n]
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return f.tarInside(rel, head), nil
		}
	}
	return len(head) == 512 && (bytes.HasPrefix(head[257:], []byte("ustar"))), nil
}

// tarInside guesses by the name whether what is compressed is a tar: a single file
// that is compressed stays as it is.
func (f *files) tarInside(rel string, _ []byte) bool {
	name := strings.ToLower(path.Base(rel))
	for _, end := range []string{".tgz", ".tbz", ".tbz2", ".txz", ".tzst"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return strings.Contains(name, ".tar.")
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
