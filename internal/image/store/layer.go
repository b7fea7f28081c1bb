// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/linux/flock"
	"github.com/rkt/rkt/internal/linux/rmtree"
)

// HasLayer says whether the tree of a layer is stored, and keeps it as HasBlob
// keeps a blob.
func (s *Store) HasLayer(diffID image.Digest) bool {
	path := s.LayerPath(diffID)
	if path == "" {
		return false
	}
	defer s.pinShared("layer", diffID)()
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

// LayerPath is the absolute path of a layer's tree, there or not; "" for what is
// no digest.
func (s *Store) LayerPath(diffID image.Digest) string {
	if _, err := image.ParseDigest(string(diffID)); err != nil {
		return ""
	}
	return s.layers + "/" + string(diffID.ID())
}

// LayerDir is a tree in the making: fill it, then Commit or Abort.
type LayerDir struct {
	s    *Store
	path string   // layers/tmp/new-<random>
	lock *os.File // of path, flock'ed while in use; nil when done
	tree *os.File // of path/tree

	synced bool // by SyncLayers
}

// SyncLayers makes several trees durable at once, so that their Commits need
// not each wait for everything that is to be written meanwhile. Nothing may be
// changed in them after it.
func (s *Store) SyncLayers(all []*LayerDir) error {
	for i, d := range all {
		if i == 0 { // they are on one file system
			if err := unix.Syncfs(int(d.tree.Fd())); err != nil {
				return fmt.Errorf("cannot store layers: sync: %w", err)
			}
		}
		d.synced = true
	}
	return nil
}

// NewLayer makes an empty directory, the caller's own and of mode 0755, for a
// tree.
func (s *Store) NewLayer() (*LayerDir, error) {
	l, err := s.lock(flock.Shared)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	d := &LayerDir{s: s}
	for {
		d.path = s.layers + "/tmp/new-" + random()
		if err = os.Mkdir(d.path, layersMode); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err == nil {
		d.lock, err = os.Open(d.path)
	}
	if err == nil {
		err = flock.Lock(d.lock, flock.Exclusive)
	}
	if err == nil {
		err = os.Mkdir(d.Path(), 0o755)
	}
	if err == nil {
		err = os.Chmod(d.Path(), 0o755) // whatever the umask
	}
	if err == nil {
		d.tree, err = os.Open(d.Path())
	}
	if err != nil {
		_ = d.Abort()
		return nil, fmt.Errorf("cannot make room for a layer: %w", err)
	}
	return d, nil
}

// Path is the tree's root, absolute.
func (d *LayerDir) Path() string { return d.path + "/tree" }

// File is the tree's root, open for reading; it stays d's and is closed by
// Commit and Abort.
func (d *LayerDir) File() *os.File { return d.tree }

// Commit stores the tree under diffID, which the caller has proven to be the
// digest of the tar it came from. It is durable when Commit returns. If another
// process was first, its tree stays and this one goes. On error nothing is
// stored. Either way d is done.
func (d *LayerDir) Commit(diffID image.Digest) error {
	if d.lock == nil {
		return fmt.Errorf("cannot store layer %s: %w", diffID, os.ErrClosed)
	}
	err := d.commit(diffID)
	if aerr := d.Abort(); err == nil {
		err = aerr
	}
	return err
}

func (d *LayerDir) commit(diffID image.Digest) error {
	path := d.s.LayerPath(diffID)
	if path == "" {
		return fmt.Errorf("cannot store layer %q: not a digest", diffID)
	}
	// One syncfs instead of an fsync of every file: the name below must not be
	// on disk before the content is.
	if !d.synced {
		if err := unix.Syncfs(int(d.tree.Fd())); err != nil {
			return fmt.Errorf("cannot store layer %s: sync: %w", diffID, err)
		}
	}
	l, err := d.s.lock(flock.Shared)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := d.s.pin("layer", diffID); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	failpoint.Hit("store/before-layer-rename")
	err = os.Rename(d.Path(), path)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil // another process was first
	}
	if err != nil {
		return fmt.Errorf("cannot store layer %s: %w", diffID, cause(err))
	}
	failpoint.Hit("store/after-layer-rename")
	return atomicfile.SyncDir(d.s.layers)
}

// Abort removes what is left of the tree; after Commit it does nothing.
func (d *LayerDir) Abort() error {
	if d.tree != nil {
		d.tree.Close()
		d.tree = nil
	}
	if d.lock == nil {
		os.Remove(d.path) // NewLayer went wrong halfway
		return nil
	}
	_, err := rmtree.Remove(d.path)
	d.lock.Close()
	d.lock = nil
	return err
}
