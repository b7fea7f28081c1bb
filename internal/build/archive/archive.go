// SPDX-License-Identifier: Apache-2.0

// Package archive reads and rewrites the files of App Container Images as
// streams, without unpacking them: owners and all else in them stay as they are,
// so it takes no privilege.
package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/aci"
	"github.com/rkt/rkt/internal/image/fetch"
)

// errDone ends reading early.
var errDone = errors.New("done")

// plain calls f with the tar in the file, decompressed by rkt's helper.
func plain(ctx context.Context, helper, file string, f func(io.Reader) error) error {
	in, err := os.Open(file)
	if err != nil {
		return cause(err)
	}
	defer in.Close()
	if fi, err := in.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, errors.New("it is no regular file"))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(fetch.Plain(ctx, helper, in, w))
	}()
	err = f(r)
	cancel()
	r.CloseWithError(errDone)
	<-done
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is no tar, so it is no ACI, or it is damaged")
	}
	return err
}

// Rewrite copies the ACI in file to out, uncompressed, with the manifest that
// edit makes of its own, and gives its ID.
func Rewrite(ctx context.Context, helper, file string, out io.Writer, edit func([]byte) ([]byte, error)) (image.ID, error) {
	sum := sha512.New()
	tw := tar.NewWriter(io.MultiWriter(out, sum))
	found := false
	err := plain(ctx, helper, file, func(r io.Reader) error {
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF { //nolint:errorlint // the end itself
				_, err = io.Copy(io.Discard, r) // what follows the tar
				return err
			}
			if err != nil {
				return err
			}
			if path.Clean(h.Name) == "manifest" {
				if found {
					return errors.New("it has two manifests")
				}
				found = true
				text, err := readManifest(h, tr)
				if err != nil {
					return err
				}
				if text, err = edit(text); err != nil {
					return err
				}
				h.Size = int64(len(text))
				delete(h.PAXRecords, "size")
				if err := tw.WriteHeader(h); err != nil {
					return err
				}
				if _, err := tw.Write(text); err != nil {
					return err
				}
				continue
			}
			if err := tw.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.Copy(tw, tr); err != nil {
				return err
			}
		}
	})
	if err == nil && !found {
		err = errors.New("it has no manifest, so it is no ACI")
	}
	if err == nil {
		err = tw.Close()
	}
	return image.ID("sha512-" + hex.EncodeToString(sum.Sum(nil))), err
}

func readManifest(h *tar.Header, r io.Reader) ([]byte, error) {
	if h.Typeflag != tar.TypeReg || h.Size > aci.MaxManifest {
		return nil, fmt.Errorf("its %s is no small file", path.Clean(h.Name))
	}
	return io.ReadAll(r)
}

// Manifest reads the manifest of the ACI in file.
func Manifest(ctx context.Context, helper, file string) ([]byte, error) {
	return Document(ctx, helper, file, "manifest")
}

// Document reads a small file of a tar's.
func Document(ctx context.Context, helper, file, name string) (text []byte, err error) {
	err = plain(ctx, helper, file, func(r io.Reader) error {
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF { //nolint:errorlint // the end itself
				return fmt.Errorf("it has no %s", name)
			}
			if err != nil {
				return err
			}
			if path.Clean(h.Name) == name {
				text, err = readManifest(h, tr)
				return err
			}
		}
	})
	return text, err
}

// Validate checks that the file is an ACI (appc 0.8.11, "Image Layout"): a
// manifest that is valid, a rootfs, and nothing beside them.
func Validate(ctx context.Context, helper, file string) error {
	rootfs, manifest := false, false
	return plain(ctx, helper, file, func(r io.Reader) error {
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF { //nolint:errorlint // the end itself
				switch {
				case !manifest:
					return errors.New("it has no manifest")
				case !rootfs:
					return errors.New("it has no rootfs")
				}
				return nil
			}
			if err != nil {
				return err
			}
			name := path.Clean(h.Name)
			first, _, _ := strings.Cut(name, "/")
			switch {
			case strings.HasPrefix(h.Name, "/"), first == "..":
				return fmt.Errorf("%q leads out of it", h.Name)
			case name == ".":
			case name == "manifest":
				if manifest {
					return errors.New("it has two manifests")
				}
				manifest = true
				text, err := readManifest(h, tr)
				if err == nil {
					_, err = aci.Parse(text)
				}
				if err != nil {
					return err
				}
			case name == "rootfs" && h.Typeflag != tar.TypeDir:
				return errors.New("its rootfs is no directory")
			case first == "rootfs":
				rootfs = true
				if h.Typeflag == tar.TypeLink && !strings.HasPrefix(path.Clean(h.Linkname), "rootfs/") {
					return fmt.Errorf("%q is a hard link to %q, outside of the rootfs", h.Name, h.Linkname)
				}
			default:
				return hint.Wrap(fmt.Errorf("it has %q beside manifest and rootfs", h.Name), "appc allows nothing else in an image")
			}
		}
	})
}

// Looks tells whether a file begins like a manifest, not like an archive.
func Looks(begin []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(begin), []byte("{")) }

func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
