// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/ui/page"
)

// mark writes a page of docs/commands.
func mark(p page.Page, all []page.Page) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("<!-- Written by `go run ./tools/man -markdown docs/commands`; change the texts in internal/cli and internal/build/cmd. -->")
	line("# %s\n", p.Name)
	line("%s%s.\n", strings.ToUpper(p.Short[:1]), p.Short[1:])
	line("    %s\n", p.Usage)
	for _, d := range page.Parts(p.Description) {
		if d.Literal {
			fence(&b, d.Lines)
			continue
		}
		line("%s\n", strings.Join(d.Lines, "\n"))
	}
	if len(p.Commands) > 0 {
		line("## Commands\n\n| command | |\n|---|---|")
		for _, c := range p.Commands {
			line("| [%s](%s) | %s |", c.Name, mdName(c), cell(c.Short))
		}
		line("")
	}
	table := func(title string, list []page.Option) {
		if len(list) == 0 {
			return
		}
		line("## %s\n\n| option | default | |\n|---|---|---|", title)
		for _, o := range list {
			def := ""
			if o.Default != "" {
				def = "`" + cell(o.Default) + "`"
			}
			line("| `%s` | %s | %s |", cell(o.Flag), def, cell(o.Usage))
		}
		line("")
	}
	table("Options", p.Options)
	if p.Name == all[0].Name {
		table("Global options", p.Global)
	} else {
		line("The [global options](%s#global-options) may stand before the command or after it.\n", mdName(all[0]))
	}
	if p.Examples != "" {
		line("## Examples\n")
		fence(&b, strings.Split(p.Examples, "\n"))
	}
	line("## Exit status\n")
	fence(&b, strings.Split(p.ExitStatus, "\n"))
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func fence(b *strings.Builder, lines []string) {
	b.WriteString("```text\n")
	for _, l := range lines {
		b.WriteString(strings.TrimPrefix(l, "  ") + "\n")
	}
	b.WriteString("```\n\n")
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
