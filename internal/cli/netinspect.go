// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
	"github.com/rkt/rkt/internal/ui"
)

func newNetInspect(c *cli) *command {
	var (
		check  bool
		format outputFormat
	)
	cmd := &command{
		usage: "[OPTION…] NETWORK…",
		short: "show networks and who has their addresses",
		long: `Prints what is known about networks, one key=value a line: name, kind, file,
subnets, and for those that are configured plugins and cni-versions; blocked, for
rkt's own, names chains of other firewalls that drop what is forwarded, so that pods
reach only this host (docs/networking.md, "Other firewalls"); then a line for each
address that somebody has:

  lease=ADDRESS STATE HOLDER INTERFACE

STATE is used (by a running pod), ended (the pod has ended without giving it back;
rkt net gc does), nobody (the pod is gone; rkt net gc gives it back) or other (of
another program, or of another data directory). The addresses are those of rkt's
own pods, and all that the plugin host-local has given away.

--check asks the plugins: whether the network can be used now (CNI's STATUS, since
version 1.1.0), and for each running pod whether all is still as it was made
(CHECK, since 0.4.0). It adds status, and to leases what came of it: ready, good,
unknown (there is no such question), or what is wrong, with which the command
fails.`,
		example: "  rkt net inspect default\n  rkt net inspect --check --json dbnet",
		args:    someArgs("a network's name"),
		run: func(args []string) error {
			return c.netInspect(args, check, format)
		},
		words: c.networkWords,
	}
	fs := cmd.flags()
	fs.BoolVar(&check, "check", false, "ask the plugins how the network and its pods are")
	format.register(fs)
	return cmd
}

func (c *cli) netInspect(names []string, check bool, format outputFormat) error {
	_, l, err := c.networks(check)
	if err != nil {
		return err
	}
	var found []contract.ListedNetwork
	for _, name := range names {
		i := slices.IndexFunc(l.Networks, func(n contract.ListedNetwork) bool { return n.Name == name && !n.Hidden })
		if i < 0 {
			return hint.Wrap(fmt.Errorf("cannot find network %q: there is none of that name", name), "rkt net list has those there are")
		}
		found = append(found, l.Networks[i])
	}
	if format.json() {
		err = ui.JSON(c.Out, found, format.pretty())
	} else {
		for i, n := range found {
			if i > 0 {
				fmt.Fprintln(c.Out)
			}
			if err == nil {
				_, err = fmt.Fprint(c.Out, inspected(n))
			}
		}
	}
	if err != nil {
		return err
	}
	for _, n := range found {
		for _, l := range n.Leases {
			if l.Check != "" && l.Check != "good" && l.Check != "unknown" {
				err = errors.Join(err, fmt.Errorf("cannot confirm network %q of pod %s: %s", n.Name, l.Holder, l.Check))
			}
		}
		if n.Status != "" && n.Status != "ready" && n.Status != "unknown" {
			err = errors.Join(err, fmt.Errorf("cannot use network %q: %s", n.Name, n.Status))
		}
	}
	return err
}

// inspected is a network in lines.
func inspected(n contract.ListedNetwork) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			b.WriteString(key + "=" + ui.Escape(value) + "\n")
		}
	}
	line("name", n.Name)
	line("kind", n.Kind)
	line("plugins", strings.Join(n.Plugins, ", "))
	line("cni-versions", strings.Join(n.CNIVersions, ", "))
	line("file", n.File)
	if n.Shared {
		line("shared", "true")
	}
	line("subnets", strings.Join(n.Subnets, ", "))
	line("blocked", strings.Join(n.Blocked, ", "))
	line("status", n.Status)
	for _, l := range n.Leases {
		words := []string{dash(l.Address), string(l.State), l.Holder, dash(l.IfName)}
		if l.Check != "" {
			words = append(words, l.Check)
		}
		line("lease", strings.Join(words, " "))
	}
	return b.String()
}
