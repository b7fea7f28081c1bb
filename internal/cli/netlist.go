// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/ui"
)

func newNetList(c *cli) *command {
	var (
		noLegend bool
		format   outputFormat
	)
	cmd := &command{
		usage: "[OPTION…]",
		short: "list networks",
		long: `Lists the networks that --net knows, in the order of --net=all: those configured
in net.d, the built-in ones, those of directories shared with others. KIND is the
plugin that makes the interface. USED counts the addresses that somebody has,
NOBODY those of them whose pod is gone; rkt net gc gives these back. FROM is the
configuration's file. A network in parentheses is hidden by another of its name
that comes first.

A file in net.d that cannot be read is an error. One in a directory shared with
others is told on standard error.`,
		example: "  rkt net list\n  rkt net list --json",
		args:    noArgs,
		run: func([]string) error {
			_, l, err := c.networks(false)
			if err != nil {
				return err
			}
			if format.json() {
				return ui.JSON(c.Out, l.Networks, format.pretty())
			}
			header := []string{"NAME", "KIND", "SUBNETS", "USED", "NOBODY", "FROM"}
			if noLegend {
				header = nil
			}
			table := ui.NewTable(c.Out, header)
			for _, n := range l.Networks {
				name, from := n.Name, n.File
				if n.Hidden {
					name = "(" + name + ")"
				}
				if from == "" {
					from = "-"
				}
				table.Row(name, n.Kind, dash(strings.Join(n.Subnets, ",")), strconv.Itoa(len(n.Leases)), strconv.Itoa(countNobody(n)), from)
			}
			return table.Flush()
		},
	}
	fs := cmd.flags()
	fs.BoolVar(&noLegend, "no-legend", false, "leave the header out")
	format.register(fs)
	return cmd
}

func countNobody(n contract.ListedNetwork) (count int) {
	for _, l := range n.Leases {
		if l.State == contract.LeaseNobody {
			count++
		}
	}
	return count
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
