// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/export"
	"github.com/rkt/rkt/internal/image/store"
)

func newImageCatManifest(c *cli) *command {
	var pretty, config, index bool
	cmd := &command{
		usage: "[OPTION…] IMAGE",
		short: "print the manifest of a stored image",
		long: `Prints the manifest of an image as it came: appc's of an ACI, OCI's or Docker's of
any other. IMAGE is an ID, or a name under which the image was fetched. With
--pretty-print=false it is byte for byte what the digest was made of.

--config prints the configuration of an OCI or Docker image instead: how it wants to
be run. --index prints the index.json of a layout that holds this image alone, as
rkt image export writes it; the index that a registry may have chosen the image from
is not kept.`,
		example: "  rkt image cat-manifest sha256-7c0a\n  rkt image cat-manifest --config docker://busybox",
		args:    oneArg("the image"),
		words:   c.imageWords,
		run: func(args []string) error {
			if config && index {
				return errors.New("cannot print two documents: --config does not go with --index")
			}
			st, recs, err := c.heldImages(false, args[0])
			if err != nil {
				return err
			}
			defer st.Close()
			rec := recs[0]
			b, err := document(st, rec, config, index)
			if err != nil {
				return fmt.Errorf("cannot read the manifest of image %s: %w", rec.ID.Short(), err)
			}
			return c.printManifest(b, pretty)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&pretty, "pretty-print", true, "indent the output")
	fs.BoolVar(&config, "config", false, "print the image's configuration")
	fs.BoolVar(&index, "index", false, "print an index of this image")
	return cmd
}

func document(st *store.Store, rec image.Record, config, index bool) ([]byte, error) {
	if !config && !index {
		return export.Document(st, rec.Manifest)
	}
	if rec.Format == image.ACI {
		return nil, errors.New("an ACI has neither a configuration nor an index")
	}
	src, err := export.Stored(st, rec)
	if err != nil {
		return nil, err
	}
	if index {
		return src.Index("")
	}
	return export.Document(st, src.Config.Digest)
}
