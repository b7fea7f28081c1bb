// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/merge"
)

// Difference writes what turns one tree into another as an OCI layer, an
// uncompressed tar, and gives its digest and size. Files are compared by
// attributes and content; access and change times count for nothing.
func Difference(w io.Writer, before, after *merge.Stack, how Packing) (image.Digest, int64, error) {
	sum, size := sha256.New(), &counter{}
	d := difference{layer: layer{packer: newPacker(io.MultiWriter(w, sum, size), "", how)}}
	was, err := before.Root()
	if err != nil {
		return "", 0, err
	}
	is, err := after.Root()
	if err != nil {
		return "", 0, err
	}
	if err := d.both(was, is); err != nil {
		return "", 0, err
	}
	err = d.tw.Close()
	return image.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), size.n, err
}

type difference struct{ layer }

// both writes what became of an entry that is in both trees.
func (d difference) both(was, is *merge.Entry) error {
	if was.Type() != is.Type() {
		// A file and a directory take each other's place as they are.
		return d.tree(is)
	}
	same, err := equal(was, is)
	if err != nil {
		return err
	}
	if !same {
		if err := d.entry(is); err != nil {
			return err
		}
	}
	if !is.IsDir() {
		return nil
	}
	old, err := byName(was)
	if err != nil {
		return err
	}
	now, err := is.Children()
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, e := range now {
		here[base(e.Path)] = true
	}
	gone, err := was.Children()
	if err != nil {
		return err
	}
	for _, e := range gone {
		if name := base(e.Path); !here[name] {
			if err := d.mark(e.Path[:len(e.Path)-len(name)] + whiteoutPrefix + name); err != nil {
				return err
			}
		}
	}
	for _, e := range now {
		if o := old[base(e.Path)]; o != nil {
			err = d.both(o, e)
		} else {
			err = d.tree(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// equal compares two entries of one type, but not what is in directories.
func equal(a, b *merge.Entry) (bool, error) {
	if a.Inode() == b.Inode() && a.Stat.Ctim == b.Stat.Ctim {
		return true, nil
	}
	if a.Stat.Mode != b.Stat.Mode || a.Stat.Uid != b.Stat.Uid || a.Stat.Gid != b.Stat.Gid || a.Stat.Mtim != b.Stat.Mtim {
		return false, nil
	}
	x, err := a.Xattrs()
	if err != nil {
		return false, err
	}
	y, err := b.Xattrs()
	if err != nil || !maps.EqualFunc(x, y, bytes.Equal) {
		return false, err
	}
	switch a.Type() {
	case unix.S_IFREG:
		return sameContent(a, b)
	case unix.S_IFLNK:
		from, err := a.Link()
		if err != nil {
			return false, err
		}
		to, err := b.Link()
		return from == to, err
	}
	return a.Stat.Rdev == b.Stat.Rdev, nil
}

func sameContent(a, b *merge.Entry) (bool, error) {
	if a.Stat.Size != b.Stat.Size {
		return false, nil
	}
	x, err := a.Open()
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := b.Open()
	if err != nil {
		return false, err
	}
	defer y.Close()
	const block = 256 << 10
	p, q := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(x, p)
		m, qerr := io.ReadFull(y, q)
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		for _, e := range []error{err, qerr} {
			if e != nil && e != io.EOF && e != io.ErrUnexpectedEOF { //nolint:errorlint // ReadFull's own
				return false, e
			}
		}
		if n < block {
			return true, nil
		}
	}
}
