// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/spf13/pflag"
)

func newGC(c *cli) *command {
	pol := gc.Policy{GracePeriod: 30 * time.Minute, ExpirePrepared: 24 * time.Hour}
	cmd := &command{
		usage: "[OPTION…]",
		short: "remove pods that have ended",
		long: `Marks pods that have ended, and removes those that were marked longer than the
grace period ago, prepared pods that were not run in time, and what killed rkt
processes left. Takes networks down that no pod uses. It may run at any time,
beside anything else of rkt, and be killed at any time: the next one takes up
where it was.`,
		example: "  rkt gc\n  rkt gc --grace-period=0\n  rkt gc --mark-only",
		args:    noArgs,
		run: func([]string) error {
			if err := c.needRoot(); err != nil {
				return err
			}
			dir, err := c.global.dataDir()
			if err != nil {
				return err
			}
			pol.Cleanup, pol.Warn = launch.Collect, c.report
			pol.Removing = func(id pod.UUID) { fmt.Fprintf(c.Out, "Garbage collecting pod %q\n", id) }
			err = gc.Collect(dir, pol)
			if _, serr := os.Stat(filepath.Join(dir, "networks")); serr == nil && !pol.MarkOnly {
				err = errors.Join(err, launch.Networks(dir, launch.NetworkPlaces{}))
			}
			if !pol.MarkOnly {
				err = errors.Join(err, launch.Users())
			}
			return err
		},
	}
	fs := cmd.flags()
	period(fs, "grace-period", "how long a pod that has ended is kept", &pol.GracePeriod)
	period(fs, "expire-prepared", "how long a prepared pod is kept that is not run", &pol.ExpirePrepared)
	fs.BoolVar(&pol.MarkOnly, "mark-only", false, "mark pods that have ended, remove nothing")
	return cmd
}

// period adds a flag for a duration that is not negative; 0 needs no unit.
func period(fs *pflag.FlagSet, name, usage string, to *time.Duration) {
	each(fs, name, "DURATION", usage, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("want a duration such as 30m or 24h")
		}
		*to = d
		return nil
	}).DefValue = to.String()
}
