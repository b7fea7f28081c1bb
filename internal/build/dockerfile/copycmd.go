// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/stage1/appinit"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// copying is a COPY or an ADD.
type copying struct {
	s       *stage
	verb    string
	from    *files
	fromKey string // of a stage or an image; "" hashes what is copied
	chown   string
	mode    func(uint32, bool) uint32
	chmod   string
	link    bool
	parents bool
	skip    *hiding
	exclude []string
	dest    string
	items   []item
	cleanup []func()
}

// item is one thing to be copied.
type item struct {
	files *files
	match match
	// asked is the pattern that it came from, for --parents.
	asked string
	name  string // its own, should dest be a directory
	sum   string
	seen  map[string]seenFile // what sum is of; nil is not looked at again
	// directory: its content goes into dest.
	directory bool
	// archive: it is an archive, whose content goes into dest with its owners. Then
	// unpack makes files and match the content's.
	archive bool
	unpack  func(it *item) error
}

func (c *copying) close() {
	for _, f := range c.cleanup {
		f()
	}
}

func closeFD(fd int) error { return unix.Close(fd) }

// copyFiles is COPY.
func (s *stage) copyFiles(ctx context.Context, cmd *instructions.CopyCommand) error {
	c := &copying{s: s, verb: "COPY", from: s.b.context, chown: cmd.Chown, chmod: cmd.Chmod, link: cmd.Link, parents: cmd.Parents,
		exclude: cmd.ExcludePatterns, dest: cmd.DestPath}
	defer c.close()
	if dir := s.sources[cmd.From].context; dir != "" {
		c.from = s.b.named[dir]
	} else if cmd.From != "" {
		src := stack{key: hashKey("scratch")}
		if cmd.From != "scratch" {
			var err error
			if src, err = s.b.tree(ctx, s.sources[cmd.From]); err != nil {
				return err
			}
		}
		f, err := s.b.view(src)
		if err != nil {
			return err
		}
		f.name = "stage " + cmd.From
		if s.sources[cmd.From].stage == nil {
			f.name = "image " + cmd.From
		}
		c.cleanup = append(c.cleanup, f.close)
		c.from, c.fromKey = f, src.key
	}
	if err := c.prepare(); err != nil {
		return err
	}
	for _, p := range cmd.SourcePaths {
		if err := c.add(p); err != nil {
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

func (c *copying) prepare() (err error) {
	if c.chmod != "" {
		if c.mode, err = parseMode(c.chmod); err != nil {
			return err
		}
	}
	if len(c.exclude) > 0 {
		if c.skip, err = newHiding(c.exclude); err != nil {
			return fmt.Errorf("pattern of --exclude: %w", err)
		}
	}
	return nil
}

// add finds what a path or pattern means.
func (c *copying) add(pattern string) error {
	if strings.Contains(path.Clean("/x/"+pattern), "\x00") {
		return fmt.Errorf("path %q has a NUL byte", pattern)
	}
	if climbs(pattern) {
		return fmt.Errorf("%q climbs out of %s", pattern, c.from.name)
	}
	found, err := c.from.find(pattern)
	if err != nil {
		return err
	}
	for _, m := range found {
		it := item{files: c.from, match: m, asked: pattern, name: path.Base("/" + m.asked)}
		st, err := c.from.stat(m.real)
		if err != nil {
			return err
		}
		it.directory = st.Mode&unix.S_IFMT == unix.S_IFDIR
		if c.fromKey != "" {
			it.sum = hashKey(c.fromKey, m.real)
		} else {
			it.seen = map[string]seenFile{}
			if it.sum, err = c.from.sum(m, c.skip, it.seen); err != nil {
				return err
			}
		}
		c.items = append(c.items, it)
	}
	return nil
}

// climbs says whether a path begins above the directory it is in.
func climbs(p string) bool {
	rel := path.Clean(strings.TrimLeft(p, "/"))
	return rel == ".." || strings.HasPrefix(rel, "../")
}

// inline adds a here-document.
func (c *copying) inline(content instructions.SourceContent) error {
	if content.Path == "" || strings.ContainsAny(content.Path, "/\x00") || content.Path == "." || content.Path == ".." {
		return fmt.Errorf("here-document %q cannot be a file's name", content.Path)
	}
	return c.file(content.Path, func(path string) error { return os.WriteFile(path, []byte(content.Data), 0o644) }, sumText(content.Data))
}

// file adds a file that fill makes at a path, when it is needed.
func (c *copying) file(name string, fill func(path string) error, sum string) error {
	dir, err := c.s.b.cache.Work()
	if err != nil {
		return err
	}
	if err := fill(filepath.Join(dir, name)); err != nil {
		return err
	}
	f, err := openPlain(dir, name)
	if err != nil {
		return err
	}
	c.cleanup = append(c.cleanup, f.close)
	c.items = append(c.items, item{files: f, match: match{name, name}, asked: name, name: name, sum: sum})
	return nil
}

// openPlain opens a directory of the build's own.
func openPlain(dir, name string) (*files, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &files{root: fd, name: name}, nil
}

// do makes the layer.
func (c *copying) do() error {
	s := c.s
	if len(c.items) == 0 {
		return errors.New("there is nothing to copy")
	}
	slash := strings.HasSuffix(c.dest, "/") || c.dest == "." || strings.HasSuffix(c.dest, "/.")
	dest := c.dest
	if !path.IsAbs(dest) {
		dest = path.Join("/", s.cfg.Config.WorkingDir, dest)
	}
	dest = path.Clean(dest)
	if len(c.items) > 1 && !slash && !c.parents {
		return fmt.Errorf("%s of several files needs a directory to copy to: write %s/", c.verb, c.dest)
	}
	under := s.fs
	if c.link {
		under = stack{key: hashKey("link")}
	}
	parts := []string{strings.ToLower(c.verb), under.key, dest, fmt.Sprint(slash, c.parents), c.chown, c.chmod, toJSON(c.exclude)}
	for _, it := range c.items {
		parts = append(parts, it.sum, it.name, fmt.Sprint(it.directory, it.archive))
		if c.parents {
			parts = append(parts, it.match.asked, it.asked)
		}
	}
	l, err := s.b.makeLayer(under, hashKey(parts...), s.step, func(upper, work string) error {
		return c.fill(under, upper, work, dest, slash)
	})
	if err != nil {
		return err
	}
	if c.link { // what is under it is not what it was made from
		one := l
		l = s.fs
		if len(one.layers) > 0 {
			l = s.fs.over(one.layers[0].made)
			l.layers[len(l.layers)-1].lower = nil
		}
		l.key = hashKey("linked", s.fs.key, one.key)
	}
	s.layered(s.step.Text, l)
	return nil
}

// placer mounts a stack with upper over it.
func (s *stage) placer(under stack, upper, work string) (*placer, func(), error) {
	if err := engine.MakeUpper(upper, under.trees); err != nil {
		return nil, nil, err
	}
	lower := under.trees
	if len(lower) == 0 {
		dir, err := s.b.cache.Work()
		if err != nil {
			return nil, nil, err
		}
		lower = []string{dir}
	}
	fd, err := engine.Overlay(lower, upper, work)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot mount the stage's tree: %w", err)
	}
	p := &placer{root: fd, links: map[[2]uint64]string{}, warn: s.b.o.warn}
	return p, func() { unix.Close(fd) }, nil
}

// owner resolves user[:group] in the tree.
func (s *stage) owner(root int, text string) (*owner, error) {
	user, group, both := strings.Cut(text, ":")
	cred, err := appinit.LookupUser(root, user, group, nil, contract.Users{})
	if err != nil {
		return nil, err
	}
	o := &owner{int(cred.UID), int(cred.GID)}
	if _, err := strconv.ParseUint(user, 10, 32); err == nil && !both {
		o.gid = int(cred.UID) // a number alone is both, as with Docker
	}
	return o, nil
}

func (c *copying) fill(under stack, upper, work, dest string, slash bool) error {
	p, done, err := c.s.placer(under, upper, work)
	if err != nil {
		return err
	}
	defer done()
	p.mode, p.skip = c.mode, c.skip
	if c.chown != "" {
		root := p.root
		if c.link { // users are the stage's all the same
			f, err := c.s.b.view(c.s.fs)
			if err != nil {
				return err
			}
			defer f.close()
			root = f.root
		}
		if p.owner, err = c.s.owner(root, c.chown); err != nil {
			return err
		}
	}
	for i := range c.items {
		if err := c.put(p, &c.items[i], dest, slash); err != nil {
			return err
		}
	}
	return nil
}

// put copies one item.
func (c *copying) put(p *placer, it *item, dest string, slash bool) error {
	to := dest
	switch {
	case c.parents:
		to = path.Join(dest, pivot(it.asked, it.match.asked))
	case it.directory, it.archive:
	case slash:
		to = path.Join(dest, it.name)
	default:
		there, err := p.isDirectory(dest)
		if err != nil {
			return err
		}
		if there {
			to = path.Join(dest, it.name)
		}
	}
	if it.unpack != nil {
		if err := it.unpack(it); err != nil {
			return fmt.Errorf("cannot unpack %q: %w", it.match.asked, err)
		}
	}
	p.seen = it.seen
	if it.archive {
		// As with BuildKit, the place for it is made as told, but what it has in it
		// keeps its owners and modes, and says nothing of the place.
		fd, err := p.directory(to)
		if err != nil {
			return notDirectory(to, err)
		}
		unix.Close(fd)
		q := *p
		q.skip, q.owner, q.mode, q.replace = nil, nil, nil, true
		return q.into(it.files, it.match, to)
	}
	// A link at the very place is followed, as one on the way is.
	if real, there, err := engine.Resolve(p.root, to); err == nil && there == len(real) {
		to = "/" + strings.Join(real, "/")
	}
	return p.into(it.files, it.match, to)
}

// pivot is the part of a path that --parents keeps: all, or what follows "/./" in
// the pattern.
func pivot(pattern, found string) string {
	before, _, ok := strings.Cut(pattern, "/./")
	if !ok {
		return found
	}
	depth := 0
	for part := range strings.SplitSeq(path.Clean("/"+before), "/") {
		if part != "" {
			depth++
		}
	}
	parts := strings.Split(found, "/")
	return strings.Join(parts[min(depth, len(parts)):], "/")
}
