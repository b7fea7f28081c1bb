// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// tree is a directory's content, by path; directories are where something lies in
// them.
type tree map[string]file

// file is a regular file, or a link.
type file struct {
	mode os.FileMode
	text []byte
	link string
}

func (t tree) size() (n int) {
	for _, f := range t {
		n += len(f.text)
	}
	return n
}

// write writes the tree to dir, in place of what is there.
func (t tree) write(dir string) error {
	next := dir + ".new"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f, p := t[name], filepath.Join(next, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		var err error
		if f.link != "" {
			err = os.Symlink(f.link, p)
		} else if err = os.WriteFile(p, f.text, f.mode); err == nil {
			err = os.Chmod(p, f.mode)
		}
		if err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(next, dir)
}

// aci is the tree as an appc image, the same for the same tree.
func (t tree) aci(arch, version string) ([]byte, error) {
	if arch == "arm64" {
		arch = "aarch64" // appc's word
	}
	label := func(name, value string) map[string]string { return map[string]string{"name": name, "value": value} }
	labels := []map[string]string{label("os", "linux"), label("arch", arch)}
	if version != "" {
		labels = append(labels, label("version", version))
	}
	manifest, err := json.Marshal(map[string]any{
		"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "rkt.io/stage1-coreos", "labels": labels,
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	add := func(h tar.Header, text []byte) error {
		h.ModTime, h.Size, h.Format = time.Unix(0, 0), int64(len(text)), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	if err := add(tar.Header{Name: "manifest", Mode: 0o644, Typeflag: tar.TypeReg}, manifest); err != nil {
		return nil, err
	}
	made := map[string]bool{}
	var mkdir func(name string) error
	mkdir = func(name string) error {
		if name == "." || made[name] {
			return nil
		}
		made[name] = true
		if err := mkdir(path.Dir(name)); err != nil {
			return err
		}
		return add(tar.Header{Name: name + "/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f := t[name]
		if err := mkdir(path.Dir("rootfs/" + name)); err != nil {
			return nil, err
		}
		h := tar.Header{Name: "rootfs/" + name, Mode: int64(f.mode), Typeflag: tar.TypeReg}
		if f.link != "" {
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		}
		if err := add(h, f.text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
