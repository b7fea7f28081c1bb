// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/safepath"
)

const (
	// copySize is the size of one write of file data.
	copySize = 1 << 20
	// holeSize is the shortest run of zeros, aligned to itself, that is left
	// out of a file: short enough to keep what is sparse, long enough not to
	// tear a dense file into pieces.
	holeSize = 64 << 10
)

var zeros [holeSize]byte

// extractor writes one layer's tree.
type extractor struct {
	ctx      context.Context
	opt      Options
	lim      Limits
	aci      bool
	dirs     *dirs // nil: an ACI is only looked at
	res      Result
	implicit map[string]struct{}
	hiding   map[string]struct{}
	entries  int64
	bytes    int64
	notes    int
	acl      bool // some directory may have a default ACL
	rootfs   bool // an ACI's rootfs was seen
	buf      []byte
}

func newExtractor(ctx context.Context, root *os.File, opt Options, aci bool) (*extractor, error) {
	x := &extractor{ctx: ctx, opt: opt, lim: opt.Limits, aci: aci}
	if root == nil {
		return x, nil
	}
	x.implicit, x.hiding = map[string]struct{}{".": {}}, map[string]struct{}{}
	x.buf = make([]byte, copySize)
	x.dirs = newDirs(int(root.Fd()))
	// What the host's directory would hand down is not the image's.
	x.acl = true
	if err := x.dropInheritedACL(x.dirs.root.fd, true); err != nil {
		return x, err
	}
	x.acl = false
	return x, x.plainDir(x.dirs.root)
}

func (x *extractor) close() {
	if x.dirs != nil {
		_ = x.dirs.close(false)
	}
}

// finish settles what only the end of the stream decides.
func (x *extractor) finish() error {
	var err error
	if x.dirs != nil {
		err = x.dirs.close(true)
	}
	if x.aci && err == nil {
		switch {
		case x.res.Manifest == nil:
			err = errors.New("the archive has no manifest")
		case !x.rootfs:
			err = errors.New("the archive has no rootfs")
		}
	}
	x.res.Implicit = slices.Sorted(maps.Keys(x.implicit))
	x.res.Hiding = slices.Sorted(maps.Keys(x.hiding))
	if more := x.notes - maxNotes; more > 0 {
		x.res.Notes = append(x.res.Notes, fmt.Sprintf("and %d more left out", more))
	}
	return err
}

func (x *extractor) note(format string, args ...any) {
	if x.notes++; x.notes <= maxNotes {
		x.res.Notes = append(x.res.Notes, fmt.Sprintf(format, args...))
	}
}

func (x *extractor) countEntry() error {
	if x.entries++; x.entries > x.lim.Entries {
		return &LimitError{"entries", x.lim.Entries}
	}
	return x.ctx.Err()
}

// all extracts every entry of tr.
func (x *extractor) all(tr *tar.Reader) error {
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // our own rules decide
			return err
		}
		if err := x.countEntry(); err != nil {
			return err
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := x.entry(hdr, tr); err != nil {
			var limit *LimitError
			if errors.As(err, &limit) {
				return err
			}
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
				err = hint.Wrap(err, "free some space in the data directory, for example with `rkt image gc`")
			}
			return fmt.Errorf("entry %q: %w", shorten(hdr.Name), err)
		}
	}
}

