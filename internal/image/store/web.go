// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
)

// URLState is what is known of a URL from which an image came.
type URLState struct {
	URL      string    `json:"url"`
	ID       image.ID  `json:"id"` // the image it gave
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"modified,omitempty"`
	Asked    time.Time `json:"asked"`
	MaxAge   int64     `json:"maxAge,omitempty"` // seconds from Asked on in which nobody need ask again
}

// maxNote bounds the file of a URLState, and a note.
const maxNote = 32 << 10

func (s *Store) webPath(dir, url string) string {
	sum := sha256.Sum256([]byte(url))
	return s.rkt(dir, hex.EncodeToString(sum[:]))
}

// URL says what is known of a URL; ok is false if that is nothing, or if the
// image is gone. What cannot be read is not known.
func (s *Store) URL(url string) (u URLState, ok bool) {
	u, err := readURL(s.webPath("web", url))
	if err != nil || u.URL != url {
		return URLState{}, false
	}
	if _, err := s.readRecord(u.ID); err != nil {
		return URLState{}, false
	}
	return u, true
}

func readURL(path string) (u URLState, err error) {
	b, err := readBounded(path)
	if err == nil {
		err = json.Unmarshal(b, &u)
	}
	if err == nil {
		_, err = image.ParseDigest(string(u.ID.Digest()))
	}
	return u, err
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxNote))
}

// PutURL remembers u, in place of what was known of its URL.
func (s *Store) PutURL(u URLState) error {
	b, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("cannot note %q: %w", u.URL, err)
	}
	if err := os.MkdirAll(s.rkt("web"), dirMode); err != nil {
		return fmt.Errorf("cannot note %q: %w", u.URL, cause(err))
	}
	return atomicfile.Write(s.webPath("web", u.URL), append(b, '\n'), fileMode)
}

// noteEnd ends the name of the file that tells what a cut download is of.
const noteEnd = ".note"

// cutAge is how long a download that broke off waits to be taken up again.
const cutAge = 24 * time.Hour

// KeepCut ends w, the download of a URL that broke off, and keeps what it has
// for TakeCut. note is what the caller must know to go on, such as an ETag.
func (s *Store) KeepCut(url string, w *BlobWriter, note string) error {
	if w.f == nil || w.size == 0 {
		return nil
	}
	defer w.Abort()
	l, err := s.lock(flock.Shared)
	if err != nil {
		return err
	}
	defer l.Close()
	path := s.webPath("cut", url)
	err = os.MkdirAll(s.rkt("cut"), dirMode)
	if err == nil {
		// Bytes without their note count for nothing, a note without bytes too:
		// so the old pair is gone before the new one comes.
		if err = os.Remove(path + noteEnd); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		failpoint.Hit("store/before-cut-rename")
		err = os.Rename(w.f.Name(), path)
		failpoint.Hit("store/after-cut-rename")
	}
	if err == nil {
		err = atomicfile.Write(path+noteEnd, []byte(note), fileMode)
	}
	if err != nil {
		return fmt.Errorf("cannot keep download: %w", cause(err))
	}
	return nil
}

// TakeCut opens what KeepCut kept of a URL and removes it from the store; nil
// if there is nothing. The bytes are worth what their note says, to somebody
// who proves them.
func (s *Store) TakeCut(url string) (f *os.File, note string, err error) {
	l, err := s.lock(flock.Exclusive) // two processes must not take the same
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	path := s.webPath("cut", url)
	b, err := readBounded(path + noteEnd)
	if err == nil {
		f, err = os.Open(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err == nil {
		err = errors.Join(os.Remove(path+noteEnd), os.Remove(path))
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot resume download: %w", cause(err))
	}
	return f, string(b), nil
}

// sweepWeb forgets URLs whose image is gone and removes downloads that nobody
// took up again. The caller holds the lock exclusively.
func (s *Store) sweepWeb(c *Collected) error {
	names, err := dirNames(s.rkt("web"))
	errs := []error{err}
	for _, n := range names {
		path := s.rkt("web", n)
		u, err := readURL(path)
		if err == nil {
			_, err = os.Lstat(s.recordPath(u.ID))
		}
		if err != nil {
			_, err = removeFile(path)
			errs = append(errs, err)
		}
	}
	names, err = dirNames(s.rkt("cut"))
	errs = append(errs, err)
	for _, n := range names {
		path := s.rkt("cut", n)
		fi, err := os.Lstat(path)
		if err != nil || time.Since(fi.ModTime()) < cutAge {
			continue
		}
		freed, err := removeFile(path)
		errs = append(errs, err)
		c.Freed += max(freed, 0)
		if !strings.HasSuffix(n, noteEnd) {
			c.Orphans++
		}
	}
	return errors.Join(errs...)
}
