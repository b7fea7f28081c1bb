// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/ui"
	"github.com/rkt/rkt/internal/ui/flags"
	"github.com/rkt/rkt/internal/ui/page"
)

const exitStatus = `  0    it is done
  1    it failed, and the build is as it was
  2    what was to be removed is not there
  run  and scripts that run: the status of the command`

const rootDescription = `acbuild builds App Container Images and OCI images, step by step: begin, some
commands that change the image, write, end. A build is files in the directory .acbuild
of the work path; there is no daemon, and a command that fails leaves the build as it
was, open to go on.

A command may be shortened as long as it is unambiguous: acbuild env add A b.

--modify-appc and --modify-oci change an image that lies in a file by one command: it
is replaced at once when all is well.`

// Pages returns the page of the root, then one per command.
func Pages() []page.Page {
	a := &acbuild{Streams: ui.Streams{Out: io.Discard, Err: io.Discard}, global: newGlobals()}
	all := commands(a)
	root := page.Page{
		Name: "acbuild", Short: "build container images", Usage: "acbuild [OPTION…] COMMAND [ARG…]", Version: Version,
		Description: rootDescription, Global: globalOptions(), ExitStatus: exitStatus,
	}
	pages := []page.Page{root}
	for _, c := range all {
		p := pageOf(c)
		pages[0].Commands = append(pages[0].Commands, page.Page{Name: p.Name, Short: p.Short})
		pages = append(pages, p)
	}
	return pages
}

func globalOptions() []page.Option {
	g := newGlobals()
	fs := pflag.NewFlagSet("acbuild", pflag.ContinueOnError)
	g.register(fs)
	return page.Options(fs)
}

func pageOf(c *command) page.Page {
	return page.Page{
		Name: "acbuild " + c.name, Short: c.short, Usage: usageLine(c), Description: strings.TrimSpace(c.long),
		Options: page.Options(c.set()), Global: globalOptions(), Examples: strings.Trim(c.example, "\n"), ExitStatus: exitStatus,
	}
}

func (a *acbuild) printRootHelp() error { return page.Write(a.Out, Pages()[0]) }

func (a *acbuild) printHelp(name string) error {
	for _, p := range Pages() {
		if p.Name == "acbuild "+name {
			return page.Write(a.Out, p)
		}
	}
	return fmt.Errorf("cannot find command %q", name)
}

func newHelp(a *acbuild) *command {
	return &command{
		name: "help", usage: "[COMMAND]", short: "show help for a command", alone: true,
		long: "Prints what acbuild COMMAND --help prints; without a command, what there is.", example: "  acbuild help port add",
		run: func(_ context.Context, args []string) error {
			if len(args) == 0 {
				return a.printRootHelp()
			}
			c, rest, err := find(commands(a), args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("cannot parse arguments: unexpected argument %q", rest[0])
			}
			return a.printHelp(c.name)
		},
	}
}

func newVersion(a *acbuild) *command {
	return &command{
		name: "version", short: "print the version", long: "Prints acbuild's version, and what it was built with.", example: "  acbuild version",
		args: exactly(), alone: true,
		run: func(context.Context, []string) error {
			_, err := fmt.Fprintf(a.Out, "acbuild Version: %s\nGo Version: %s\nGo OS/Arch: %s/%s\nappc Version: 0.8.11\nOCI Image Version: 1.1\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func newGenManPages(a *acbuild) *command {
	return &command{
		name: "gen-man-pages", usage: "DIR", short: "write the manual pages", args: exactly("DIR"), alone: true,
		long: "Writes a manual page for each command into DIR.", example: "  acbuild gen-man-pages ./man",
		run: func(_ context.Context, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("cannot write manual pages: %w", err)
			}
			pages := Pages()
			for _, p := range pages {
				name := filepath.Join(args[0], strings.ReplaceAll(p.Name, " ", "-")+".1")
				if err := os.WriteFile(name, []byte(page.Roff(p, pages)), 0o644); err != nil {
					return fmt.Errorf("cannot write manual pages: %w", err)
				}
			}
			return nil
		},
	}
}

// completeVerb is how completion scripts ask, as rkt's do.
const completeVerb = "__complete"

func newCompletion(a *acbuild) *command {
	return &command{
		name: "completion", usage: "bash|zsh|fish", short: "print a script that completes acbuild's command line", alone: true,
		long: "Prints a completion script for a shell.", example: "  source <(acbuild completion bash)",
		args: exactly("the shell (bash, zsh or fish)"),
		run: func(_ context.Context, args []string) error {
			script, ok := page.CompletionScript(args[0], "acbuild")
			if !ok {
				return hint.Wrap(fmt.Errorf("cannot complete for shell %q: there is no script for it", args[0]), "there are bash, zsh and fish")
			}
			_, err := io.WriteString(a.Out, script)
			return err
		},
	}
}

// complete answers a completion script: candidates, one a line with what it is
// after a tab, then ":files" or ":end".
func (a *acbuild) complete(args []string) error {
	begun := ""
	if len(args) > 0 {
		args, begun = args[:len(args)-1], args[len(args)-1]
	}
	root := pflag.NewFlagSet("acbuild", pflag.ContinueOnError)
	a.global.register(root)
	fs, files := root, false
	var b strings.Builder
	add := func(text, about string) {
		if strings.HasPrefix(text, begun) {
			b.WriteString(text + "\t" + about + "\n")
		}
	}
	rest, err := flags.First(root, args)
	all := commands(a)
	switch {
	case err != nil:
		files = true
	case len(rest) == 0 && !flags.Is(begun):
		for _, word := range wordsOf(all, 0) {
			c, _ := choose(all, 0, word)
			add(word, c[0].short)
		}
	case len(rest) > 0:
		c, _, err := find(all, rest)
		if err != nil {
			first, cerr := choose(all, 0, rest[0])
			if cerr == nil && len(rest) == 1 {
				for _, w := range wordsOf(first, 1) {
					i := slices.IndexFunc(first, func(c *command) bool { return strings.HasSuffix(c.name, " "+w) })
					add(w, first[i].short)
				}
			}
			break
		}
		fs = c.set()
		a.global.register(fs)
		files = true
	}
	if flags.Is(begun) {
		files = files && strings.Contains(begun, "=") // a value
		fs.VisitAll(func(f *pflag.Flag) {
			text := "--" + f.Name
			if f.NoOptDefVal == "" {
				text += "="
			}
			_, usage := pflag.UnquoteUsage(f)
			add(text, usage)
		})
	}
	end := ":end\n"
	if files {
		end = ":files\n"
	}
	_, err = io.WriteString(a.Out, b.String()+end)
	return err
}