func (x *extractor) entry(hdr *tar.Header, data io.Reader) error {
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if x.aci {
		if name == "manifest" {
			return x.manifest(hdr, data)
		}
		in, ok := belowRootfs(name)
		if name != "." && !ok {
			return errors.New("an ACI holds only manifest and rootfs")
		}
		if name == "." {
			return nil // the archive's own directory
		}
		x.rootfs = true
		if x.dirs == nil {
			return nil
		}
		name = in
	}
	if err := checkAttributes(hdr); err != nil {
		return err
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root must be a directory")
		}
		delete(x.implicit, ".")
		return x.dirAttributes(x.dirs.root, hdr, true)
	}

	dirname, base := split(name)
	if !x.aci {
		m, hidden, err := marked(dirname, base)
		if err != nil {
			return err
		}
		switch m {
		case ignored:
			return nil
		case opaque:
			d, err := x.parent(dirname, true)
			if err != nil {
				return err
			}
			return x.setOpaque(d)
		case whiteout:
			return x.whiteout(dirname, hidden)
		}
	}

	switch hdr.Typeflag {
	case tar.TypeDir:
		return x.directory(dirname, base, hdr)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return x.file(dirname, base, hdr, data)
	case tar.TypeLink:
		return x.hardLink(dirname, base, hdr.Linkname)
	case tar.TypeSymlink:
		return x.symlink(dirname, base, hdr)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return x.node(dirname, base, hdr)
	}
	return fmt.Errorf("unknown type %q", hdr.Typeflag)
}

// belowRootfs takes an ACI's rootfs/ off a clean name.
func belowRootfs(name string) (string, bool) {
	if name == "rootfs" {
		return ".", true
	}
	return strings.CutPrefix(name, "rootfs/")
}

func (x *extractor) manifest(hdr *tar.Header, data io.Reader) error {
	switch {
	case hdr.Typeflag != tar.TypeReg:
		return errors.New("the manifest is not a regular file")
	case x.res.Manifest != nil:
		return errors.New("there are two of them")
	case hdr.Size > MaxManifest:
		return &LimitError{"bytes of manifest", MaxManifest}
	}
	b, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	x.res.Manifest = append([]byte{}, b...)
	return nil
}

// checkAttributes refuses numbers that the kernel would read as something else;
// an owner of -1 means "leave it".
func checkAttributes(hdr *tar.Header) error {
	if hdr.Uid < 0 || hdr.Uid >= math.MaxUint32 || hdr.Gid < 0 || hdr.Gid >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", hdr.Uid, hdr.Gid)
	}
	if hdr.Size < 0 {
		return errors.New("the size is negative")
	}
	return nil
}

// make runs create for base in the directory dirname, which it makes if it is
// missing. What stands at base already is removed first: the later entry wins.
func (x *extractor) make(dirname, base string, create func(in *dir) error) (*dir, error) {
	in, err := x.parent(dirname, true)
	if err != nil {
		return nil, err
	}
	in.dirty = true
	err = create(in)
	if errors.Is(err, unix.EEXIST) {
		if err = x.remove(in, base); err != nil {
			return nil, err
		}
		err = create(in)
	}
	if err == nil {
		x.res.Files++
	}
	return in, err
}

