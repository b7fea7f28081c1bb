// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
)

// Members of group rkt write into the store of root, and root unpacks and runs
// what lies there. So a file counts for what its owner could have said:
// directories that members write to are never believed about who put a file
// there, but a file's owner cannot be forged, and one that is its owner's alone
// to write has its owner's content. What root or the process's own user wrote
// is believed; all else is data, to be proven. docs/security.md has the rest.

// believed tells whether what is in a file may be taken at its word.
func believed(st *unix.Stat_t) bool {
	return (st.Uid == 0 || int(st.Uid) == os.Geteuid()) && st.Mode&0o022 == 0
}

// errStrange is that of a link, a pipe and the like: the store makes none, so
// it is as if nothing were there.
const errStrange = strange("not a regular file")

// strange is an error made by the compiler: what is made at package level is
// paid at every start.
type strange string

func (e strange) Error() string { return string(e) }

// Is tells that it is an fs.ErrNotExist.
func (strange) Is(target error) bool { return target == fs.ErrNotExist }

// openPlain opens a regular file that others may have put there: no link is
// followed, and nothing that is not a file is waited for.
func openPlain(path string) (f *os.File, trusted bool, err error) {
	fd, st, err := openFD(path)
	if err != nil {
		return nil, false, err
	}
	_ = unix.SetNonblock(fd, false) // or the poller would be started for it
	return os.NewFile(uintptr(fd), path), believed(&st), nil
}

func openFD(path string) (fd int, st unix.Stat_t, err error) {
	for {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.ELOOP {
		err = errStrange
	}
	if err != nil {
		return -1, st, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errStrange
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, st, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, st, nil
}

// maxFile bounds a record and a name, bytes.
const maxFile = 64 << 20

// readPlain reads such a file, of at most maxFile bytes.
func readPlain(path string) (b []byte, trusted bool, err error) {
	fd, st, err := openFD(path)
	if err != nil {
		return nil, false, err
	}
	defer unix.Close(fd)
	b = make([]byte, 0, min(st.Size, maxFile)+1)
	for len(b) <= maxFile {
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, false, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, believed(&st), nil
		default:
			b = b[:len(b)+n]
		}
	}
	return nil, false, &fs.PathError{Op: "read", Path: path, Err: errors.New("too large")}
}

// claim takes out of a record that is not believed what only its writer vouches
// for.
func (s *Store) claim(r *image.Record) {
	r.Claimed, r.Trust, r.SignedBy = true, image.TrustNone, nil
	for k := range r.Annotations {
		if strings.HasPrefix(k, "rkt/") {
			delete(r.Annotations, k)
		}
	}
	r.Names = slices.DeleteFunc(r.Names, func(name string) bool {
		id, of, _, err := readName(s.namePath(name))
		return err != nil || id != r.ID || of != name
	})
}

// newHash is the hash of a digest's algorithm, nil if there is none.
func newHash(algo string) hash.Hash {
	switch algo {
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// holds tells whether path is a blob that may be used as d: one that is
// believed, or one whose digest is d.
func (s *Store) holds(path string, d image.Digest) (size int64, ok bool) {
	f, trusted, err := openPlain(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, false
	}
	if trusted {
		return fi.Size(), true
	}
	s.mu.Lock()
	size, ok = s.proven[path]
	s.mu.Unlock()
	if ok && size == fi.Size() {
		return size, true
	}
	h := newHash(d.Algorithm())
	n, err := io.Copy(h, f)
	if err != nil || hex.EncodeToString(h.Sum(nil)) != d.Hex() {
		return 0, false
	}
	s.mu.Lock()
	if s.proven == nil {
		s.proven = map[string]int64{}
	}
	s.proven[path] = n
	s.mu.Unlock()
	return n, true
}

// Trees tells whether this process may make trees: members of group rkt store
// blobs and records, and leave to root what takes root.
func (s *Store) Trees() bool {
	return unix.Faccessat(unix.AT_FDCWD, s.layers+"/tmp", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// touch sets a file's times; of a link, its own.
func touch(path string, times [2]unix.Timespec) error {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set the time of %q: %w", path, err)
	}
	return nil
}
