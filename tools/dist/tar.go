// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"time"
)

// tarball is a gzipped archive of t, with the directories in which it lies.
func tarball(t tree, when time.Time) ([]byte, error) {
	var b bytes.Buffer
	if err := writeTar(&b, t.parents(), "", when); err != nil {
		return nil, err
	}
	return packed(b.Bytes()), nil
}

// writeTar writes the tree, root's, each name after prefix, and all of one time.
func writeTar(w io.Writer, t tree, prefix string, when time.Time) error {
	out := tar.NewWriter(w)
	for _, e := range t {
		h := &tar.Header{Name: prefix + e.path, Mode: int64(e.mode.Perm()), ModTime: when, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		switch {
		case e.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.body))
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := out.Write(e.body); err != nil {
			return err
		}
	}
	return out.Close()
}
