// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/rkt/rkt/internal/ui"
	"github.com/spf13/cobra"
)

func newCatManifest(c *cli) *cobra.Command {
	var (
		pretty bool
		file   uuidFile
	)
	cmd := &cobra.Command{
		Use:               "cat-manifest [OPTION…] UUID",
		Short:             "print the manifest of a pod",
		Long:              "Prints the appc pod manifest that the pod was made from, as JSON.",
		Example:           "  rkt cat-manifest 5bc080ca\n  rkt cat-manifest --pretty-print=false 5bc080ca | jq .apps",
		Args:              file.args(oneArg("a pod's UUID")),
		ValidArgsFunction: c.completePods,
		RunE: func(_ *cobra.Command, args []string) error {
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
	fs := cmd.Flags()
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
