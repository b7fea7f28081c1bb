// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// skeleton is what every pod's root has though its image may not: the places
// where stage1 mounts something. As the lowest layer of every overlay it spares
// each start the making of files in the pod's own directory; an image's own
// entries cover it.
var skeleton = []struct {
	name string
	mode fs.FileMode // a directory's, or a regular file's
}{
	{"", fs.ModeDir | 0o755},
	{"dev", fs.ModeDir | 0o755},
	{"etc", fs.ModeDir | 0o755},
	{"etc/hosts", 0o644},
	{"proc", fs.ModeDir | 0o755},
	{"sys", fs.ModeDir | 0o755},
	{"tmp", fs.ModeDir | fs.ModeSticky | 0o777},
}

// Skeleton is the absolute path of a read-only tree with the mount points that
// every pod needs, to be the lowest layer of every root. It is on the
// filesystem of the layers, as overlayfs needs for stable inode numbers.
func (s *Store) Skeleton() (string, error) {
	dir := filepath.Join(s.layers, "skeleton")
	_, err := os.Lstat(filepath.Join(dir, skeleton[len(skeleton)-1].name))
	if errors.Is(err, fs.ErrNotExist) {
		err = makeSkeleton(dir)
	}
	if err != nil {
		return "", fmt.Errorf("cannot make the lowest layer %q: %w", dir, err)
	}
	return dir, nil
}

// makeSkeleton may run in several processes at once, and after one that was
// killed: each entry is made or is there.
func makeSkeleton(dir string) error {
	for _, e := range skeleton {
		path := filepath.Join(dir, e.name)
		var err error
		if e.mode.IsDir() {
			err = os.Mkdir(path, e.mode.Perm())
		} else {
			var f *os.File
			if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.mode.Perm()); err == nil {
				err = f.Close()
			}
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = os.Chmod(path, e.mode&^fs.ModeDir) // whatever the umask
		}
		if err != nil {
			return err
		}
	}
	return nil
}
