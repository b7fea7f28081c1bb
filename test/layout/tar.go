// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Epoch is the time stamp of everything that File, Dir and Symlink write, so
// that equal contents give equal layers.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Dir writes a directory.
func Dir(tw *tar.Writer, name string, mode int64) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: clean(name) + "/", Mode: mode, ModTime: Epoch})
}

// File writes a regular file.
func File(tw *tar.Writer, name string, mode int64, body string) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: clean(name), Mode: mode, Size: int64(len(body)), ModTime: Epoch}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(tw, body)
	return err
}

// Symlink writes a symbolic link.
func Symlink(tw *tar.Writer, name, target string) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: clean(name), Linkname: target, Mode: 0o777, ModTime: Epoch})
}

// Copy writes the host's file, following symbolic links, as name.
func Copy(tw *tar.Writer, host, name string) error {
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: clean(name), Mode: int64(st.Mode().Perm()), Size: st.Size(), ModTime: Epoch}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

func clean(name string) string { return strings.TrimPrefix(filepath.Clean("/"+name), "/") }
