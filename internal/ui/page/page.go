// SPDX-License-Identifier: Apache-2.0

// Package page is what there is to say about a command: the help that is printed,
// from which manual pages and docs/commands are made.
package page

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// Page is what there is to say about one command, for help, the
// manual pages and docs/commands.
type Page struct {
	Name        string // "rkt image list"
	Short       string
	Version     string // of the root
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

// Options lists the flags that are not hidden, by name.
func Options(fs *pflag.FlagSet) []Option {
	var list []Option
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		o := Option{Flag: "--" + f.Name}
		if f.Shorthand != "" {
			o.Flag = "-" + f.Shorthand + ", " + o.Flag
		}
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

// Write prints rkt's layout of help.
func Write(w io.Writer, p Page) error {
	var b strings.Builder
	section := func(title, text string) {
		if text != "" {
			b.WriteString(title + ":\n" + strings.TrimRight(text, "\n") + "\n\n")
		}
	}
	section("NAME", "\t"+p.Name+" - "+p.Short)
	section("USAGE", "\t"+p.Usage)
	if p.Version != "" {
		section("VERSION", "\t"+p.Version)
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
