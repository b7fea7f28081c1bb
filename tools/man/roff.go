// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/cli"
)

// roff writes a page in the man macros (groff_man(7)).
func roff(p cli.Page, all []cli.Page) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(".TH %s 1 \"\" %s \"rkt\"", quote(strings.ToUpper(fileName(p))), quote("rkt "+cli.Version))
	line(".SH NAME")
	line("%s \\- %s", escape(fileName(p)), escape(p.Short))
	line(".SH SYNOPSIS")
	line(".B %s", escape(p.Name))
	line("%s", escape(strings.TrimSpace(strings.TrimPrefix(p.Usage, p.Name))))
	line(".SH DESCRIPTION")
	for i, d := range parts(p.Description) {
		switch {
		case d.literal:
			literal(&b, d.lines)
		case i > 0:
			line(".PP")
			fallthrough
		default:
			for _, l := range d.lines {
				line("%s", escape(l))
			}
		}
	}
	if len(p.Commands) > 0 {
		line(".SH COMMANDS")
		for _, c := range p.Commands {
			line(".TP\n.BR %s (1)\n%s", escape(fileName(c)), escape(c.Short))
		}
	}
	options(&b, "OPTIONS", p.Options)
	options(&b, "GLOBAL OPTIONS", p.Global)
	if p.Examples != "" {
		line(".SH EXAMPLES")
		literal(&b, strings.Split(p.Examples, "\n"))
	}
	line(".SH \"EXIT STATUS\"")
	literal(&b, strings.Split(p.ExitStatus, "\n"))
	if p.Name != "rkt" {
		line(".SH \"SEE ALSO\"")
		see := []string{".BR rkt (1)"}
		for _, o := range all {
			if o.Name != p.Name && strings.HasPrefix(o.Name, p.Name+" ") {
				see = append(see, ".BR "+escape(fileName(o))+" (1)")
			}
		}
		line("%s", strings.Join(see, " ,\n"))
	}
	return b.String()
}

func options(b *strings.Builder, title string, list []cli.Option) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", quote(title))
	for _, o := range list {
		flag, value, ok := strings.Cut(o.Flag, "=")
		text := "\\fB" + escape(flag) + "\\fR"
		if ok {
			text += "=\\fI" + escape(value) + "\\fR"
		}
		usage := escape(o.Usage)
		if o.Default != "" {
			usage += " (default " + escape(o.Default) + ")"
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", text, usage)
	}
}

func literal(b *strings.Builder, lines []string) {
	b.WriteString(".PP\n.nf\n")
	for _, l := range lines {
		b.WriteString(escape(l) + "\n")
	}
	b.WriteString(".fi\n")
}

// escape makes text that roff prints as it is.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
