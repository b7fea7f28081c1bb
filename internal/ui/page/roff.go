// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"strings"
)

// FileName is "rkt-image-list".
func FileName(p Page) string { return strings.ReplaceAll(p.Name, " ", "-") }

// Roff writes a page in the man macros (groff_man(7)).
func Roff(p Page, all []Page) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	program, version, _ := strings.Cut(all[0].Name+" "+all[0].Version, " ")
	line(".TH %s 1 \"\" %s %s", quote(strings.ToUpper(FileName(p))), quote(program+" "+version), quote(program))
	line(".SH NAME")
	line("%s \\- %s", escape(FileName(p)), escape(p.Short))
	line(".SH SYNOPSIS")
	line(".B %s", escape(p.Name))
	line("%s", escape(strings.TrimSpace(strings.TrimPrefix(p.Usage, p.Name))))
	line(".SH DESCRIPTION")
	for i, d := range Parts(p.Description) {
		switch {
		case d.Literal:
			literal(&b, d.Lines)
		case i > 0:
			line(".PP")
			fallthrough
		default:
			for _, l := range d.Lines {
				line("%s", escape(l))
			}
		}
	}
	if len(p.Commands) > 0 {
		line(".SH COMMANDS")
		for _, c := range p.Commands {
			line(".TP\n.BR %s (1)\n%s", escape(FileName(c)), escape(c.Short))
		}
	}
	roffOptions(&b, "OPTIONS", p.Options)
	roffOptions(&b, "GLOBAL OPTIONS", p.Global)
	if p.Examples != "" {
		line(".SH EXAMPLES")
		literal(&b, strings.Split(p.Examples, "\n"))
	}
	line(".SH \"EXIT STATUS\"")
	literal(&b, strings.Split(p.ExitStatus, "\n"))
	if p.Name != program {
		line(".SH \"SEE ALSO\"")
		see := []string{".BR " + program + " (1)"}
		for _, o := range all {
			if o.Name != p.Name && strings.HasPrefix(o.Name, p.Name+" ") {
				see = append(see, ".BR "+escape(FileName(o))+" (1)")
			}
		}
		line("%s", strings.Join(see, " ,\n"))
	}
	return b.String()
}

func roffOptions(b *strings.Builder, title string, list []Option) {
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

// Part is a piece of a description: a paragraph, or lines to be kept as they are.
type Part struct {
	Literal bool
	Lines   []string
}

// Parts takes a description apart.
func Parts(text string) (list []Part) {
	for line := range strings.SplitSeq(text, "\n") {
		literal := strings.HasPrefix(line, " ")
		switch n := len(list); {
		case line == "":
			list = append(list, Part{})
		case n > 0 && len(list[n-1].Lines) > 0 && list[n-1].Literal == literal:
			list[n-1].Lines = append(list[n-1].Lines, line)
		case n > 0 && len(list[n-1].Lines) == 0:
			list[n-1] = Part{literal, []string{line}}
		default:
			list = append(list, Part{literal, []string{line}})
		}
	}
	return list
}
