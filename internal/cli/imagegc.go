// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"

	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/ui"
)

func newImageGC(c *cli) *command {
	grace := 24 * time.Hour
	cmd := &command{
		usage: "[OPTION…]",
		short: "remove images that are not used",
		long: `Removes images that were not used for the grace period and from which no pod is
made, be it running, prepared or ended; and all that killed rkt processes left in
the store.`,
		example: "  rkt image gc\n  rkt image gc --grace-period=0",
		args:    noArgs,
		run: func([]string) error {
			if err := c.ownRoot(); err != nil {
				return err
			}
			dir, st, err := c.openStore()
			if err != nil || st == nil {
				return err
			}
			defer st.Close()
			done, err := gc.Images(st, dir, grace)
			// What was removed before an error was removed.
			for _, rec := range done.Images {
				fmt.Fprintf(c.Out, "successfully removed image: %q\n", rec.ID)
			}
			if done.Freed > 0 {
				c.say("freed " + ui.Size(done.Freed))
			}
			return err
		},
	}
	period(cmd.flags(), "grace-period", "how long an image is kept that is not used", &grace)
	return cmd
}
