// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/merge"
)

// The names that OCI reserves (image-spec 1.1, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// Change is what a pod wrote over its image: the trees of the image, lowest
// first, and the directory that overlayfs collected the pod's writing in.
type Change struct {
	Layers []string
	Upper  string
	// User: the marks are those of an ordinary user's mount (overlayfs option
	// userxattr).
	User bool
}

// open opens the image as it was and as the pod left it. Without layers there is
// no before: all of Upper is new.
func (c Change) open() (before, after *merge.Stack, err error) {
	open := merge.Open
	if c.User {
		open = merge.OpenUser
	}
	if after, err = open(append(append([]string(nil), c.Layers...), c.Upper)...); err != nil || len(c.Layers) == 0 {
		return nil, after, err
	}
	if before, err = open(c.Layers...); err != nil {
		after.Close()
		return nil, nil, err
	}
	return before, after, nil
}

// Layer writes the change as an OCI layer, an uncompressed tar, and gives its
// digest and size.
func (c Change) Layer(w io.Writer, how Packing) (image.Digest, int64, error) {
	before, after, err := c.open()
	if err != nil {
		return "", 0, err
	}
	defer after.Close()
	if before != nil {
		defer before.Close()
	}
	top, err := os.Open(c.Upper)
	if err != nil {
		return "", 0, err
	}
	defer top.Close()
	sum, size := sha256.New(), &counter{}
	l := layer{newPacker(io.MultiWriter(w, sum, size), "", how), merge.Marks()}
	var was *merge.Entry
	if before != nil {
		if was, err = before.Root(); err != nil {
			return "", 0, err
		}
	}
	is, err := after.Root()
	if err != nil {
		return "", 0, err
	}
	raw := merge.Raw
	if c.User {
		raw, l.marks = merge.RawUser, merge.UserMarks
	}
	written, err := raw(top).Root()
	if err != nil {
		return "", 0, err
	}
	same := false
	if was != nil {
		if same, err = sameDirectory(was, is, written); err != nil {
			return "", 0, err
		}
	}
	if !same {
		if err := l.entry(is); err != nil {
			return "", 0, err
		}
	}
	if err := l.dir(written, is, was); err != nil {
		return "", 0, err
	}
	err = l.tw.Close()
	return image.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), size.n, err
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// sameDirectory says whether a pod left its root's own attributes alone, the time
// included, which changes with what is in it.
func sameDirectory(was, is, written *merge.Entry) (bool, error) {
	if was.Stat.Mode != is.Stat.Mode || was.Stat.Uid != is.Stat.Uid || was.Stat.Gid != is.Stat.Gid {
		return false, nil
	}
	old, err := was.Xattrs()
	if err != nil {
		return false, err
	}
	now, err := is.Xattrs()
	if err != nil || !maps.EqualFunc(old, now, bytes.Equal) {
		return false, err
	}
	list, err := written.Children()
	return len(list) == 0, err
}

type layer struct {
	*packer
	marks string // what overlayfs's marks begin with
}

// dir writes what a directory of the upper tree changes: written is that
// directory itself, is the merged one, was the image's, nil if it had none or
// nothing of it is seen any more.
func (l layer) dir(written, is, was *merge.Entry) error {
	raw, err := written.Children()
	if err != nil {
		return err
	}
	now, err := byName(is)
	if err != nil {
		return err
	}
	old, err := byName(was)
	if err != nil {
		return err
	}
	for _, w := range raw {
		name := base(w.Path)
		if merge.IsWhiteout(&w.Stat) {
			if old[name] != nil {
				if err := l.mark(w.Path[:len(w.Path)-len(name)] + whiteoutPrefix + name); err != nil {
					return err
				}
			}
			continue
		}
		e := now[name]
		if e == nil {
			return fmt.Errorf("cannot pack %q: it is not seen in the pod's root", w.Path)
		}
		if err := l.change(w, e, old[name]); err != nil {
			return err
		}
	}
	return nil
}

// change writes one entry of the upper tree.
func (l layer) change(written, is, was *merge.Entry) error {
	if !is.IsDir() {
		return l.entry(is)
	}
	if was != nil && !was.IsDir() {
		was = nil // what is written takes its place
	}
	xattrs, err := written.Xattrs()
	if err != nil {
		return err
	}
	_, renamed := xattrs[l.marks+"redirect"]
	opaque := string(xattrs[l.marks+"opaque"]) == "y" || renamed
	if err := l.entry(is); err != nil {
		return err
	}
	if opaque && was != nil {
		if err := l.mark(is.Path + "/" + opaqueName); err != nil {
			return err
		}
	}
	if renamed {
		// A layer has no word for it: it is written whole.
		list, err := is.Children()
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := l.tree(c); err != nil {
				return err
			}
		}
		return nil
	}
	if opaque {
		was = nil
	}
	return l.dir(written, is, was)
}

// mark writes a whiteout or an opaque mark.
func (l layer) mark(name string) error {
	if err := l.file(name, nil); err != nil {
		return fmt.Errorf("cannot pack %q: %w", name, err)
	}
	return nil
}

// byName lists a directory's content; nil has none.
func byName(e *merge.Entry) (map[string]*merge.Entry, error) {
	if e == nil {
		return nil, nil
	}
	list, err := e.Children()
	if err != nil {
		return nil, err
	}
	m := make(map[string]*merge.Entry, len(list))
	for _, c := range list {
		m[base(c.Path)] = c
	}
	return m, nil
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// fileIn reads a small regular file of a tree, at a path without links; ok is
// false if there is none.
func fileIn(s *merge.Stack, path string, limit int64) (text []byte, ok bool, err error) {
	e, err := s.Root()
	for name := range strings.SplitSeq(path, "/") {
		if err != nil || !e.IsDir() {
			return nil, false, err
		}
		var in map[string]*merge.Entry
		if in, err = byName(e); err != nil {
			return nil, false, err
		}
		if e = in[name]; e == nil {
			return nil, false, nil
		}
	}
	if e.Type() != unix.S_IFREG {
		return nil, false, nil
	}
	f, err := e.Open()
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errors.New("it is too long")
	}
	return text, err == nil, err
}
