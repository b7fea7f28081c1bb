// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/ui"
)

func newConfig(c *cli) *command {
	var pretty, secrets bool
	cmd := &command{
		usage: "[OPTION…]",
		short: "print the effective configuration",
		long: `Prints what the three configuration directories say together, as JSON: an object
whose stage0 has one entry per key, each as it could stand in a file of its own.
Defaults and command-line flags are not part of it.

Passwords, tokens and secret keys are shown as "********" unless --show-secrets
is given. (The old rkt always showed them.)`,
		example: "  rkt config\n  rkt --user-config=$HOME/.config/rkt config --show-secrets",
		args:    noArgs,
		run: func([]string) error {
			cfg, err := config.Load(c.global.config)
			if err != nil {
				return err
			}
			return ui.JSON(c.Out, cfg.Document(secrets), pretty)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&pretty, "pretty-print", true, "indent the output")
	fs.BoolVar(&secrets, "show-secrets", false, "print passwords, tokens and secret keys")
	return cmd
}
