// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/flock"
)

// A partial is a blob in flight that a later process may go on with, whatever
// ended the first one. Its file has a name that follows from what is
// downloaded, images/rkt/tmp/part-<sha256>, and is flock'ed by its writer like
// any blob in flight; beside it, .state has what was known at the last
// checkpoint. Nothing of it is believed: a blob enters the store by its digest
// alone.
const (
	partPrefix  = "part-"
	stateSuffix = ".state"

	// MinPartial is the least that is worth keeping, bytes.
	MinPartial = 4 << 20
	// checkpointEvery is after how many bytes the hash's state is noted. After a
	// kill so much at most is hashed again.
	checkpointEvery = 16 << 20
	// MaxPartialAge is how long after its last byte Collect spares a partial.
	MaxPartialAge = 24 * time.Hour
	// maxState bounds the file that is read, bytes.
	maxState = 64 << 10
)

// partial is the part of a BlobWriter that outlives the process.
type partial struct {
	state *os.File
	boot  string
	inode uint64
	at    int64 // the last checkpoint
	note  string
}

// partState is the content of a .state file.
type partState struct {
	// Boot is the kernel's boot ID. Bytes that were hashed but not synced may
	// be gone after a crash of the machine: then Size and Hash mean nothing.
	Boot  string `json:"boot"`
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"` // Hash is that of so many bytes
	Hash  []byte `json:"hash"` // encoding.BinaryMarshaler's
	Note  string `json:"note,omitempty"`
}

// ResumeBlob begins a blob that a later process may go on with, or goes on with
// one: Size tells how much is there, Note what SetNote said of it. key says what
// is downloaded: a digest, a URL. Whoever cannot finish calls Keep instead of
// Abort. While another process is at the same key, this is NewBlobAlgo.
//
// What is there may be wrong, whoever wrote it: if Commit, or the caller's own
// comparison with Digest, fails for a blob that was continued, it should be
// begun anew once.
func (s *Store) ResumeBlob(key, algo string) (*BlobWriter, error) {
	w, err := s.newBlobWriter(algo)
	if err != nil {
		return nil, err
	}
	f, err := s.openPartial(s.partialPath(key, algo))
	if err == nil {
		if err = w.resume(f); err != nil {
			f.Close()
		}
	}
	if errors.Is(err, flock.ErrBusy) || foreign(err) {
		return s.NewBlobAlgo(algo)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot go on with blob: %w", cause(err))
	}
	return w, nil
}

func (s *Store) partialPath(key, algo string) string {
	sum := sha256.Sum256([]byte(algo + " " + key))
	return s.rkt("tmp", partPrefix+hex.EncodeToString(sum[:]))
}

// openPartial opens a partial and locks it: flock.ErrBusy if another process
// has it, fs.ErrPermission if another user has, who might still write to it.
func (s *Store) openPartial(path string) (*os.File, error) {
	l, err := s.lock(flock.Shared)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, fileMode)
		if err != nil {
			return nil, err
		}
		if err = flock.TryLock(f, flock.Exclusive); err == nil {
			err = ownFile(f)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if !sameFile(f, path) { // its last writer finished meanwhile
			f.Close()
			continue
		}
		return f, f.Chmod(fileMode)
	}
}

// ownFile refuses what is no regular file of this process's user.
func ownFile(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Nlink > 1 {
		return fs.ErrPermission
	}
	return nil
}

// foreign tells that another user has put something where a partial would be.
func foreign(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO)
}

// resume takes over the partial f, as far as its state can be used; what was
// written after the last checkpoint is hashed again.
func (w *BlobWriter) resume(f *os.File) (err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	p := &partial{boot: bootID(), inode: st.Ino}
	p.state, err = os.OpenFile(f.Name()+stateSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.state.Close()
		}
	}()
	// Whoever wrote it says what was hashed: bytes that do not give the digest
	// could be made to.
	if err := ownFile(p.state); err != nil {
		return err
	}
	if err := p.state.Chmod(fileMode); err != nil {
		return err
	}
	if old, ok := p.read(); ok {
		p.note = old.Note
		u, can := w.hash.(encoding.BinaryUnmarshaler)
		if can && old.Boot == p.boot && p.boot != "" && old.Size > 0 && old.Size <= st.Size {
			if u.UnmarshalBinary(old.Hash) == nil {
				p.at = old.Size
			} else {
				w.hash.Reset()
			}
		}
	}
	if _, err := io.Copy(w.hash, io.NewSectionReader(f, p.at, st.Size-p.at)); err != nil {
		return err
	}
	if _, err := f.Seek(st.Size, io.SeekStart); err != nil {
		return err
	}
	w.f, w.part, w.size, w.sent = f, p, st.Size, st.Size
	return nil
}

