// SPDX-License-Identifier: Apache-2.0

// Package render makes one tree of several, for App Container images of which
// only some paths are wanted (appc 0.8.11, "pathWhitelist"). Images without
// such a list need no tree of their own: their layers are stacked.
//
// The trees may hold whatever a stranger put there: everything is opened below
// the descriptors of their roots, following no link.
package render

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// Tree is the unpacked tree of one image alone. Root stays the caller's.
type Tree struct {
	Root *os.File
	// Implicit are the directories that the image has no entry for
	// (settle.Facts): they leave alone what lies below them.
	Implicit []string
}

// Step is one image over those that it depends on.
type Step struct {
	Tree  int   // in the list of trees
	Under []int // earlier steps, lowest first
	// Keep are the absolute paths that are left once all are laid over each
	// other, with the directories that lead to them; empty: all.
	Keep []string
}

// maxEntries bounds the entries of one rendered image.
const maxEntries = 5_000_000

// Validate checks that steps refer to trees and earlier steps only.
func Validate(steps []Step, trees int) error {
	if len(steps) == 0 {
		return errors.New("there is nothing to render")
	}
	for i, s := range steps {
		if s.Tree < 0 || s.Tree >= trees {
			return fmt.Errorf("step %d has no tree", i)
		}
		for _, u := range s.Under {
			if u < 0 || u >= i {
				return fmt.Errorf("step %d lies over step %d", i, u)
			}
		}
	}
	return nil
}

// Write makes the tree of the last step in the empty directory dir and tells
// how many bytes of file content it has. It syncs nothing; on an error what dir
// holds is worthless.
func Write(ctx context.Context, steps []Step, trees []Tree, dir *os.File) (size int64, err error) {
	defer runtime.KeepAlive(trees) // only their descriptors are used below
	defer runtime.KeepAlive(dir)
	if err := Validate(steps, len(trees)); err != nil {
		return 0, fmt.Errorf("cannot render image: %w", err)
	}
	listed := make([]view, len(trees))
	views := make([]view, len(steps))
	for i, s := range steps {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if listed[s.Tree] == nil {
			if listed[s.Tree], err = list(s.Tree, trees[s.Tree]); err != nil {
				return 0, fmt.Errorf("cannot render image: %w", err)
			}
		}
		v := view{}
		for _, u := range s.Under {
			v.lay(views[u])
		}
		v.lay(listed[s.Tree])
		if len(s.Keep) > 0 {
			v = v.keep(s.Keep)
		}
		if len(v) > maxEntries {
			return 0, fmt.Errorf("cannot render image: it has more than %d files", maxEntries)
		}
		views[i] = v
	}
	w := writer{ctx: ctx, trees: trees, root: int(dir.Fd()), links: map[inode]string{}}
	if err := w.write(views[len(views)-1]); err != nil {
		return 0, fmt.Errorf("cannot render image: %w", err)
	}
	return w.size, nil
}

// view says, for each path of an image, where it comes from. Paths are clean
// and relative; "." is the root.
type view map[string]entry

type entry struct {
	tree     int32
	mode     uint32 // the type's bits
	implicit bool
}

func (e entry) isDir() bool { return e.mode == unix.S_IFDIR }

// lay puts upper over v. A directory joins one that is there, and anything else
// replaces and is replaced, with all that lies below it.
func (v view) lay(upper view) {
	gone := map[string]bool{}
	for p, u := range upper {
		low, ok := v[p]
		switch {
		case ok && low.isDir() && !u.isDir():
			gone[p] = true
		case ok && low.isDir() && u.implicit:
			continue
		}
		v[p] = u
	}
	if len(gone) == 0 {
		return
	}
	for p := range v {
		for up := path.Dir(p); up != "."; up = path.Dir(up) {
			if gone[up] {
				delete(v, p)
				break
			}
		}
	}
}

// keep is v with nothing but the paths of list and what leads to them.
func (v view) keep(list []string) view {
	out := view{".": v["."]}
	for _, p := range list {
		p = strings.TrimPrefix(path.Clean("/"+p), "/")
		for p != "." && p != "" {
			e, ok := v[p]
			if !ok {
				break
			}
			out[p] = e
			p = path.Dir(p)
		}
	}
	return out
}

// list reads the names of a tree.
func list(n int, t Tree) (view, error) {
	v := view{".": {tree: int32(n), mode: unix.S_IFDIR, implicit: slices.Contains(t.Implicit, ".")}}
	implicit := make(map[string]bool, len(t.Implicit))
	for _, p := range t.Implicit {
		implicit[p] = true
	}
	for todo := []string{"."}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		fd, err := safepath.OpenBeneath(int(t.Root.Fd()), dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", dir, err)
		}
		f := os.NewFile(uintptr(fd), dir)
		names, err := f.Readdirnames(-1)
		for _, name := range names {
			var st unix.Stat_t
			if err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				break
			}
			p := path.Join(dir, name)
			if v[p] = (entry{tree: int32(n), mode: st.Mode & unix.S_IFMT, implicit: implicit[p]}); v[p].isDir() {
				todo = append(todo, p)
			}
		}
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("%q: %w", dir, err)
		}
		if len(v) > maxEntries {
			return nil, fmt.Errorf("a layer has more than %d files", maxEntries)
		}
	}
	return v, nil
}
