// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/rkt/rkt/internal/rootless"
	"github.com/rkt/rkt/internal/ui"
	"github.com/rkt/rkt/internal/ui/page"
	"github.com/spf13/pflag"
)

// Page is what there is to say about one command, Option about one flag.
type (
	Page   = page.Page
	Option = page.Option
)

const rootDescription = `rkt runs any container image as a pod, at the level of isolation you choose,
with no daemon. Everything runs in the foreground, as a child of whoever called
it: the shell, systemd, a kubelet.

A command may be shortened as long as it is unambiguous. What a command is asked
for goes to standard output; everything else goes to standard error, each line
prefixed with the command. An error is one line, what can be done about it, if
anything, a second one.

--insecure-options switches protections off:
  image         images that nothing vouches for are fetched and run
  tls           the certificates of registries are not checked
  http          registries are asked by plain http where https fails
  pubkey        keys are fetched by http too, and certificates not checked for them
  capabilities  apps keep all capabilities
  paths         apps see all of /proc and /sys, writable
  seccomp       apps may make any system call
  ondisk        nothing: rkt does not hash stored images at start
  all-fetch     image, tls, http and pubkey
  all-run       capabilities, paths and seccomp
  all           all of them
  none          none of them, and nothing else in the list

The data directory is that of --dir, else "data" of a file in paths.d of the
configuration directories, else ` + rootless.RootDir + `. An ordinary user's is that of
--dir, of the variable RKT_DIR, else $XDG_DATA_HOME/rkt or ~/.local/share/rkt.`

// Pages returns the page of the root, then one per command.
func Pages() []Page {
	c := newCLI(ui.Streams{Out: io.Discard, Err: io.Discard})
	pages := []Page{rootPage(c)}
	for _, v := range verbs() {
		c.verb = v.name
		pages = append(pages, pageOf(c, v.make(c)))
		for _, sub := range v.group {
			c.verb = v.name + " " + sub.name
			pages = append(pages, pageOf(c, sub.make(c)))
		}
	}
	return pages
}

func newCLI(s ui.Streams) *cli {
	return &cli{Streams: s, global: newGlobals(), parse: flagsAnywhere}
}

func rootPage(c *cli) Page {
	p := Page{
		Name: "rkt", Short: "run container images as pods", Usage: "rkt [OPTION…] COMMAND [ARG…]", Version: Version,
		Description: rootDescription, Global: c.globalOptions(), ExitStatus: exitStatus,
	}
	for _, v := range verbs() {
		p.Commands = append(p.Commands, Page{Name: "rkt " + v.name, Short: v.make(c).short})
	}
	return p
}

// pageOf describes cmd, which is called as c.verb.
func pageOf(c *cli, cmd *command) Page {
	p := Page{
		Name: "rkt " + c.verb, Short: cmd.short, Usage: usageLine(c.verb, cmd),
		Description: strings.TrimSpace(cmd.long), Options: page.Options(cmd.flags()), Global: c.globalOptions(),
		Examples: strings.Trim(cmd.example, "\n"), ExitStatus: exitStatus,
	}
	switch c.verb {
	case "run", "run-prepared", "enter":
		p.ExitStatus = exitStatusApp
	}
	for _, v := range verbs() {
		if v.name == c.verb {
			for _, sub := range v.group {
				p.Commands = append(p.Commands, Page{Name: "rkt " + v.name + " " + sub.name, Short: sub.make(c).short})
			}
		}
	}
	return p
}

// usageLine is how cmd is called.
func usageLine(verb string, cmd *command) string {
	return strings.TrimSpace("rkt " + verb + " " + cmd.usage)
}

func (c *cli) globalOptions() []Option {
	g := newGlobals()
	fs := pflag.NewFlagSet("rkt", pflag.ContinueOnError)
	g.register(fs)
	return page.Options(fs)
}

func (c *cli) printRootHelp() error { return page.Write(c.Out, rootPage(c)) }

// printHelp prints the page of c.verb.
func (c *cli) printHelp() error {
	// The flags of a command that is about to run include the global ones.
	plain := newCLI(c.Streams)
	plain.verb = c.verb
	all := verbs()
	first, second, _ := strings.Cut(c.verb, " ")
	v, err := findVerb(all, first)
	if err == nil && second != "" {
		v, err = findVerb(v.group, second)
	}
	if err != nil {
		return err
	}
	return page.Write(c.Out, pageOf(plain, v.make(plain)))
}

func newHelp(c *cli) *command {
	return &command{
		usage: "[COMMAND]",
		short: "show help for a command",
		long:  "Prints what `rkt COMMAND --help` prints; without a command, what there is.",
		run: func(args []string) error {
			if len(args) == 0 {
				return c.printRootHelp()
			}
			v, err := findVerb(verbs(), args[0])
			if err != nil {
				return err
			}
			c.verb = v.name
			if len(args) > 1 {
				if v.group == nil || len(args) > 2 {
					return fmt.Errorf("cannot parse arguments: unexpected argument %q", args[len(args)-1])
				}
				if v, err = findVerb(v.group, args[1]); err != nil {
					return err
				}
				c.verb += " " + v.name
			}
			return c.printHelp()
		},
	}
}