func (x *extractor) directory(dirname, base string, hdr *tar.Header) error {
	in, err := x.parent(dirname, true)
	if err != nil {
		return err
	}
	d, err := x.mkdir(in, base)
	if err == nil {
		return x.dirAttributes(d, hdr, false)
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(in.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if d, err = x.dirs.openDir(join(in.path, base)); err != nil {
			return err
		}
		delete(x.implicit, d.path)
		return x.dirAttributes(d, hdr, true)
	}
	// A file or a whiteout of this layer hid the lower layers' directory of
	// that name; so must the directory in its place.
	if err := x.remove(in, base); err != nil {
		return err
	}
	if d, err = x.mkdir(in, base); err != nil {
		return err
	}
	if err := x.setOpaque(d); err != nil {
		return err
	}
	return x.dirAttributes(d, hdr, false)
}

// dirAttributes gives d what hdr says; had tells that it may have attributes
// already.
func (x *extractor) dirAttributes(d *dir, hdr *tar.Header, had bool) error {
	if had {
		if err := x.clearXattrs(d.fd); err != nil {
			return err
		}
	}
	if err := x.own(d.fd, hdr); err != nil {
		return err
	}
	if err := unix.Fchmod(d.fd, x.mode(hdr, 0o700)); err != nil {
		return err
	}
	if err := x.xattrs(hdr, func(name string, value []byte) error {
		return unix.Fsetxattr(d.fd, name, value, 0)
	}); err != nil {
		return err
	}
	d.times, d.dirty = times(hdr), true
	return nil
}

func (x *extractor) file(dirname, base string, hdr *tar.Header, data io.Reader) (err error) {
	if x.bytes += hdr.Size; x.bytes > x.lim.Bytes || x.bytes < 0 {
		return &LimitError{"bytes", x.lim.Bytes}
	}
	fd := -1
	_, err = x.make(dirname, base, func(in *dir) (err error) {
		fd, err = safepath.OpenBeneath(in.fd, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	if err := x.content(fd, hdr.Size, data); err != nil {
		return err
	}
	x.res.TreeSize += hdr.Size
	if err := x.dropInheritedACL(fd, false); err != nil {
		return err
	}
	if err := x.own(fd, hdr); err != nil {
		return err
	}
	// An ordinary user sets attributes only of what may be written.
	if err := unix.Fchmod(fd, x.mode(hdr, 0o600)); err != nil {
		return err
	}
	if err := x.xattrs(hdr, func(name string, value []byte) error {
		return unix.Fsetxattr(fd, name, value, 0)
	}); err != nil {
		return err
	}
	if x.opt.Unowned {
		if err := unix.Fchmod(fd, x.mode(hdr, 0o400)); err != nil {
			return err
		}
	}
	return futimens(fd, times(hdr))
}

// content writes size bytes, in large writes, and leaves long runs of zeros out.
func (x *extractor) content(fd int, size int64, data io.Reader) error {
	var at, end int64 // end: of what is written
	for at < size {
		b := x.buf[:min(int64(len(x.buf)), size-at)]
		if _, err := io.ReadFull(data, b); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		for len(b) > 0 {
			skip, run := holes(b)
			at += int64(skip)
			if run > 0 {
				if err := pwrite(fd, b[skip:skip+run], at); err != nil {
					return err
				}
				at += int64(run)
				end = at
			}
			b = b[skip+run:]
		}
	}
	if end < size {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

// holes tells how many bytes at the beginning of b are whole blocks of zeros,
// and how many after that are to be written.
func holes(b []byte) (skip, run int) {
	for len(b)-skip >= holeSize && bytes.Equal(b[skip:skip+holeSize], zeros[:]) {
		skip += holeSize
	}
	for run = 0; skip+run < len(b); {
		n := min(holeSize, len(b)-skip-run)
		if n == holeSize && bytes.Equal(b[skip+run:skip+run+n], zeros[:]) {
			break
		}
		run += n
	}
	return skip, run
}

func pwrite(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

func (x *extractor) symlink(dirname, base string, hdr *tar.Header) error {
	if hdr.Linkname == "" {
		return errors.New("the link has no target")
	}
	in, err := x.make(dirname, base, func(in *dir) error {
		return unix.Symlinkat(hdr.Linkname, in.fd, base)
	})
	if err != nil {
		return err
	}
	return x.nodeAttributes(in, base, hdr)
}

func (x *extractor) node(dirname, base string, hdr *tar.Header) error {
	mode := uint32(unix.S_IFIFO)
	dev := uint64(0)
	if hdr.Typeflag != tar.TypeFifo {
		if hdr.Devmajor < 0 || hdr.Devmajor >= 1<<12 || hdr.Devminor < 0 || hdr.Devminor >= 1<<20 {
			return fmt.Errorf("device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
		}
		mode = unix.S_IFCHR
		if hdr.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
		dev = unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
		if mode == unix.S_IFCHR && dev == 0 {
			// overlayfs's own mark, leaked by whatever made the layer.
			if x.aci {
				return errors.New("a character device 0:0 cannot be part of an image")
			}
			return x.whiteout(dirname, base)
		}
		if x.opt.Rootless {
			x.note("device node %q: a user namespace cannot make it", shorten(hdr.Name))
			return nil
		}
	}
	in, err := x.make(dirname, base, func(in *dir) error {
		return unix.Mknodat(in.fd, base, mode|0o600, int(dev))
	})
	if err != nil {
		return err
	}
	return x.nodeAttributes(in, base, hdr)
}

// hardLink links base to a file that this layer has already. The link's own
// header says nothing: its inode has its attributes from the first entry.
func (x *extractor) hardLink(dirname, base, target string) error {
	missing := fmt.Errorf("its hard link target %q is not in this layer", shorten(target))
	tname, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link target %q: %w", shorten(target), err)
	}
	if x.aci {
		in, ok := belowRootfs(tname)
		if !ok {
			return missing
		}
		tname = in
	}
	tdirname, tbase := split(tname)
	for replaced := false; ; replaced = true {
		in, err := x.parent(dirname, true)
		if err != nil {
			return err
		}
		in.pinned = true
		tdir, err := x.parent(tdirname, false)
		in.pinned = false
		if errors.Is(err, unix.ENOENT) {
			return missing
		} else if err != nil {
			return fmt.Errorf("hard link target %q: %w", shorten(target), err)
		}
		var st, own unix.Stat_t
		err = unix.Fstatat(tdir.fd, tbase, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == unix.ENOENT, err == nil && isWhiteout(&st):
			return missing
		case err != nil:
			return err
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			return fmt.Errorf("its hard link target %q is a directory", shorten(target))
		}
		in.dirty = true
		err = unix.Linkat(tdir.fd, tbase, in.fd, base, 0)
		if err == nil {
			x.res.Files++
			return nil
		}
		if err != unix.EEXIST || replaced {
			return err
		}
		if unix.Fstatat(in.fd, base, &own, unix.AT_SYMLINK_NOFOLLOW) == nil && own.Ino == st.Ino && own.Dev == st.Dev {
			return nil
		}
		if err := x.remove(in, base); err != nil { // may take the target along: look again
			return err
		}
	}
}

// whiteout hides hidden of the lower layers. What this layer itself has there
// stays (image-spec 1.1, layer.md: whiteouts apply to lower layers only), in
// whatever order the two come.
func (x *extractor) whiteout(dirname, hidden string) error {
	in, err := x.parent(dirname, true)
	if err != nil {
		return err
	}
	if is, err := x.isOpaque(in); err != nil || is {
		return err // nothing of the lower layers is left to hide
	}
	in.dirty = true
	err = unix.Mknodat(in.fd, hidden, unix.S_IFCHR, 0)
	if err == nil {
		x.res.Files++
		return x.remember(x.hiding, in.path)
	}
	if err != unix.EEXIST {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(in.fd, hidden, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	d, err := x.dirs.openDir(join(in.path, hidden))
	if err != nil {
		return err
	}
	return x.setOpaque(d)
}

// remember adds a directory to the facts.
func (x *extractor) remember(set map[string]struct{}, path string) error {
	set[path] = struct{}{}
	if int64(len(x.implicit)+len(x.hiding)) > x.lim.Facts {
		return &LimitError{"implicit directories", x.lim.Facts}
	}
	return nil
}

func times(hdr *tar.Header) [2]unix.Timespec {
	m := timespec(hdr.ModTime)
	if hdr.AccessTime.IsZero() {
		return [2]unix.Timespec{m, m}
	}
	return [2]unix.Timespec{timespec(hdr.AccessTime), m}
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func ownerError(err error, hdr *tar.Header) error {
	err = fmt.Errorf("cannot give it to %d:%d: %w", hdr.Uid, hdr.Gid, err)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		err = hint.Wrap(err, "your user namespace has no such owner: the administrator can give you ids by newuidmap and newgidmap (Debian's package uidmap) and a line such as YOU:100000:65536 in /etc/subuid and /etc/subgid")
	}
	return err
}
