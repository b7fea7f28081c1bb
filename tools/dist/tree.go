// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An entry is a file, a directory or a link that is installed; root owns it.
type entry struct {
	path string // from the root directory, without a slash in front
	mode fs.FileMode
	body []byte
	link string // where a link leads
}

// A tree is what a package installs, sorted, without the directories that every
// system has.
type tree []entry

func (t *tree) file(path string, mode fs.FileMode, body []byte) {
	*t = append(*t, entry{path: path, mode: mode, body: body})
}

func (t *tree) dir(path string) {
	*t = append(*t, entry{path: path, mode: fs.ModeDir | 0o755})
}

func (t *tree) symlink(path, to string) {
	*t = append(*t, entry{path: path, mode: fs.ModeSymlink | 0o777, link: to})
}

// copyFiles adds what lies in a directory, and below it. change may rewrite a file.
func (t *tree) copyFiles(from, to string, change func([]byte) []byte) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			link, err := os.Readlink(p)
			t.symlink(path.Join(to, rel), link)
			return err
		}
		return t.copyFile(p, path.Join(to, rel), change)
	})
}

// copyFile adds one file of the source; it is executable if it is there.
func (t *tree) copyFile(from, to string, change func([]byte) []byte) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if st.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if change != nil {
		text = change(text)
	}
	t.file(to, mode, text)
	return nil
}

// settled is the tree in order, with the directories that are the package's own:
// rkt's, and what is in them. A path that came twice is an error.
func (t tree) settled() (tree, error) {
	own := map[string]bool{}
	for _, e := range t {
		for d := path.Dir(e.path); d != "."; d = path.Dir(d) {
			if strings.Contains("/"+d+"/", "/rkt") && !own[d] {
				own[d] = true
				t.dir(d)
			}
		}
	}
	slices.SortStableFunc(t, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	var out tree
	for _, e := range t {
		if n := len(out); n > 0 && out[n-1].path == e.path {
			if out[n-1].mode.IsDir() && e.mode.IsDir() {
				continue
			}
			return nil, fmt.Errorf("cannot install %s: it is on the list twice", e.path)
		}
		out = append(out, e)
	}
	return out, nil
}

// parents is the tree with every directory above its entries.
func (t tree) parents() tree {
	seen := map[string]bool{}
	for _, e := range t {
		seen[e.path] = true
	}
	out := slices.Clone(t)
	for _, e := range t {
		for d := path.Dir(e.path); d != "." && !seen[d]; d = path.Dir(d) {
			seen[d] = true
			out.dir(d)
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	return out
}

// below is the tree with another directory in place of the one that all of it is in.
func (t tree) below(from, to string) tree {
	out := slices.Clone(t)
	for i := range out {
		out[i].path = to + strings.TrimPrefix(out[i].path, from)
	}
	return out
}

// size is the sum of the files, in bytes.
func (t tree) size() (n int64) {
	for _, e := range t {
		n += int64(len(e.body))
	}
	return n
}

// write puts the tree below root. Directories that are there stay as they are.
func (t tree) write(root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("cannot install: %w", err)
	}
	for _, e := range t.parents() {
		p := filepath.Join(root, e.path)
		var err error
		switch {
		case e.mode.IsDir():
			if err = os.Mkdir(p, 0o755); err == nil {
				err = os.Chmod(p, 0o755)
			} else if st, serr := os.Stat(p); serr == nil && st.IsDir() {
				err = nil
			}
		case e.mode&fs.ModeSymlink != 0:
			if err = os.Remove(p); err == nil || os.IsNotExist(err) {
				err = os.Symlink(e.link, p)
			}
		default:
			err = writeFile(p, e.body, e.mode.Perm())
		}
		if err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
	}
	return nil
}
