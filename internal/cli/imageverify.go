// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/fetch"
	"github.com/rkt/rkt/internal/image/verify"
	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/rkt/rkt/internal/ui"
)

func newImageVerify(c *cli) *command {
	var all bool
	cmd := &command{
		usage: "[OPTION…] [IMAGE…]",
		short: "read stored images again and repair them",
		long: `Reads all that is stored of images again: each blob is compared with its digest,
each record with the manifest it was made from, each unpacked layer with what its
blob unpacks to now, names and the index with the records. Without IMAGE, or with
--all, the whole store is read, also what no image needs.

What can be made from what is intact is repaired: layers are unpacked again,
records, names and the index written again. A damaged blob is removed, and it is
said how to fetch it again. A layer that a running pod has in its root is left as
it is.

It takes about the time of unpacking the images, and room for the largest layer.`,
		example: "  rkt image verify\n  rkt image verify docker://busybox sha512-4a41",
		args: func(args []string) error {
			if all && len(args) > 0 {
				return errors.New("an image does not go with --all")
			}
			return nil
		},
		words: c.imageWords,
		run:   c.imageVerify,
	}
	cmd.flags().BoolVar(&all, "all", false, "the whole store, as without IMAGE")
	return cmd
}

func (c *cli) imageVerify(images []string) error {
	if err := c.ownRoot(); err != nil {
		return err
	}
	dir, st, err := c.openStore()
	if err != nil {
		return err
	}
	if st == nil && len(images) == 0 {
		return nil
	}
	if st != nil {
		defer st.Close()
	}
	var ids []image.ID
	failed := failures{c: c}
	for _, word := range images {
		rec, err := storedImage(st, word)
		if err != nil {
			failed.add(err)
			continue
		}
		st.Hold(rec.ID)
		ids = append(ids, rec.ID)
	}
	if len(images) > 0 && len(ids) == 0 {
		return failed.err()
	}
	helper, err := launch.HelperPath("fetch")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	var werr error
	show := func(about string, p verify.Problem) {
		if p.Fixed != "" {
			c.say(fmt.Sprintf("repaired %s: %s: %s", about, p.What, p.Fixed))
			return
		}
		c.report(hint.Wrap(fmt.Errorf("cannot repair %s: %s", about, p.What), p.Remedy))
	}
	left, err := verify.Run(ctx, st, ids, verify.Options{
		Fetch: fetch.Options{Helper: helper, AnyPlatform: true},
		Idle:  func(l image.Layer) (func(), error) { return gc.Idle(dir, l) },
		Done: func(rec image.Record, problems []verify.Problem) {
			word := "verified"
			for _, p := range problems {
				show("image "+rec.ID.Short(), p)
				if p.Fixed == "" {
					word = "damaged"
				} else if word == "verified" {
					word = "repaired"
				}
			}
			_, err := io.WriteString(c.Out, ui.Escape(fmt.Sprintf("%s image: %q", word, rec.ID))+"\n")
			werr = errors.Join(werr, err)
		},
		Found: func(p verify.Problem) { show("store", p) },
	})
	switch {
	case err != nil:
		return err
	case werr != nil:
		return werr
	case left > 0:
		return fmt.Errorf("cannot vouch for all that is stored: problems that remain: %d", left)
	}
	return failed.err()
}
