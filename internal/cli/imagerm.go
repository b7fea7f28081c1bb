// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/ui"
)

func newImageRm(c *cli) *command {
	cmd := &command{
		usage: "IMAGE…",
		short: "remove stored images",
		long: `Removes images. IMAGE is an ID, or a name under which the image was fetched. What
other images share stays; so does what a pod was made from, until the pod is gone.
How much was freed is said at the end; rkt image list --fields=id,own tells before.`,
		example: "  rkt image rm sha256-7c0a\n  rkt image rm docker://busybox",
		args:    someArgs("the image"),
		words:   c.imageWords,
		run: func(args []string) error {
			return c.imageRm(args)
		},
	}
	return cmd
}

func (c *cli) imageRm(images []string) error {
	if err := c.ownRoot(); err != nil {
		return err
	}
	dir, st, err := c.openStore()
	if err != nil {
		return err
	}
	if st != nil {
		defer st.Close()
	}
	failed := failures{c: c}
	var freed int64
	for _, word := range images {
		rec, err := storedImage(st, word)
		if err == nil {
			var n int64
			n, err = gc.RemoveImage(st, dir, rec.ID)
			freed += n
		}
		if err != nil {
			failed.add(err)
			continue
		}
		if _, err := fmt.Fprintf(c.Out, "successfully removed image: %q\n", rec.ID); err != nil {
			return err
		}
	}
	if freed > 0 {
		c.say("freed " + ui.Size(freed))
	}
	if failed.count > 0 && len(images) > 1 {
		c.say(fmt.Sprintf("%d of %d images were removed", len(images)-failed.count, len(images)))
	}
	return failed.err()
}
