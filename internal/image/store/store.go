// SPDX-License-Identifier: Apache-2.0

// Package store keeps images on disk: an OCI image layout (image-spec 1.1,
// image-layout.md) that other tools read as it is, one record for each image
// that holds all a start needs, and one read-only tree for each layer. There
// is no database and no daemon: files, rename and flock, so that any number of
// rkt processes work side by side and a kill at any instant leaves something
// that Collect finishes.
//
// # On disk, below the data directory
//
//	images/oci-layout, index.json, blobs/<algo>/<hex>   the OCI layout; index.json is a link to
//	images/rkt/index/index.json
//	images/rkt/lock              the store's lock, see below
//	images/rkt/records/<id>.json image.Record; its mtime is when the image was last used
//	images/rkt/names/<sha256>    "<id> <name>": what a canonical name stands for
//	images/rkt/appc/<sha256>/<id>  an empty file for each ACI of one appc name
//	images/rkt/web/<sha256>      what is known of a URL: the image it gave, and when to ask again
//	images/rkt/tmp/<random>      blobs in flight, each flock'ed by its writer
//	images/rkt/tmp/part-<sha256> downloads that may be gone on with, see ResumeBlob
//	images/rkt/ingest/<random>   digests that a live process relies on, flock'ed by it
//	images/rkt/fetch/<sha256>    locks of FetchLock, gone when free
//	layers/<algo>-<hex>/         trees, by diff id
//	layers/tmp/new-<random>/     trees in flight, flock'ed by their writer
//	layers/tmp/trash-<random>/   trees on their way out
//
// # What is true when
//
// A blob or a tree has its final name only once its content is proven and
// durable. An image exists if its record does: the record is written after
// everything it names and removed before it. Names and index.json follow the
// record; a kill in between leaves them behind the truth until the next Commit
// or Collect.
//
// # The lock
//
// images/rkt/lock is held shared by whoever must not lose what it just looked
// up (Lease, and for a moment everything that adds a blob or a tree), and
// exclusively by Commit, Remove and Collect. Reading needs no lock: files are
// replaced whole. A download holds no lock while it lasts; what it relies on is
// written down in its ingest file instead, which Collect honours as long as
// the process lives.
//
// # Modes
//
// The layout is 0750 with files 0640. dist/setup-data-dir.sh lets group rkt in:
// it makes 2770 of the directories that all change (blobs/<algo>, records,
// names, fetch, index), and 3770 of tmp and ingest, where each has files of its
// own; what holds those is only root's to change. Files stay 0640: each is its
// writer's, and belief.go tells what that is worth. layers is 0700 for good: the
// trees hold other people's setuid programs, which no user of the host may reach
// by path.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
)

const (
	dirMode    fs.FileMode = 0o750
	fileMode   fs.FileMode = 0o640
	layersMode fs.FileMode = 0o700
)

// ErrNotFound says that the store has no such image.
var ErrNotFound = errors.New("not in the store")

// AmbiguousError says that a shortened ID fits several images.
type AmbiguousError struct {
	Prefix     string
	Candidates []image.ID // sorted, at least two
}

// Error names the candidates, at most eight of them.
func (e *AmbiguousError) Error() string {
	const most = 8
	var b strings.Builder
	fmt.Fprintf(&b, "cannot find image %q: %d images begin so: ", e.Prefix, len(e.Candidates))
	for i, id := range e.Candidates {
		if i == most {
			b.WriteString(", …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		// Long enough to tell this one from the prefix that was too short.
		_, hexa, _ := strings.Cut(e.Prefix, "-")
		b.WriteString(string(id)[:min(len(id), max(len(id.Short()), len("sha256-")+len(hexa)+6))])
	}
	return b.String()
}

// Store is an image store. Its methods may be called at the same time, in this
// process and in others.
type Store struct {
	images, layers string // absolute

	mu     sync.Mutex       // guards what follows
	pins   *pinFile         // made when first needed
	proven map[string]int64 // sizes of others' blobs whose digest was compared
}

// Open opens the store below dataDir, and makes it if it is not there. On a
// store that exists it costs one system call.
func Open(dataDir string) (*Store, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("cannot open image store %q: %w", dataDir, err)
	}
	s := &Store{images: filepath.Join(dir, "images"), layers: filepath.Join(dir, "layers")}
	_, err = os.Lstat(filepath.Join(s.images, "oci-layout"))
	if errors.Is(err, fs.ErrNotExist) {
		err = s.create()
	}
	if err != nil {
		return nil, forMembers(fmt.Errorf("cannot open image store %q: %w", dir, err))
	}
	return s, nil
}

// forMembers adds to an error of permission who has it.
func forMembers(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return hint.Wrap(err, "images are for root and the members of group rkt (dist/setup-data-dir.sh lets them in); or use a --dir of your own")
	}
	return err
}

// Close gives up what this Store holds for the ingests that went through it
// (see HasBlob); the end of the process does the same. Reading goes on to work.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins == nil {
		return nil
	}
	err := s.pins.close()
	s.pins = nil
	return err
}

// create makes what is missing of the layout; oci-layout comes last, so that
// its presence vouches for the rest.
func (s *Store) create() error {
	if err := os.MkdirAll(filepath.Dir(s.images), dirMode); err != nil {
		return err
	}
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{s.images, dirMode},
		{s.rkt(), dirMode},
		{s.rkt("records"), dirMode},
		{s.rkt("names"), dirMode},
		{s.rkt("tmp"), dirMode},
		{s.rkt("ingest"), dirMode},
		{s.rkt("fetch"), dirMode},
		{s.rkt("index"), dirMode},
		{filepath.Join(s.images, "blobs"), dirMode},
		{filepath.Join(s.images, "blobs", "sha256"), dirMode},
		{filepath.Join(s.images, "blobs", "sha512"), dirMode},
		{s.layers, layersMode},
		{filepath.Join(s.layers, "tmp"), layersMode},
	} {
		err := os.Mkdir(d.path, d.mode)
		if err == nil {
			err = os.Chmod(d.path, d.mode) // whatever the umask
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	f, err := os.OpenFile(s.rkt("lock"), os.O_RDONLY|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flock.Lock(f, flock.Exclusive); err != nil {
		return err
	}
	index := s.rkt("index", "index.json")
	if _, err := os.Lstat(index); errors.Is(err, fs.ErrNotExist) {
		all, err := s.readAll()
		if err == nil {
			err = s.writeIndex(all)
		}
		if err != nil {
			return err
		}
	}
	return atomicfile.Write(filepath.Join(s.images, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n"), fileMode)
}

// rkt is a path below images/rkt.
func (s *Store) rkt(elem ...string) string {
	return s.images + "/rkt/" + strings.Join(elem, "/")
}

// blobPath is where a blob lies, or "" for what is no digest: callers may pass
// what a stranger's manifest says.
func (s *Store) blobPath(d image.Digest) string {
	if _, err := image.ParseDigest(string(d)); err != nil {
		return ""
	}
	return s.images + "/blobs/" + d.Algorithm() + "/" + d.Hex()
}
