// SPDX-License-Identifier: Apache-2.0

// Package export writes images and pods' roots in the forms that others read:
// App Container Images, OCI layouts and archives, docker-archives. What is kept
// byte for byte in the store leaves it so, its digests proven once more on the
// way; tars are written anew from trees, always the same one for the same tree:
// sorted, in PAX form, with nothing of this host's in them.
//
// docs/export.md says what becomes of what.
package export

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

const paxXattr = "SCHILY.xattr."

// Packing says how trees become tars. The zero value writes what is there.
type Packing struct {
	// Notes is told of what a tar cannot hold; nil is nobody.
	Notes func(what, path string)
	// Latest, unless zero, takes the place of every later modification time
	// (SOURCE_DATE_EPOCH).
	Latest time.Time
	// OwnIsRoot: what belongs to the calling user is written as root's.
	OwnIsRoot bool
}

// packer writes entries of trees into one tar.
type packer struct {
	Packing
	tw       *tar.Writer
	prefix   string                 // "" or "rootfs/"
	linked   map[merge.Inode]string // files with several names, by the name of the first
	uid, gid uint32                 // the caller's
	buf      []byte
}

func newPacker(w io.Writer, prefix string, how Packing) *packer {
	if how.Notes == nil {
		how.Notes = func(string, string) {}
	}
	return &packer{Packing: how, tw: tar.NewWriter(w), prefix: prefix, linked: map[merge.Inode]string{},
		uid: uint32(os.Getuid()), gid: uint32(os.Getgid()), buf: make([]byte, 1<<20)}
}

// header is what of an entry's attributes every kind of entry has.
func (p *packer) header(e *merge.Entry) *tar.Header {
	hdr := &tar.Header{
		Name: p.name(e.Path, e.IsDir()), Format: tar.FormatPAX,
		Mode: int64(e.Stat.Mode & 0o7777), Uid: int(e.Stat.Uid), Gid: int(e.Stat.Gid),
		ModTime: time.Unix(e.Stat.Mtim.Unix()),
	}
	if !p.Latest.IsZero() && hdr.ModTime.After(p.Latest) {
		hdr.ModTime = p.Latest
	}
	if p.OwnIsRoot {
		if e.Stat.Uid == p.uid {
			hdr.Uid = 0
		}
		if e.Stat.Gid == p.gid {
			hdr.Gid = 0
		}
	}
	return hdr
}

// tree writes e and all below it.
func (p *packer) tree(e *merge.Entry) error { return e.Walk(p.entry) }

// name is what the tar calls path.
func (p *packer) name(path string, dir bool) string {
	name := p.prefix + path
	if path == "." {
		name = strings.TrimSuffix(p.prefix, "/")
		if name == "" {
			name = "."
		}
	}
	if dir {
		name += "/"
	}
	return name
}

// entry writes e itself.
func (p *packer) entry(e *merge.Entry) error {
	if err := p.write(e); err != nil {
		return fmt.Errorf("cannot pack %q: %w", e.Path, err)
	}
	return nil
}

func (p *packer) write(e *merge.Entry) error {
	if p.prefix == "" && strings.HasPrefix(base(e.Path), whiteoutPrefix) {
		return errors.New("in a layer such a name would remove a file")
	}
	hdr := p.header(e)
	switch e.Type() {
	case unix.S_IFDIR:
		hdr.Typeflag = tar.TypeDir
	case unix.S_IFREG:
		hdr.Typeflag, hdr.Size = tar.TypeReg, e.Stat.Size
	case unix.S_IFLNK:
		hdr.Typeflag = tar.TypeSymlink
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if e.Type() == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(uint64(e.Stat.Rdev))), int64(unix.Minor(uint64(e.Stat.Rdev)))
	default:
		p.Notes("socket", e.Path) // nothing listens in a copy
		return nil
	}
	if !e.IsDir() && e.Stat.Nlink > 1 {
		if first, ok := p.linked[e.Inode()]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
			hdr.Devmajor, hdr.Devminor = 0, 0
			return p.tw.WriteHeader(hdr)
		}
		p.linked[e.Inode()] = hdr.Name
	}
	if hdr.Typeflag == tar.TypeSymlink {
		var err error
		if hdr.Linkname, err = e.Link(); err != nil {
			return err
		}
	}
	xattrs, err := e.Xattrs()
	if err != nil {
		return err
	}
	for name, value := range xattrs {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[paxXattr+name] = string(value)
	}
	if err := p.tw.WriteHeader(hdr); err != nil || hdr.Typeflag != tar.TypeReg {
		return err
	}
	f, err := e.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	// Both ways: what grows or shrinks meanwhile must not become a torn tar.
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, struct{ io.Reader }{io.LimitReader(f, hdr.Size)}, p.buf)
	if err == nil && n < hdr.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// file writes a small regular file of root's, of time 0.
func (p *packer) file(name string, content []byte) error {
	hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := p.tw.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := p.tw.Write(content)
	return err
}

func (p *packer) dir(name string) error {
	return p.tw.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
}

// stream writes a regular file of known size.
func (p *packer) stream(name string, size int64, r io.Reader) error {
	hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := p.tw.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, struct{ io.Reader }{r}, p.buf)
	return err
}
