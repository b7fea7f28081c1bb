// SPDX-License-Identifier: Apache-2.0

// Package tree describes what lies below a directory, so that tests may compare
// what two programs made of the same image.
package tree

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A File is one entry of a tree.
type File struct {
	Mode     uint32 // with its kind
	UID, GID uint32
	Content  string            // a digest, a link's target, or a device's numbers
	Same     string            // the first path that is the same file, if it has several
	Xattrs   map[string]string // nil if it has none
	Time     int64             // seconds; of directories it is 0, for they change with what is put into them
}

// Read describes root, as ".", and all below it, by their paths.
func Read(root string) (map[string]File, error) {
	files, first := map[string]File{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := File{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Time: st.Mtim.Sec}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			f.Time = 0
		case unix.S_IFREG:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Content = fmt.Sprintf("%x", sha256.Sum256(text))
		case unix.S_IFLNK:
			if f.Content, err = os.Readlink(path); err != nil {
				return err
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			f.Content = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			f.Same = first[st.Ino]
		}
		if f.Xattrs, err = xattrs(path); err != nil {
			return err
		}
		files[rel] = f
		return nil
	})
	return files, err
}

// xattrs are those that belong to the file, not to where it lies.
func xattrs(path string) (map[string]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list attributes of %q: %w", path, err)
	}
	var all map[string]string
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" || slices.ContainsFunc([]string{"trusted.overlay.", "user.overlay.", "security.selinux"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("cannot read attribute %q of %q: %w", name, path, err)
		}
		if all == nil {
			all = map[string]string{}
		}
		all[name] = string(value[:n])
	}
	return all, nil
}
