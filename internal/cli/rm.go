// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/rkt/rkt/internal/pod/gc"
	"github.com/rkt/rkt/internal/pod/launch"
)

func newRm(c *cli) *command {
	var file uuidFile
	cmd := &command{
		usage: "[OPTION…] UUID…",
		short: "remove pods that do not run",
		long: `Removes pods that have ended or were never run, with all that is theirs. The UUID
of each that is removed is printed. A running pod is refused: stop it first.`,
		example: "  rkt rm 5bc080ca 0e61a0e8\n  rkt rm --uuid-file=/run/web.uuid",
		args:    file.args(someArgs("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
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
	file.register(cmd.flags())
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
