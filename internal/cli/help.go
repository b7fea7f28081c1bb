// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/rkt/rkt/internal/ui"
	"github.com/spf13/pflag"
)

// Page is what there is to say about one command, for `rkt help`, the manual
// pages and docs/commands.
type Page struct {
	Name        string // "rkt image list"
	Short       string
	Usage       string
	Description string // paragraphs; lines that are indented are kept as they are
	Commands    []Page // of the root and of nouns; only Name and Short are set
	Options     []Option
	Global      []Option
	Examples    string
	ExitStatus  string
}

// Option is a flag in a Page.
type Option struct {
	Flag  string // `--exec=PROGRAM`, `--no-legend`
	Usage string
	// Default is "" for none, else as it is to be shown, strings quoted.
	Default string
}

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
configuration directories, else ` + defaultDataDir + `. An ordinary user's is that of
--dir, of the variable RKT_DIR, else $XDG_DATA_HOME/rkt or ~/.local/share/rkt.`

// Pages returns the page of the root, then one per command.
func Pages() []Page {
	c := newCLI(ui.Streams{Out: io.Discard, Err: io.Discard})
	pages := []Page{rootPage(c)}
	for _, v := range verbs() {
		c.verb = v.name
		pages = append(pages, page(c, v.make(c)))
		for _, sub := range v.group {
			c.verb = v.name + " " + sub.name
			pages = append(pages, page(c, sub.make(c)))
		}
	}
	return pages
}

func newCLI(s ui.Streams) *cli {
	return &cli{Streams: s, global: newGlobals(), parse: flagsAnywhere}
}

func rootPage(c *cli) Page {
	p := Page{
		Name: "rkt", Short: "run container images as pods", Usage: "rkt [OPTION…] COMMAND [ARG…]",
		Description: rootDescription, Global: c.globalOptions(), ExitStatus: exitStatus,
	}
	for _, v := range verbs() {
		p.Commands = append(p.Commands, Page{Name: "rkt " + v.name, Short: v.make(c).short})
	}
	return p
}

// page describes cmd, which is called as c.verb.
func page(c *cli, cmd *command) Page {
	p := Page{
		Name: "rkt " + c.verb, Short: cmd.short, Usage: usageLine(c.verb, cmd),
		Description: strings.TrimSpace(cmd.long), Options: options(cmd.flags()), Global: c.globalOptions(),
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
	return options(fs)
}

// options lists the flags that are not hidden, by name.
func options(fs *pflag.FlagSet) []Option {
	var list []Option
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		o := Option{Flag: "--" + f.Name}
		word, usage := pflag.UnquoteUsage(f)
		o.Usage = usage
		switch {
		case f.NoOptDefVal == "default": // bare --net, which is refused
			o.Flag += "=" + word
		case f.NoOptDefVal != "" && f.Value.Type() != "bool":
			o.Flag += "[=" + word + "]"
		case f.NoOptDefVal == "":
			o.Flag += "=" + word
		}
		switch f.DefValue {
		case "", "false", "[]":
		default:
			o.Default = f.DefValue
			if f.Value.Type() == "string" {
				o.Default = fmt.Sprintf("%q", f.DefValue)
			}
		}
		list = append(list, o)
	})
	return list
}

func (c *cli) printRootHelp() error { return writePage(c.Out, rootPage(c)) }

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
	return writePage(c.Out, page(plain, v.make(plain)))
}

// writePage prints rkt's layout of help.
func writePage(w io.Writer, p Page) error {
	var b strings.Builder
	section := func(title, text string) {
		if text != "" {
			b.WriteString(title + ":\n" + strings.TrimRight(text, "\n") + "\n\n")
		}
	}
	section("NAME", "\t"+p.Name+" - "+p.Short)
	section("USAGE", "\t"+p.Usage)
	if p.Name == "rkt" {
		section("VERSION", "\t"+Version)
	}
	var rows []string
	for _, sub := range p.Commands {
		rows = append(rows, strings.TrimPrefix(sub.Name, p.Name+" ")+"\x00"+sub.Short)
	}
	section("COMMANDS", columns(rows))
	section("DESCRIPTION", p.Description)
	section("OPTIONS", optionText(p.Options))
	section("GLOBAL OPTIONS", optionText(p.Global))
	section("EXAMPLES", p.Examples)
	section("EXIT STATUS", p.ExitStatus)
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func optionText(list []Option) string {
	var rows []string
	for _, o := range list {
		text := o.Usage
		if o.Default != "" {
			text += " (default " + o.Default + ")"
		}
		rows = append(rows, o.Flag+"\x00"+text)
	}
	return columns(rows)
}

// columns lays out rows of two cells; long second cells wrap at 100 columns.
func columns(rows []string) string {
	width := 0
	for _, r := range rows {
		left, _, _ := strings.Cut(r, "\x00")
		if n := utf8.RuneCountInString(left); n > width && n <= 28 {
			width = n
		}
	}
	var b strings.Builder
	for _, r := range rows {
		left, right, _ := strings.Cut(r, "\x00")
		n := utf8.RuneCountInString(left)
		b.WriteString("  " + left)
		if n > width {
			b.WriteString("\n" + strings.Repeat(" ", width+4))
		} else {
			b.WriteString(strings.Repeat(" ", width+2-n))
		}
		at := width + 4
		for i, word := range strings.Fields(right) {
			if i > 0 {
				if at+1+utf8.RuneCountInString(word) > 100 {
					b.WriteString("\n" + strings.Repeat(" ", width+4))
					at = width + 4
				} else {
					b.WriteByte(' ')
					at++
				}
			}
			b.WriteString(word)
			at += utf8.RuneCountInString(word)
		}
		b.WriteByte('\n')
	}
	return b.String()
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
