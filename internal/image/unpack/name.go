// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The names that OCI reserves (image-spec 1.1, layer.md, "Whiteouts") and those
// that AUFS kept for itself.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	aufsPrefix     = ".wh..wh."
)

// cleanName makes a tar name relative to the root: "." or "a/b". A leading
// slash is the layer's root; a name that climbs above it is refused.
func cleanName(name string) (string, error) {
	if name == "" {
		return "", errors.New("the name is empty")
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("the name has a zero byte")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("the name climbs out of the layer")
	}
	if len(clean) >= unix.PathMax {
		return "", unix.ENAMETOOLONG
	}
	return clean, nil
}

// shorten keeps a hostile name from filling the screen.
func shorten(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// split parts a clean name other than "." into the directory and the rest.
func split(clean string) (dir, base string) {
	if i := strings.LastIndexByte(clean, '/'); i >= 0 {
		return clean[:i], clean[i+1:]
	}
	return ".", clean
}

func join(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}

// mark is what a name in a layer stands for.
type mark int

const (
	ordinary mark = iota
	whiteout      // base is what it hides
	opaque
	ignored
)

// marked reads a clean name of a layer.
func marked(dir, base string) (mark, string, error) {
	if strings.Contains(dir, whiteoutPrefix) {
		for c := range strings.SplitSeq(dir, "/") {
			switch {
			case strings.HasPrefix(c, aufsPrefix):
				return ignored, "", nil
			case strings.HasPrefix(c, whiteoutPrefix):
				return 0, "", errors.New("a whiteout cannot be a directory")
			}
		}
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return ordinary, base, nil
	case base == opaqueName:
		return opaque, "", nil
	case strings.HasPrefix(base, aufsPrefix):
		return ignored, "", nil
	case hidden == "" || hidden == "." || hidden == "..":
		return 0, "", errors.New("the whiteout names no file")
	}
	return whiteout, hidden, nil
}
