// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/pod/launch"
	"github.com/spf13/cobra"
)

func newRm(c *cli) *cobra.Command {
	var file uuidFile
	cmd := &cobra.Command{
		Use:   "rm [OPTION…] UUID…",
		Short: "remove pods that do not run",
		Long: `Removes pods that have ended or were never run, with all that is theirs. The UUID
of each that is removed is printed. A running pod is refused: stop it first.`,
		Example:           "  rkt rm 5bc080ca 0e61a0e8\n  rkt rm --uuid-file=/run/web.uuid",
		Args:              file.args(someArgs("a pod's UUID")),
		ValidArgsFunction: c.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := c.needRoot(); err != nil {
				return err
			}
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			failed := failures{c: c}
			for _, u := range uuids {
				failed.add(c.rm(u))
			}
			return failed.err()
		},
	}
	file.register(cmd.Flags())
	return cmd
}

func (c *cli) rm(uuid string) error {
	p, err := c.openPod(uuid)
	if err != nil {
		return err
	}
	if err := gc.Remove(p, launch.Collect, c.report); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%q\n", p.ID())
	return err
}
