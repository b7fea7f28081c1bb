// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/linux/xattr"
)

// files is a tree that is copied from: the context, a stage, an image. Nothing
// leads out of it: links are followed as if its root were "/".
type files struct {
	root int // descriptor
	name string
	// dir is the root's path, for the cache of digests; "" if there is none.
	dir    string
	ignore *hiding // nil ignores nothing
	// owned: owners mean something. What is in a context belongs to whoever builds.
	owned bool
	cache *cache.Cache
}

func (f *files) close() {
	if f != nil && f.root >= 0 {
		unix.Close(f.root)
	}
}

// openContext opens the directory of the build.
func openContext(dir, dockerfile string, inContext bool, c *cache.Cache) (*files, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the context: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	f := &files{root: fd, name: "the context", dir: dir, cache: c}
	if f.ignore, err = readIgnore(dir, dockerfile, inContext); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// readIgnore reads NAME.dockerignore beside the Dockerfile, or .dockerignore in
// the context. What is found in the context is not followed out of it.
func readIgnore(dir, dockerfile string, inContext bool) (*hiding, error) {
	for i, p := range []string{dockerfile + ".dockerignore", filepath.Join(dir, ".dockerignore")} {
		open := os.Open
		if inContext || i > 0 {
			open = func(p string) (*os.File, error) { return openNamed(dir, inside(dir, p)) }
		}
		file, err := open(p)
		if errors.Is(err, os.ErrNotExist) || p == "-.dockerignore" {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the ignore file: %w", err)
		}
		defer file.Close()
		patterns, err := ignorefile.ReadAll(io.LimitReader(file, maxFile))
		if err == nil {
			var h *hiding
			if h, err = newHiding(patterns); err == nil {
				return h, nil
			}
		}
		return nil, fmt.Errorf("cannot read the ignore file %s: %w", p, err)
	}
	return nil, nil
}

// hiding is what an ignore file, or --exclude, says. The stages of a build ask it at
// the same time, which the matcher does not bear.
type hiding struct {
	mu sync.Mutex
	m  *patternmatcher.PatternMatcher
	// dirs is what the patterns say of directories: as BuildKit walks down, what a
	// pattern says of a file depends on what it had to be asked on the way.
	dirs map[string]patternmatcher.MatchInfo
}

func newHiding(patterns []string) (*hiding, error) {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	return &hiding{m: m, dirs: map[string]patternmatcher.MatchInfo{}}, nil
}

func (h *hiding) hides(rel string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hidden, _, err := h.match(rel)
	return hidden, err
}

func (h *hiding) match(rel string) (hidden bool, info patternmatcher.MatchInfo, err error) {
	dir := path.Dir(rel)
	up, ok := h.dirs[dir]
	if dir != "." && !ok {
		if _, up, err = h.match(dir); err != nil {
			return false, info, err
		}
		h.dirs[dir] = up
	}
	return h.m.MatchesUsingParentResults(rel, up)
}

// exceptions says whether there are any.
func (h *hiding) exceptions() bool { return h.m.Exclusions() }

// hidden says whether the ignore file hides rel, and whether something in it may
// be seen all the same.
func (f *files) hidden(rel string) (hidden, open bool, err error) {
	if f.ignore == nil || rel == "" {
		return false, true, nil
	}
	hidden, err = f.ignore.hides(rel)
	return hidden, !hidden || f.ignore.exceptions(), err
}

// visible says whether something is there for who may not see what the ignore file
// hides; on the way to something else a hidden directory may be.
func (f *files) visible(rel string, last bool) (bool, error) {
	hidden, open, err := f.hidden(rel)
	if err != nil || !hidden || !open {
		return err == nil && !hidden, err
	}
	if !last {
		return true, nil
	}
	return f.shows(rel)
}

// find resolves a path of COPY or ADD, with *, ? and […] in its components, to
// paths in the tree, sorted. Links on the way are followed, the last one too.
func (f *files) find(pattern string) ([]match, error) {
	clean := path.Clean("/" + pattern)
	parts := strings.Split(strings.TrimPrefix(clean, "/"), "/")
	if clean == "/" {
		parts = nil
	}
	found := []match{{}}
	wild := false
	for i, part := range parts {
		var next []match
		magic := strings.ContainsAny(part, `*?[\`)
		wild = wild || magic
		for _, at := range found {
			names := []string{part}
			if magic {
				var err error
				if names, err = f.names(at.real, part); err != nil {
					return nil, err
				}
			}
			for _, n := range names {
				m, ok, err := f.step(at, n, i == len(parts)-1)
				if err != nil {
					return nil, err
				}
				if ok {
					next = append(next, m)
				}
			}
		}
		found = next
	}
	if len(found) == 0 {
		if wild {
			return nil, fmt.Errorf("nothing in %s fits %q", f.name, pattern)
		}
		return nil, fmt.Errorf("%q is not in %s", pattern, f.name)
	}
	return found, nil
}

// match is a file that was found.
type match struct {
	asked string // by the names in the instruction
	real  string // without links; "" is the root
}

func (f *files) step(at match, name string, last bool) (match, bool, error) {
	m := match{asked: path.Join(at.asked, name)}
	real, there, err := engine.Resolve(f.root, path.Join(at.real, name))
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if there < len(real) {
		return m, false, nil
	}
	m.real = strings.Join(real, "/")
	// A link must be there itself, and so must what it leads to.
	if link := path.Join(at.real, name); link != m.real {
		if hidden, _, err := f.hidden(link); err != nil || hidden {
			return m, false, err
		}
	}
	ok, err := f.visible(m.real, last)
	return m, ok, err
}

// names are those in the directory that fit pattern.
func (f *files) names(dir, pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	entries, err := f.list(dir)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(n string) bool { ok, _ := path.Match(pattern, n); return !ok }), nil
}

// changedError: a file is not what it was when it was found.
type changedError struct {
	rel     string
	removed bool
}

func (e *changedError) Error() string {
	if e.removed {
		return fmt.Sprintf("%q was removed while it was copied", e.rel)
	}
	return fmt.Sprintf("%q changed while it was copied", e.rel)
}

// changed says that a file is not what the key of the cache is of.
func changed(rel string) error { return &changedError{rel: rel} }

// openAt opens what was found before.
func (f *files) openAt(rel string, flags int) (int, error) {
	fd, err := safepath.OpenBeneath(f.root, rel, flags, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return -1, &changedError{rel, true}
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV): // a link has taken its place
		return -1, changed(rel)
	}
	return fd, err
}

// list is what is in a directory, sorted.
func (f *files) list(dir string) ([]string, error) {
	fd, err := f.openAt(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// shows says whether the ignore file lets something below rel be seen.
func (f *files) shows(rel string) (bool, error) {
	hidden, open, err := f.hidden(rel)
	if err != nil || !hidden {
		return err == nil, err
	}
	st, err := f.stat(rel)
	if err != nil || !open || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, err
	}
	names, err := f.list(rel)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if some, err := f.shows(path.Join(rel, n)); some || err != nil {
			return some, err
		}
	}
	return false, nil
}

// stat looks at what is at rel, a link itself if it is one.
func (f *files) stat(rel string) (st unix.Stat_t, err error) {
	fd, err := f.openAt(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// open opens a regular file.
func (f *files) open(rel string) (*os.File, error) {
	fd, err := f.openAt(rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// attributes are the extended ones that go along.
func (f *files) attributes(rel string) (map[string][]byte, error) {
	dir, err := f.openAt(strings.TrimPrefix(path.Dir("/"+rel), "/"), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	name := path.Base("/" + rel)
	if rel == "" {
		name = "."
	}
	attrs, err := xattr.All(dir, name, xattr.Travels)
	if errors.Is(err, unix.ENOENT) {
		err = &changedError{rel, true}
	}
	return attrs, err
}

// walk calls do for rel and all below it that is not hidden, a directory before
// its content. skip, if not nil, hides more, by the path below rel.
func (f *files) walk(rel string, skip *hiding, do func(rel, below string, st *unix.Stat_t) error) error {
	return f.walkAt(rel, "", skip, do)
}

func (f *files) walkAt(rel, below string, skip *hiding, do func(rel, below string, st *unix.Stat_t) error) error {
	st, err := f.stat(rel)
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	hidden, open, err := f.hidden(rel)
	if err != nil {
		return err
	}
	if hidden && (!isDir || !open) {
		return nil
	}
	if hidden {
		if some, err := f.shows(rel); err != nil || !some {
			return err
		}
	}
	if skip != nil {
		name := below
		if name == "" && !isDir {
			name = path.Base(rel)
		}
		if name != "" {
			skipped, err := skip.hides(name)
			if err != nil {
				return err
			}
			if skipped && (!isDir || !skip.exceptions()) {
				return nil
			}
		}
	}
	if err := do(rel, below, &st); err != nil {
		return err
	}
	if !isDir {
		return nil
	}
	names, err := f.list(rel)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := f.walkAt(path.Join(rel, n), path.Join(below, n), skip, do); err != nil {
			return err
		}
	}
	return nil
}

// sum is a digest of all that a copy of the match takes from it: names, kinds,
// modes, content, and owners where they count. Times do not. seen, if not nil,
// gets what each file was by its path.
func (f *files) sum(m match, skip *hiding, seen map[string]seenFile) (string, error) {
	h := sha256.New()
	err := f.walk(m.real, skip, func(rel, below string, st *unix.Stat_t) error {
		fmt.Fprintf(h, "%q %o", below, st.Mode)
		if f.owned {
			fmt.Fprintf(h, " %d:%d", st.Uid, st.Gid)
		}
		content, err := f.sumContent(rel, st)
		if err != nil {
			return err
		}
		if seen != nil {
			seen[rel] = seenFile{st.Mode, content}
		}
		io.WriteString(h, content)
		attrs, err := f.attributes(rel)
		if err != nil {
			return err
		}
		for _, n := range sortedKeys(attrs) {
			fmt.Fprintf(h, " %q=%q", n, attrs[n])
		}
		fmt.Fprintln(h)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// seenFile is what a file was when its digest was made.
type seenFile struct {
	mode    uint32
	content string // as sumContent has it
}

func (f *files) sumContent(rel string, st *unix.Stat_t) (string, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum := func() (string, error) { return f.sumFile(rel) }
		var s string
		var err error
		if f.dir != "" {
			s, err = f.cache.Digest(filepath.Join(f.dir, rel), st, sum)
		} else {
			s, err = sum()
		}
		return " " + s, err
	case unix.S_IFLNK:
		target, err := f.link(rel)
		return fmt.Sprintf(" %q", target), err
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Sprintf(" %d", st.Rdev), nil
	}
	return "", nil
}

func (f *files) sumFile(rel string) (string, error) {
	r, err := f.open(rel)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (f *files) link(rel string) (string, error) {
	fd, err := f.openAt(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == unix.EINVAL || err == unix.ENOENT { // it is no link any more
		return "", changed(rel)
	}
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: rel, Err: err}
	}
	return string(buf[:n]), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
