// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"

	"github.com/rkt/rkt/internal/image/store"
	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/ui"
	"github.com/spf13/cobra"
)

func newImageGC(c *cli) *cobra.Command {
	grace := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "gc [OPTION…]",
		Short: "remove images that are not used",
		Long: `Removes images that were not used for the grace period and from which no pod is
made, be it running, prepared or ended; and all that killed rkt processes left in
the store.`,
		Example: "  rkt image gc\n  rkt image gc --grace-period=0",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.global.dataDir()
			if err != nil {
				return err
			}
			st, err := store.Open(dir)
			if err != nil {
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
	period(cmd.Flags(), "grace-period", "how long an image is kept that is not used", &grace)
	return cmd
}
