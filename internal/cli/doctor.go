// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rkt/rkt/internal/pod/launch"
)

func newDoctor(c *cli) *command {
	var format outputFormat
	cmd := &command{
		usage: "[OPTION…]",
		short: "look what of rkt works on this machine",
		long: `Tries what pods need of the kernel and the machine, and says of each thing
whether it is there and what to do if it is not. STATE is ok, missing or unknown;
it is in capitals where no pod runs without it. What is tried is tried in
namespaces that end with the attempt; nothing on the machine changes, but for a
directory that is made in the data directory and removed again.

The exit status is 0 if pods can run, 254 otherwise. docs/doctor.md explains each
check.`,
		example: "  rkt doctor\n  rkt doctor --json",
		args:    noArgs,
		run: func([]string) error {
			dir, err := c.global.dataDir()
			if err != nil {
				return err
			}
			program, err := launch.HelperPath("doctor")
			if err != nil {
				return err
			}
			argv := []string{"doctor", "examine", string(format), dir}
			for _, d := range []string{c.global.config.System, c.global.config.Local, c.global.config.User} {
				if d == "" {
					continue
				}
				if d, err = filepath.Abs(d); err == nil {
					argv = append(argv, d)
				}
			}
			places, err := c.places()
			if err != nil {
				return err
			}
			for _, l := range []struct {
				key  string
				dirs []string
			}{{"config=", places.Config}, {"shared=", places.Shared}, {"plugins=", places.Plugins}} {
				for _, d := range l.dirs {
					argv = append(argv, l.key+d)
				}
			}
			err = syscall.Exec(program, argv, []string{"PATH=" + os.Getenv("PATH"), "TERM=" + os.Getenv("TERM")})
			return fmt.Errorf("cannot examine the machine: cannot execute %s: %w", program, err)
		},
	}
	format.register(cmd.flags())
	return cmd
}
