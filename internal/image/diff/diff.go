// SPDX-License-Identifier: Apache-2.0

// Package diff compares two images: the trees that a pod would see (package
// merge), and how the images ask to be run.
package diff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

// Kind of a change.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Change is one path that is not the same in both trees.
type Change struct {
	Path string `json:"path"` // absolute, in the image
	Kind Kind   `json:"kind"`
	// What changed: type, mode, owner, size, content, xattr, target (of a link),
	// device (its number); with Options.Exact also time and links.
	What []string `json:"what,omitempty"`
	// Sizes of regular files, bytes; 0 for all else.
	OldSize int64 `json:"oldSize,omitempty"`
	NewSize int64 `json:"newSize,omitempty"`
}

// Options of Trees.
type Options struct {
	// Exact counts modification times and the number of hard links as well,
	// which differ between any two builds of an image.
	Exact bool
}

// Trees calls f for each difference, sorted by path, until f returns an error.
func Trees(ctx context.Context, a, b *merge.Stack, opt Options, f func(Change) error) error {
	ra, err := a.Root()
	if err != nil {
		return err
	}
	rb, err := b.Root()
	if err != nil {
		return err
	}
	c := &comparison{ctx: ctx, opt: opt, tell: f, bufs: [2][]byte{make([]byte, 128<<10), make([]byte, 128<<10)}}
	return c.both(ra, rb)
}

type comparison struct {
	ctx  context.Context
	opt  Options
	tell func(Change) error
	bufs [2][]byte
}

// both compares two entries of one path.
func (c *comparison) both(a, b *merge.Entry) error {
	if c.ctx.Err() != nil {
		return errors.New("cannot compare all files: interrupted")
	}
	what, err := c.what(a, b)
	if err != nil {
		return fmt.Errorf("cannot compare %q: %w", a.Path, err)
	}
	if len(what) > 0 {
		if err := c.tell(Change{absolute(a), Changed, what, size(a), size(b)}); err != nil {
			return err
		}
	}
	var ca, cb []*merge.Entry
	if a.IsDir() {
		if ca, err = a.Children(); err != nil {
			return err
		}
	}
	if b.IsDir() {
		if cb, err = b.Children(); err != nil {
			return err
		}
	}
	for len(ca) > 0 || len(cb) > 0 {
		switch {
		case len(cb) == 0 || len(ca) > 0 && ca[0].Path < cb[0].Path:
			err, ca = c.one(ca[0], Removed), ca[1:]
		case len(ca) == 0 || cb[0].Path < ca[0].Path:
			err, cb = c.one(cb[0], Added), cb[1:]
		default:
			err, ca, cb = c.both(ca[0], cb[0]), ca[1:], cb[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// one tells of an entry, and all below it, that only one tree has.
func (c *comparison) one(e *merge.Entry, k Kind) error {
	return e.Walk(func(e *merge.Entry) error {
		if c.ctx.Err() != nil {
			return errors.New("cannot compare all files: interrupted")
		}
		ch := Change{Path: absolute(e), Kind: k}
		if k == Added {
			ch.NewSize = size(e)
		} else {
			ch.OldSize = size(e)
		}
		return c.tell(ch)
	})
}

func (c *comparison) what(a, b *merge.Entry) ([]string, error) {
	if !a.IsDir() && a.Inode() == b.Inode() {
		return nil, nil // one file, of a layer that both images have
	}
	if merge.IsWhiteout(&a.Stat) && merge.IsWhiteout(&b.Stat) {
		return nil, nil // it has nothing but its name
	}
	var what []string
	add := func(word string, differ bool) {
		if differ {
			what = append(what, word)
		}
	}
	if a.Type() != b.Type() {
		return []string{"type"}, nil
	}
	add("mode", a.Stat.Mode != b.Stat.Mode)
	add("owner", a.Stat.Uid != b.Stat.Uid || a.Stat.Gid != b.Stat.Gid)
	switch a.Type() {
	case unix.S_IFREG:
		add("size", a.Stat.Size != b.Stat.Size)
		same := false
		if a.Stat.Size == b.Stat.Size {
			var err error
			if same, err = c.sameContent(a, b); err != nil {
				return nil, err
			}
		}
		add("content", !same)
	case unix.S_IFLNK:
		la, err := a.Link()
		if err != nil {
			return nil, err
		}
		lb, err := b.Link()
		if err != nil {
			return nil, err
		}
		add("target", la != lb)
	case unix.S_IFCHR, unix.S_IFBLK:
		add("device", a.Stat.Rdev != b.Stat.Rdev)
	}
	xa, err := a.Xattrs()
	if err != nil {
		return nil, err
	}
	xb, err := b.Xattrs()
	if err != nil {
		return nil, err
	}
	add("xattr", !maps.EqualFunc(xa, xb, bytes.Equal))
	if c.opt.Exact {
		add("time", a.Stat.Mtim != b.Stat.Mtim)
		add("links", !a.IsDir() && a.Stat.Nlink != b.Stat.Nlink)
	}
	return what, nil
}

func (c *comparison) sameContent(a, b *merge.Entry) (bool, error) {
	fa, err := a.Open()
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := b.Open()
	if err != nil {
		return false, err
	}
	defer fb.Close()
	for {
		na, err := fill(fa, c.bufs[0])
		if err != nil {
			return false, err
		}
		nb, err := fill(fb, c.bufs[1])
		if err != nil {
			return false, err
		}
		if !bytes.Equal(c.bufs[0][:na], c.bufs[1][:nb]) {
			return false, nil
		}
		if na < len(c.bufs[0]) {
			return true, nil
		}
	}
}

// fill reads until b is full or the file ends.
func fill(f *os.File, b []byte) (int, error) {
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

func absolute(e *merge.Entry) string {
	if e.Path == "." {
		return "/"
	}
	return "/" + e.Path
}

func size(e *merge.Entry) int64 {
	if e.Type() != unix.S_IFREG {
		return 0
	}
	return e.Stat.Size
}

// Setting is something by which two images ask to be run differently.
type Setting struct {
	Name string          `json:"name"`
	Old  json.RawMessage `json:"old,omitempty"` // empty if it is not set
	New  json.RawMessage `json:"new,omitempty"`
}

// sortedKeys of both maps.
func sortedKeys(a, b map[string]string) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
