// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/safepath"
)

// maxCode bounds how many files a tree's code is: all are looked at before each pod.
const maxCode = 10_000

// code refuses a directory of the tree in which anything may be changed by others:
// libraries, loaders and programs that the tree's own programs load and execute, by
// paths that the kernel resolves with the host's root. So a link that leads out of
// the tree is refused as well.
func (t *flavorTree) code(dir string) error {
	w := codeWalk{flavorTree: t, left: maxCode}
	if path.Join("/", dir) == "/" {
		w.whole = true // the root itself was looked at when it was opened
		return w.walk("")
	}
	at, fd, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("cannot look at its code in %q: %w", dir, err)
	}
	unix.Close(fd)
	return w.walk(at)
}

type codeWalk struct {
	*flavorTree
	left  int  // how many files it may still find
	whole bool // all of the tree is looked at
}

func (w *codeWalk) walk(dir string) error {
	fd, err := safepath.OpenBeneath(w.root, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "/"+dir)
	defer f.Close()
	names, err := f.Readdirnames(w.left + 1)
	if err != nil && err != io.EOF {
		return err
	}
	if w.left -= len(names); w.left < 0 {
		return fmt.Errorf("its code is more than %d files", maxCode)
	}
	for _, name := range names {
		at := path.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &fs.PathError{Op: "stat", Path: "/" + at, Err: err}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if err = Unchangeable(&st, "/"+at, false); err == nil {
				err = w.walk(at)
			}
		case unix.S_IFREG:
			err = Unchangeable(&st, "/"+at, false)
		case unix.S_IFLNK:
			err = w.link(at)
		default:
			err = fmt.Errorf("/%s is neither a file, nor a directory, nor a link", at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link refuses a link to what is not in the tree, or may be changed by others.
func (w *codeWalk) link(at string) error {
	fd, err := safepath.FollowBeneath(w.root, at, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) && w.whole {
		return nil // and nobody else can make what it leads to
	}
	if err != nil {
		return fmt.Errorf("/%s is a link that does not lead to the tree: %w", at, err)
	}
	defer unix.Close(fd)
	_, err = w.owned(fd)
	return err
}
