// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/extract"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/merge"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/linux/rmtree"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/rootless"
)

// copyFlags are those of extract and render.
type copyFlags struct{ rootfsOnly, overwrite bool }

func newImageExtract(c *cli) *command {
	f := &copyFlags{}
	cmd := &command{
		usage: "[OPTION…] IMAGE DIR",
		short: "copy what is in an image into a directory",
		long: `Makes DIR with the image's manifest and, in rootfs, its files: those of this image
alone, without what an ACI depends on (rkt image render has that, too). The
configuration of an OCI or Docker image lies beside the manifest.

DIR must not exist. With --overwrite a directory there is replaced, and removed
once the new one is whole; the root of the system, a mount point and what is no
directory never. No link in the image leads out of DIR.

Owners, modes, extended attributes, capabilities, devices, hard links, holes and
times are kept. An ordinary user who may read the store's blobs gets the files as
their own, readable, without devices, set-id bits and capabilities.`,
		example: "  rkt image extract docker://busybox ./busybox\n  rkt image extract --rootfs-only sha512-4a41 /srv/roots/etcd",
		args:    outArgs("the image"),
		words:   c.imageWords,
		run:     func(args []string) error { return c.imageCopy(args[0], args[1], *f, true) },
	}
	f.register(cmd)
	return cmd
}

func newImageRender(c *cli) *command {
	f := &copyFlags{}
	cmd := &command{
		usage: "[OPTION…] IMAGE DIR",
		short: "copy the root that a pod of an image would see",
		long: `As rkt image extract, but with everything that a pod made from the image would
see: for an ACI also the images that it depends on, as its path whitelist has it.`,
		example: "  rkt image render --rootfs-only coreos.com/etcd /srv/roots/etcd",
		args:    outArgs("the image"),
		words:   c.imageWords,
		run:     func(args []string) error { return c.imageCopy(args[0], args[1], *f, false) },
	}
	f.register(cmd)
	return cmd
}

func (f *copyFlags) register(cmd *command) {
	fs := cmd.flags()
	fs.BoolVar(&f.rootfsOnly, "rootfs-only", false, "make DIR itself the root: no manifest")
	fs.BoolVar(&f.overwrite, "overwrite", false, "replace DIR if it exists")
}

// source opens the trees of an image, of itself alone or with all that it stands
// on. An ordinary user, who does not get at the unpacked layers, has them
// unpacked beside dir from what may be read; done removes that.
func (c *cli) source(ctx context.Context, st *store.Store, rec image.Record, own bool, dir string) (s *merge.Stack, done func(), err error) {
	layers := rec.Layers
	if c.global.user && !c.global.inside {
		data, merr := c.global.dataDir()
		var mine bool
		if merr == nil {
			mine, merr = rootless.Owns(data)
		}
		if merr != nil {
			return nil, nil, merr
		}
		if mine {
			// The trees are the user's, but not all files in them.
			if own && rec.Format == image.ACI {
				l, lerr := ownLayer(rec)
				if lerr != nil {
					return nil, nil, lerr
				}
				layers = []image.Layer{l}
			}
			return c.unpacked(ctx, st, rec, layers, dir)
		}
	}
	if own = own && rec.Format == image.ACI; own {
		l, lerr := ownLayer(rec)
		if lerr != nil {
			return nil, nil, lerr
		}
		layers = []image.Layer{l}
		if os.Geteuid() == 0 && !st.HasLayer(l.DiffID) {
			return c.unpackedOwn(ctx, st, rec, l)
		}
		s, err = openStack(st.LayerPath(l.DiffID))
	} else {
		s, err = stack(st, rec)
	}
	if err == nil {
		return s, s.Close, nil
	}
	if !errors.Is(err, unix.EACCES) || os.Geteuid() == 0 {
		return nil, nil, err
	}
	return c.unpacked(ctx, st, rec, layers, dir)
}

// unpackedOwn makes the tree of an ACI of which only some files are in use, so
// that it is not kept.
func (c *cli) unpackedOwn(ctx context.Context, st *store.Store, rec image.Record, l image.Layer) (*merge.Stack, func(), error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return nil, nil, err
	}
	tree, _, err := fetch.Reunpack(ctx, st, fetch.Options{Helper: helper, AnyPlatform: true}, rec, l)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot unpack image %s: %w", rec.ID.Short(), err)
	}
	s, err := openStack(tree.Path())
	if err != nil {
		return nil, nil, errors.Join(err, tree.Abort())
	}
	return s, func() {
		s.Close()
		_ = tree.Abort()
	}, nil
}

// unpacked makes trees of an image's layers for an ordinary user.
func (c *cli) unpacked(ctx context.Context, st *store.Store, rec image.Record, layers []image.Layer, dir string) (s *merge.Stack, done func(), err error) {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return nil, nil, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".rkt-extract-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot write %q: %w", dir, err)
	}
	remove := func() { _, _ = rmtree.Remove(temp) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	opt := fetch.Options{Helper: helper}
	if f, ok := c.Err.(*os.File); ok {
		opt.Stderr = f
	}
	var paths []string
	for i, l := range layers {
		path := filepath.Join(temp, strconv.Itoa(i))
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, nil, fmt.Errorf("cannot write %q: %w", dir, err)
		}
		tree, err := os.Open(path)
		if err == nil {
			err = fetch.Unowned(ctx, st, opt, rec, l, tree)
			tree.Close()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot unpack image %s: %w", rec.ID.Short(), err)
		}
		paths = append(paths, path)
	}
	if s, err = merge.OpenUser(paths...); err != nil {
		return nil, nil, err
	}
	return s, func() { s.Close(); remove() }, nil
}

func (c *cli) imageCopy(word, dir string, f copyFlags, own bool) error {
	st, recs, err := c.heldImages(true, word)
	if err != nil {
		return err
	}
	defer st.Close()
	rec := recs[0]
	ctx, stop := interruptible()
	defer stop()
	s, done, err := c.source(ctx, st, rec, own, dir)
	if err != nil {
		return err
	}
	defer done()
	left := &skipped{c: c}
	defer left.end()
	return extract.Directory(dir, f.overwrite, func(to *os.File) error {
		if f.rootfsOnly {
			return extract.Tree(ctx, s, to, left.note)
		}
		return c.imageInto(ctx, st, rec, s, to, left.note)
	})
}

// imageInto writes the image's documents and its rootfs.
func (c *cli) imageInto(ctx context.Context, st *store.Store, rec image.Record, s *merge.Stack, to *os.File, note extract.Note) error {
	documents := map[string]image.Digest{"manifest": rec.Manifest}
	if rec.Format == image.OCI {
		src, err := export.Stored(st, rec)
		if err != nil {
			return err
		}
		documents["config"] = src.Config.Digest
	}
	for name, d := range documents {
		text, err := export.Document(st, d)
		if err != nil {
			return err
		}
		if err := fileAt(to, name, text); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	if err := unix.Mkdirat(int(to.Fd()), "rootfs", 0o700); err != nil {
		return fmt.Errorf("cannot write rootfs: %w", err)
	}
	fd, err := safepath.OpenBeneath(int(to.Fd()), "rootfs", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("cannot write rootfs: %w", err)
	}
	root := os.NewFile(uintptr(fd), "rootfs")
	defer root.Close()
	if err := extract.Tree(ctx, s, root, note); err != nil {
		return err
	}
	return to.Chmod(0o755)
}

// fileAt makes a file in a directory that is ours alone.
func fileAt(dir *os.File, name string, text []byte) error {
	fd, err := safepath.OpenBeneath(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
