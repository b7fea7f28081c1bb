// SPDX-License-Identifier: Apache-2.0

// Package archive reads images out of tar files: what `docker save` writes and
// OCI layouts in a tar. It finds the files in one pass over the headers and
// then reads them where they lie.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Limits of an archive's index; images have some hundred files at most.
const (
	maxFiles = 100_000
	maxHops  = 16
)

// Index finds files in an uncompressed tar.
type Index struct {
	r       io.ReaderAt
	entries map[string]entry
}

type entry struct {
	link   string // a path in the archive, or ""
	offset int64
	size   int64
}

// NewIndex reads the headers of the tar in r, which has size bytes. Only
// regular files and links between them are kept; of two files with one name
// the later one counts, as when extracting.
func NewIndex(r io.ReaderAt, size int64) (*Index, error) {
	ix := &Index{r: r, entries: map[string]entry{}}
	// Seekable, so that archive/tar passes over contents without reading them;
	// it does not read ahead, so after Next the position is the content's.
	at := io.NewSectionReader(r, 0, size)
	tr := tar.NewReader(at)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read tar archive: %w", err)
		}
		if n == maxFiles {
			return nil, fmt.Errorf("cannot read tar archive: more than %d files", maxFiles)
		}
		name := clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			for key := range h.PAXRecords {
				if strings.HasPrefix(key, "GNU.sparse.") {
					return nil, fmt.Errorf("cannot read %q in tar archive: it is sparse", name)
				}
			}
			offset, err := at.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if h.Size < 0 || offset > size || h.Size > size-offset {
				return nil, fmt.Errorf("cannot read %q in tar archive: the archive ends before it", name)
			}
			ix.entries[name] = entry{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			ix.entries[name] = entry{link: clean(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			ix.entries[name] = entry{link: clean(h.Linkname)}
		}
	}
	return ix, nil
}

// clean makes a name relative to the archive's root, which nothing climbs out
// of.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// Open gives the content of a file, following links inside the archive.
func (ix *Index) Open(name string) (*io.SectionReader, error) {
	at := clean(name)
	for range maxHops {
		e, ok := ix.entries[at]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if e.link == "" {
			return io.NewSectionReader(ix.r, e.offset, e.size), nil
		}
		at = e.link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
}

// Files is Open in the form that package layout wants.
func (ix *Index) Files(name string) (io.ReadCloser, int64, error) {
	r, err := ix.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(r), r.Size(), nil
}

// File reads the archive in f, a regular file, which becomes the Index's. A
// compressed one is decompressed into scratch, at most limit bytes.
func File(f, scratch *os.File, limit int64) (*Index, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	plain, err := plainReader(f)
	if err != nil {
		return nil, err
	}
	if plain == nil {
		return NewIndex(f, st.Size())
	}
	defer f.Close()
	if scratch == nil {
		return nil, errors.New("cannot read compressed archive: no scratch file")
	}
	n, err := io.Copy(scratch, io.LimitReader(plain, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot decompress archive: %w", err)
	case n > limit:
		return nil, fmt.Errorf("cannot decompress archive: it is larger than %d GiB", limit>>30)
	}
	return NewIndex(scratch, n)
}
