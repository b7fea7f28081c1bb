// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
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
	b, trusted, err := readPlain(path)
	if err == nil && !trusted {
		err = errStrange
	}
	if err == nil {
		err = json.Unmarshal(b, &u)
	}
	if err == nil {
		_, err = image.ParseDigest(string(u.ID.Digest()))
	}
	return u, err
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

// sweepWeb forgets URLs whose image is gone. The caller holds the lock
// exclusively.
func (s *Store) sweepWeb() error {
	if !s.Trees() {
		return nil // what members may not write
	}
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
	return errors.Join(errs...)
}
