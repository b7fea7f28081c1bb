// SPDX-License-Identifier: Apache-2.0

package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/settle"
)

// A tree in tests is path -> one line that says everything about it.
type tree map[string]string

// dump describes all below root. Hard links are told by the first name of their
// inode, data by its hash, whiteouts and opaque marks by their overlay form.
func dump(t testing.TB, root string) tree {
	t.Helper()
	out := tree{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == unix.ENOENT {
			out[rel] = "listed, but not there"
			return nil
		} else if err != nil {
			return err
		}
		kind := st.Mode & unix.S_IFMT
		line := fmt.Sprintf("mode=%o owner=%d:%d mtime=%d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		if kind != unix.S_IFDIR {
			line += fmt.Sprintf(" nlink=%d", st.Nlink)
			if name, ok := first[st.Ino]; ok && st.Nlink > 1 {
				line += " same=" + name
			}
			if _, ok := first[st.Ino]; !ok {
				first[st.Ino] = rel
			}
		}
		switch kind {
		case unix.S_IFREG:
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			h := sha256.New()
			_, err = io.Copy(h, f)
			f.Close()
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size=%d sum=%x", st.Size, h.Sum(nil)[:6])
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" dev=%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		names := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, names)
		if err != nil && err != unix.EOPNOTSUPP {
			return err
		}
		for _, name := range slices.Sorted(strings.SplitSeq(string(names[:max(n, 0)]), "\x00")) {
			if name == "" {
				continue
			}
			value := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(path, name, value)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", name, path, err)
			}
			line += fmt.Sprintf(" %s=%s", name, hex.EncodeToString(value[:n]))
		}
		out[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// differ lists what is not the same in two trees, without those paths that
// ignore accepts.
func differ(a, b tree, ignore func(path, a, b string) bool) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var out []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if a[path] != b[path] && (ignore == nil || !ignore(path, a[path], b[path])) {
			out = append(out, fmt.Sprintf("%q\n\t- %s\n\t+ %s", path, a[path], b[path]))
		}
	}
	return out
}

// entry is one of a test's tar.
type entry struct {
	name         string
	kind         byte // 0: a regular file, a directory if name ends in "/", a link if link is set
	mode         int64
	uid, gid     int
	body         string
	link         string
	mtime        time.Time
	xattrs       map[string]string
	major, minor int64
}

var epoch = time.Unix(1_600_000_000, 123_456_789)

func (e entry) header() *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: e.name, Typeflag: e.kind, Mode: e.mode, Uid: e.uid, Gid: e.gid,
		Linkname: e.link, ModTime: e.mtime, Devmajor: e.major, Devminor: e.minor,
	}
	if h.Typeflag == 0 {
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(e.body))
	}
	if h.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
		if h.Typeflag == tar.TypeSymlink {
			h.Mode = 0o777
		}
	}
	if h.ModTime.IsZero() {
		h.ModTime = epoch
	}
	for k, v := range e.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+k] = v
	}
	return h
}

func makeTar(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header()
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", e.name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// unpackTo unpacks a layer into the new directory path.
func unpackTo(t testing.TB, r io.Reader, path string, opt Options) (Result, error) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return Layer(context.Background(), r, d, opt)
}

// mounted unpacks layers, stacks them as a pod would, and describes what is
// seen there.
func mounted(t *testing.T, tars [][]byte) tree {
	t.Helper()
	top := t.TempDir()
	var layers []settle.Layer
	var paths []string
	for i, b := range tars {
		path := filepath.Join(top, fmt.Sprint(i))
		res, err := unpackTo(t, bytes.NewReader(b), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		layers = append(layers, settle.Layer{Root: f, Facts: res.Facts})
		paths = append(paths, path)
	}
	plan, err := settle.Stack(layers, false)
	if err != nil {
		t.Fatal(err)
	}
	paths = paths[plan.From:]
	if len(plan.Dirs) > 0 {
		path := filepath.Join(top, "settled")
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := plan.Write(f); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return overlaid(t, paths)
}

// overlaid describes the overlay of paths, lowest first, mounted in a namespace
// that ends with it.
func overlaid(t *testing.T, paths []string) tree {
	t.Helper()
	if len(paths) == 1 { // overlayfs wants two
		empty := t.TempDir()
		paths = append([]string{empty}, paths...)
	}
	mnt := t.TempDir()
	var out tree
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		lower := slices.Clone(paths)
		slices.Reverse(lower)
		if err = unix.Mount("overlay", mnt, "overlay", 0, "lowerdir="+strings.Join(lower, ":")); err != nil {
			err = errors.Join(errors.New("cannot mount overlay"), err)
			return
		}
		out = dump(t, mnt)
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return out
}