// read gives the state that a process left for this very file. One that is
// damaged is none.
func (p *partial) read() (partState, bool) {
	var st partState
	b, err := io.ReadAll(io.LimitReader(p.state, maxState))
	if err != nil || json.Unmarshal(b, &st) != nil || st.Inode != p.inode {
		return partState{}, false
	}
	return st, true
}

// checkpoint notes how far w got, so that a process after this one need not
// hash it again. It does not sync: see partState.Boot.
func (w *BlobWriter) checkpoint() error {
	p := w.part
	st := partState{Boot: p.boot, Inode: p.inode, Size: w.size, Note: p.note}
	m, ok := w.hash.(encoding.BinaryMarshaler)
	if !ok {
		return fmt.Errorf("cannot keep the state of %T", w.hash)
	}
	var err error
	if st.Hash, err = m.MarshalBinary(); err != nil {
		return err
	}
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if _, err = p.state.WriteAt(b, 0); err == nil {
		err = p.state.Truncate(int64(len(b)))
	}
	p.at = w.size
	failpoint.Hit("store/partial-checkpoint")
	return err
}

// Note is what SetNote said of the partial, in this process or an earlier one.
func (w *BlobWriter) Note() string {
	if w.part == nil {
		return ""
	}
	return w.part.note
}

// SetNote keeps note with the partial, at once: what the caller must know to go
// on, such as an ETag. A blob that is no partial forgets it.
func (w *BlobWriter) SetNote(note string) error {
	if w.part == nil || w.part.note == note {
		return nil
	}
	w.part.note = note
	if err := w.checkpoint(); err != nil {
		return fmt.Errorf("cannot store blob: %w", cause(err))
	}
	return nil
}

// Restart throws away what is there, the note too.
func (w *BlobWriter) Restart() error {
	if w.f == nil {
		return fmt.Errorf("cannot store blob: %w", os.ErrClosed)
	}
	err := w.f.Truncate(0)
	if err == nil {
		_, err = w.f.Seek(0, io.SeekStart)
	}
	if err == nil && w.part != nil {
		w.part.at, w.part.note = 0, ""
		err = w.part.state.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("cannot store blob: %w", cause(err))
	}
	w.hash.Reset()
	w.size, w.sent = 0, 0
	return nil
}

// Keep ends the writer and leaves what is there to the next ResumeBlob; less
// than MinPartial, what a full disk cut, and a blob that is no partial go as by
// Abort. After Commit it does nothing.
func (w *BlobWriter) Keep() {
	if w.f == nil {
		return
	}
	if w.part == nil || w.failed || w.size < MinPartial || w.checkpoint() != nil {
		w.Abort()
		return
	}
	w.part.state.Close()
	w.f.Close()
	w.f = nil
}

// dropState removes the state, for the file is about to go or to get its final
// name. Doing it again does nothing.
func (p *partial) dropState() {
	if p.state.Close() == nil {
		os.Remove(p.state.Name())
	}
}

// sweepPartials removes the partials that nobody went on with for
// MaxPartialAge, and states without one. The caller holds the store's lock
// exclusively.
func (s *Store) sweepPartials(c *Collected) error {
	names, err := dirNames(s.rkt("tmp"))
	errs := []error{err}
	remove := func(path string) {
		freed, err := removeFile(path)
		errs = append(errs, others(err))
		c.Freed += max(freed, 0)
	}
	for _, n := range names {
		path := s.rkt("tmp", n)
		if !strings.HasPrefix(n, partPrefix) {
			continue
		}
		if owner, ok := strings.CutSuffix(path, stateSuffix); ok {
			if _, err := os.Lstat(owner); errors.Is(err, fs.ErrNotExist) {
				remove(path)
			}
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
			remove(path) // nothing of ours is a link or a socket
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fi, err := f.Stat()
		if err == nil {
			err = flock.TryLock(f, flock.Exclusive)
		}
		switch {
		case err == nil && time.Since(fi.ModTime()).Abs() > MaxPartialAge && sameFile(f, path):
			remove(path)
			remove(path + stateSuffix)
			c.Orphans++
		case err != nil && !errors.Is(err, flock.ErrBusy):
			errs = append(errs, err)
		}
		f.Close()
	}
	return errors.Join(errs...)
}

// bootID changes with every start of the machine; "" if it cannot be had.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
