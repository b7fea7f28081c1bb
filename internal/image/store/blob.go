// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
)

// HasBlob says whether a blob is stored, and its size in bytes. A blob that is
// there will not be collected before this Store is closed or its process ends,
// so that a fetch may count on it until Commit. What another user put there
// counts only if its digest is d.
func (s *Store) HasBlob(d image.Digest) (size int64, ok bool) {
	path := s.blobPath(d)
	if path == "" {
		return 0, false
	}
	defer s.pinShared("blob", d)()
	return s.holds(path, d)
}

// OpenBlob opens a stored blob for reading. A missing one is fs.ErrNotExist.
func (s *Store) OpenBlob(d image.Digest) (*os.File, error) {
	path := s.blobPath(d)
	if path == "" {
		return nil, fmt.Errorf("cannot open blob %q: not a digest", d)
	}
	f, _, err := openPlain(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open blob %s: %w", d, err)
	}
	return f, nil
}

// pinShared pins d under the shared lock and returns the unlocking. Errors are
// left to whatever the caller does next: pinning saves a fetch from a
// collection at the same time, Commit is what proves that all is there.
func (s *Store) pinShared(kind string, d image.Digest) (unlock func()) {
	l, err := s.lock(flock.Shared)
	if err != nil {
		return func() {}
	}
	_ = s.pin(kind, d)
	return func() { l.Close() }
}

// writeback is how many bytes of a blob are given to the disk at once.
const writeback = 8 << 20

// BlobWriter takes in one blob: write it, then Commit or Abort; or Keep, if it
// is from ResumeBlob. It is for one goroutine.
type BlobWriter struct {
	s    *Store
	f    *os.File // flock'ed while in use; nil when done
	algo string
	hash hash.Hash
	size int64
	sent int64 // up to where the disk was told to write

	part   *partial // nil: it goes when its process does
	failed bool     // a write failed: the disk is full, or worse
}

// NewBlob begins a blob that will be stored under its SHA-256.
func (s *Store) NewBlob() (*BlobWriter, error) { return s.NewBlobAlgo("sha256") }

// NewBlobAlgo is NewBlob for an algorithm of image.Digest.
func (s *Store) NewBlobAlgo(algo string) (*BlobWriter, error) {
	w, err := s.newBlobWriter(algo)
	if err != nil {
		return nil, err
	}
	l, err := s.lock(flock.Shared)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	w.f, err = createLocked(s.rkt("tmp"))
	if err != nil {
		return nil, fmt.Errorf("cannot store blob: %w", err)
	}
	return w, nil
}

// newBlobWriter lacks its file still.
func (s *Store) newBlobWriter(algo string) (*BlobWriter, error) {
	w := &BlobWriter{s: s, algo: algo}
	if w.hash = newHash(algo); w.hash == nil {
		return nil, fmt.Errorf("cannot store blob: no digest algorithm %q", algo)
	}
	return w, nil
}

// Write adds to the blob.
func (w *BlobWriter) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, fmt.Errorf("cannot store blob: %w", os.ErrClosed)
	}
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		w.failed = true
		return n, fmt.Errorf("cannot store blob: %w", cause(err))
	}
	if w.part != nil && w.size-w.part.at >= checkpointEvery {
		if err := w.checkpoint(); err != nil {
			w.failed = true
			return n, fmt.Errorf("cannot store blob: %w", cause(err))
		}
	}
	// Let the disk begin now, beside the download, so that Commit's fsync finds
	// little left to do. Whether it does is of no consequence here.
	if w.size-w.sent >= writeback {
		_ = unix.SyncFileRange(int(w.f.Fd()), w.sent, w.size-w.sent, unix.SYNC_FILE_RANGE_WRITE)
		w.sent = w.size
	}
	return n, nil
}

// Reader opens what is being written for reading, so that a blob can be
// unpacked while it arrives. The caller closes it; it stays good after Commit
// and Abort.
func (w *BlobWriter) Reader() (*os.File, error) {
	if w.f == nil {
		return nil, fmt.Errorf("cannot read blob in flight: %w", os.ErrClosed)
	}
	f, err := os.Open(w.f.Name())
	if err != nil {
		return nil, fmt.Errorf("cannot read blob in flight: %w", cause(err))
	}
	return f, nil
}

// Digest is the digest of what was written so far.
func (w *BlobWriter) Digest() image.Digest {
	return image.Digest(w.algo + ":" + hex.EncodeToString(w.hash.Sum(nil)))
}

// Size is the number of bytes written so far.
func (w *BlobWriter) Size() int64 { return w.size }

// Commit stores the blob if it is what was wanted: size bytes, or any number if
// size is negative, of digest want, or any if want is "". It is durable when
// Commit returns; one that is stored already is replaced. On error nothing is
// stored. Either way the writer is done.
func (w *BlobWriter) Commit(want image.Digest, size int64) error {
	if w.f == nil {
		return fmt.Errorf("cannot store blob %s: %w", want, os.ErrClosed)
	}
	err := w.commit(want, size)
	if err != nil {
		w.Abort()
	}
	return err
}

func (w *BlobWriter) commit(want image.Digest, size int64) error {
	got := w.Digest()
	if want == "" {
		want = got
	}
	switch {
	case size >= 0 && w.size != size:
		return fmt.Errorf("cannot store blob %s: got %d bytes, want %d", want, w.size, size)
	case want.Algorithm() != w.algo:
		return fmt.Errorf("cannot store blob %s: its %s was not computed", want, want.Algorithm())
	case got != want:
		return fmt.Errorf("cannot store blob %s: content is %s", want, got)
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("cannot store blob %s: %w", want, cause(err))
	}
	l, err := w.s.lock(flock.Shared)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := w.s.pin("blob", want); err != nil {
		return err
	}
	path := w.s.blobPath(want)
	if w.s.keeps(path, want, w.size) {
		w.Abort()
		return nil
	}
	if w.part != nil {
		w.part.dropState() // while the name is ours: the next one's must stay
	}
	failpoint.Hit("store/before-blob-rename")
	if err := os.Rename(w.f.Name(), path); err != nil {
		return fmt.Errorf("cannot store blob %s: %w", want, cause(err))
	}
	failpoint.Hit("store/after-blob-rename")
	w.f.Close()
	w.f = nil
	return atomicfile.SyncDir(filepath.Dir(path))
}

// keeps tells whether a blob that is there already stays in place of one that was
// proven just now. This user's own does not: nobody has read it since it was
// written, and to replace what a disk has damaged costs no more than a rename.
// That of somebody else who is believed stays, for ours would have to be proven
// anew by whoever does not believe us.
func (s *Store) keeps(path string, d image.Digest, size int64) bool {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || int(st.Uid) == os.Geteuid() {
		return false
	}
	there, ok := s.holds(path, d)
	return ok && there == size
}

// Abort gives the blob up; after Commit it does nothing.
func (w *BlobWriter) Abort() {
	if w.f != nil {
		if w.part != nil {
			w.part.dropState()
		}
		os.Remove(w.f.Name())
		w.f.Close()
		w.f = nil
	}
}

// putBlob stores a small blob of the store's own making; the caller holds the
// lock exclusively.
func (s *Store) putBlob(b []byte) error {
	path := s.blobPath(digestOf(b))
	if there, _, err := readPlain(path); err == nil && bytes.Equal(there, b) {
		return nil
	}
	return atomicfile.Write(path, b, fileMode)
}

func digestOf(b []byte) image.Digest {
	sum := sha256.Sum256(b)
	return image.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// cause drops a path that would only repeat, or hide, what the message names.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}
