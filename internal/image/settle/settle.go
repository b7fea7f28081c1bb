// SPDX-License-Identifier: Apache-2.0

// Package settle works out what overlayfs cannot know of a stack of layers that
// were unpacked one by one: directories that a layer did not announce would
// hide the attributes that a lower layer gave them, an opaque root would hide
// nothing, and whiteouts in a directory that only one layer has would be listed
// by name. The remedy is one more tree, of a few empty directories, on top:
// docs/decisions/0002-implicit-parents.md. Most images need none.
package settle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/xattr"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// Facts is what unpacking a layer found that its tree does not tell; it must be
// kept with the tree for as long as the tree is. Paths are relative, clean and
// sorted; "." is the root.
type Facts struct {
	// Implicit are the directories that the layer has no entry for: made
	// 0755 0:0 with time 0.
	Implicit []string `json:"implicit,omitempty"`
	// Hiding are the directories that hold whiteouts.
	Hiding []string `json:"hiding,omitempty"`
	// Opaque: the layer's root hides all lower layers.
	Opaque bool `json:"opaque,omitempty"`
}

// Layer is one tree of a stack. Root stays the caller's.
type Layer struct {
	Root *os.File
	Facts
}

// Dir is a directory of the tree on top.
type Dir struct {
	Path   string            `json:"path"`
	Mode   uint32            `json:"mode"` // permission bits, set-id and sticky
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Sec    int64             `json:"sec"` // modification time
	Nsec   int64             `json:"nsec"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
}

// Plan is what a stack needs to look as its layers, extracted one over the
// other, would.
type Plan struct {
	// From is the index of the lowest layer that counts; those below it are
	// hidden by an opaque root and must be left out of the mount.
	From int
	// Dirs, parents first, are the tree to be put on top; empty: none is needed.
	Dirs []Dir
}

// Digest names the tree on top by its content: the same for all images that
// need the same one. It is the sha256 of its description and no layer's diff id.
func (p Plan) Digest() image.Digest {
	sum := sha256.Sum256(p.Describe())
	return image.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// MediaType is that of a tree's description, where it is kept as a blob.
const MediaType = "application/vnd.rkt.settled.v1+json"

// description is what Describe encodes.
type description struct {
	Kind string `json:"kind"`
	Dirs []Dir  `json:"dirs"`
}

const kind = "rkt settle 1"

// Describe is the tree on top as text, from which Parse makes it again.
func (p Plan) Describe() []byte {
	b, err := json.Marshal(description{kind, p.Dirs})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// Parse reads what Describe wrote; From is not in it.
func Parse(text []byte) (Plan, error) {
	var d description
	err := json.Unmarshal(text, &d)
	if err == nil && d.Kind != kind {
		err = fmt.Errorf("it is of kind %q", d.Kind)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("cannot read description of a settled tree: %w", err)
	}
	return Plan{Dirs: d.Dirs}, nil
}

// Stack compares layers, lowest first. rootless tells where overlayfs keeps its
// marks: user.overlay.* instead of trusted.overlay.*.
func Stack(layers []Layer, rootless bool) (Plan, error) {
	defer runtime.KeepAlive(layers) // only their descriptors are used below
	s := stack{opaque: "trusted.overlay.opaque", fix: map[string]Dir{}}
	if rootless {
		s.opaque = "user.overlay.opaque"
	}
	var p Plan
	for i, l := range layers {
		if l.Opaque {
			p.From = i
		}
	}
	s.layers = layers[p.From:]
	if len(s.layers) == 0 {
		return p, nil
	}
	for i, l := range s.layers {
		implicit := l.Implicit
		if i == 0 {
			implicit = nil // nothing below that could know better
		}
		for _, list := range [][]string{implicit, l.Hiding} {
			for _, path := range list {
				if err := s.look(path); err != nil {
					return Plan{}, fmt.Errorf("cannot compare directory %q of the layers: %w", path, err)
				}
			}
		}
	}
	for _, d := range s.fix {
		p.Dirs = append(p.Dirs, d)
	}
	slices.SortFunc(p.Dirs, func(a, b Dir) int {
		switch { // "." is no prefix of the others
		case a.Path == ".":
			return -1
		case b.Path == ".":
			return 1
		}
		return strings.Compare(a.Path, b.Path)
	})
	return p, nil
}

type stack struct {
	layers []Layer
	opaque string
	seen   map[string]bool
	fix    map[string]Dir
}

// part is one layer's share in a directory.
type part struct {
	dir      Dir
	explicit bool
	hiding   bool
}

// look decides whether path has to be in the tree on top, and puts it there
// with all its parents.
func (s *stack) look(path string) error {
	if s.seen[path] {
		return nil
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[path] = true
	parts, err := s.parts(path)
	if err != nil || len(parts) == 0 {
		return err
	}
	shown, right := parts[0].dir, effective(parts)
	differ := !same(shown, right, path != ".")
	ghosts := path != "." && len(parts) == 1 && parts[0].hiding
	if !differ && !ghosts {
		return nil
	}
	s.fix[path] = right
	for up := path; up != "."; {
		if i := strings.LastIndexByte(up, '/'); i >= 0 {
			up = up[:i]
		} else {
			up = "."
		}
		if _, ok := s.fix[up]; ok {
			continue
		}
		parts, err := s.parts(up)
		if err != nil {
			return err
		}
		if len(parts) == 0 {
			return errors.New("a parent is missing")
		}
		s.fix[up] = effective(parts)
	}
	return nil
}

// effective picks the attributes of the topmost layer that announced the
// directory.
func effective(parts []part) Dir {
	for _, p := range parts {
		if p.explicit {
			return p.dir
		}
	}
	return parts[0].dir
}

// same compares attributes. The root's time alone is worth no tree: most layers
// do not announce the root, and a pod's own writing sets it anyway.
func same(a, b Dir, times bool) bool {
	if times && (a.Sec != b.Sec || a.Nsec != b.Nsec) {
		return false
	}
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || len(a.Xattrs) != len(b.Xattrs) {
		return false
	}
	for k, v := range a.Xattrs {
		if w, ok := b.Xattrs[k]; !ok || string(v) != string(w) {
			return false
		}
	}
	return true
}

// parts lists, topmost first, the layers whose directory path is seen through
// the stack. It is empty if path is no directory in it.
func (s *stack) parts(path string) ([]part, error) {
	var out []part
	for i := len(s.layers) - 1; i >= 0; i-- {
		l := &s.layers[i]
		p, stop, err := s.lookup(l, path)
		if err != nil {
			return nil, err
		}
		if p != nil {
			_, implicit := slices.BinarySearch(l.Implicit, path)
			_, p.hiding = slices.BinarySearch(l.Hiding, path)
			p.explicit = !implicit
			out = append(out, *p)
		}
		if stop {
			break
		}
	}
	return out, nil
}

// lookup finds path in one layer. stop tells that the lower layers are hidden
// there: by an opaque directory on the way, a whiteout, or another file.
func (s *stack) lookup(l *Layer, path string) (p *part, stop bool, err error) {
	fd, err := safepath.OpenBeneath(int(l.Root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	rest := path
	if rest == "." {
		rest = ""
	}
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			return nil, stop, nil
		}
		if err != nil {
			return nil, false, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil, true, nil
		}
		next, err := safepath.OpenBeneath(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, false, err
		}
		_ = unix.Close(fd)
		fd = next
		var b [1]byte
		n, err := unix.Fgetxattr(fd, s.opaque, b[:])
		if err == nil && n == 1 && b[0] == 'y' {
			stop = true
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, false, err
	}
	x, err := xattr.All(fd, ".", xattr.Travels)
	return &part{dir: Dir{
		Path: path, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec, Xattrs: x,
	}}, stop, err
}

// Write makes the tree of p in the empty directory root. It syncs nothing.
func (p Plan) Write(root *os.File) error {
	defer runtime.KeepAlive(root)
	for _, d := range p.Dirs {
		if d.Path != "." {
			if err := mkdir(int(root.Fd()), d.Path); err != nil {
				return fmt.Errorf("cannot make %q: %w", d.Path, err)
			}
		}
	}
	for _, d := range slices.Backward(p.Dirs) { // times last: making a child changes them
		if err := d.apply(int(root.Fd())); err != nil {
			return fmt.Errorf("cannot set attributes of %q: %w", d.Path, err)
		}
	}
	return nil
}

func mkdir(root int, path string) error {
	up, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		up, name = path[:i], path[i+1:]
	}
	fd, err := safepath.OpenBeneath(root, up, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Mkdirat(fd, name, 0o700)
}

func (d Dir) apply(root int) error {
	fd, err := safepath.OpenBeneath(root, d.Path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, int(d.UID), int(d.GID)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, d.Mode); err != nil {
		return err
	}
	have, err := xattr.All(fd, ".", xattr.Travels)
	if err != nil {
		return err
	}
	for name := range have { // a default ACL of the host's directory
		if _, ok := d.Xattrs[name]; !ok {
			if err := unix.Fremovexattr(fd, name); err != nil && err != unix.ENODATA {
				return err
			}
		}
	}
	for name, value := range d.Xattrs {
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return err
		}
	}
	t := unix.Timespec{Sec: d.Sec, Nsec: d.Nsec}
	return unix.UtimesNanoAt(fd, ".", []unix.Timespec{t, t}, 0)
}
