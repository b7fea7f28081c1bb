// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/rkt/rkt/internal/ui"
)

func newCatManifest(c *cli) *command {
	var (
		pretty bool
		file   uuidFile
	)
	cmd := &command{
		usage:   "[OPTION…] UUID",
		short:   "print the manifest of a pod",
		long:    "Prints the appc pod manifest that the pod was made from, as JSON.",
		example: "  rkt cat-manifest 5bc080ca\n  rkt cat-manifest --pretty-print=false 5bc080ca | jq .apps",
		args:    file.args(oneArg("a pod's UUID")),
		words:   c.podWords,
		run: func(args []string) error {
			uuids, err := file.uuids(args)
			if err != nil {
				return err
			}
			p, err := c.openPod(uuids[0])
			if err != nil {
				return err
			}
			b, err := p.ManifestBytes()
			if err != nil {
				return err
			}
			return c.printManifest(b, pretty)
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&pretty, "pretty-print", true, "indent the output")
	file.register(fs)
	return cmd
}

// printManifest prints stored JSON, ended by a newline.
func (c *cli) printManifest(b []byte, pretty bool) error {
	b = bytes.TrimRight(b, "\n")
	if pretty {
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "\t"); err != nil {
			return fmt.Errorf("cannot print manifest: %w", err)
		}
		b = out.Bytes()
	}
	return ui.WriteJSON(c.Out, append(b, '\n'))
}
