// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/launch"
)

func newImageExport(c *cli) *command {
	t := &target{}
	cmd := &command{
		usage: "[OPTION…] IMAGE OUT",
		short: "write a stored image for others",
		long: `Writes an image to a file or a directory. OUT says in which form:

  FILE.aci                     an App Container Image, uncompressed
  DIR/, oci:DIR[:NAME]         an OCI layout; NAME is how the image is called in it
  oci-archive:FILE[:NAME]      an OCI layout in a tar
  docker-archive:FILE[:NAME]   the form of docker save

OCI and Docker images are written byte for byte, so digests and signatures stay
good, and an ACI as the tar that its ID was made of. An OCI or Docker image is
converted to an ACI with one file system of all its layers, named after the
registry it came from; what appc has no word for is kept in annotations.

OUT must not exist unless --overwrite; what is half written is removed. It is
written with the caller's own rights.`,
		example: `  rkt image export coreos.com/etcd:v3.1.7 etcd.aci
  rkt image export docker://busybox oci:/srv/images:busybox
  rkt image export docker://busybox busybox.aci`,
		args:  outArgs("the image"),
		words: c.imageWords,
		run:   func(args []string) error { return c.imageExport(args[0], args[1], t) },
	}
	t.register(cmd.flags())
	return cmd
}

func (c *cli) imageExport(word, out string, t *target) error {
	if err := c.ownRoot(); err != nil {
		return err
	}
	st, recs, err := c.heldImages(true, word)
	if err != nil {
		return err
	}
	defer st.Close()
	rec := recs[0]
	if err := t.read(out, rec.Format); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	if t.form != formACI {
		src, err := export.Stored(st, rec)
		if err != nil {
			return err
		}
		return t.writeOCI(ctx, src.OCI)
	}
	if rec.Format == image.ACI {
		return c.exportACI(ctx, st, rec, t)
	}
	return c.exportConverted(ctx, st, rec, t)
}

// exportACI writes an ACI as it is, decompressed.
func (c *cli) exportACI(ctx context.Context, st *store.Store, rec image.Record, t *target) error {
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return err
	}
	l, err := ownLayer(rec)
	if err != nil {
		return err
	}
	blob, err := st.OpenBlob(l.Blob)
	if err != nil {
		return err
	}
	defer blob.Close()
	return t.write(ctx, func(w io.Writer) error {
		sum := sha512.New()
		if err := fetch.Plain(ctx, helper, blob, io.MultiWriter(w, sum)); err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != rec.ID.Digest().Hex() {
			return hint.Wrap(errors.New("the stored ACI is damaged"), "`rkt image verify "+rec.ID.Short()+"` tells what to do")
		}
		return nil
	})
}

// ownLayer is the one that an ACI is itself, among those of its dependencies.
func ownLayer(rec image.Record) (image.Layer, error) {
	if l, ok := rec.Own(); ok {
		return l, nil
	}
	return image.Layer{}, fmt.Errorf("cannot export image %s: its record does not name its own layer", rec.ID.Short())
}

// exportConverted writes an OCI or Docker image as an ACI.
func (c *cli) exportConverted(ctx context.Context, st *store.Store, rec image.Record, t *target) error {
	src, err := export.Stored(st, rec)
	if err != nil {
		return err
	}
	s, err := stack(st, rec)
	if err != nil {
		return err
	}
	defer s.Close()
	manifest, err := export.Converted(rec, src.Config.Digest, s)
	if err != nil {
		return err
	}
	left := &skipped{c: c}
	defer left.end()
	return t.write(ctx, func(w io.Writer) error {
		_, err := export.ACI(w, manifest, s, export.Packing{Notes: left.note})
		return err
	})
}
