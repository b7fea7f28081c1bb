// SPDX-License-Identifier: Apache-2.0

// Command man writes the manual pages of rkt into a directory, and with
// -markdown the pages of docs/commands. Both come from what `rkt help` prints.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/cli"
)

func main() {
	markdown := flag.Bool("markdown", false, "write Markdown instead of manual pages")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: man [-markdown] DIR")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *markdown); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func write(dir string, markdown bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := cli.Pages()
	for _, p := range pages {
		name, text := fileName(p)+".1", roff(p, pages)
		if markdown {
			name, text = mdName(p), mark(p, pages)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fileName is "rkt-image-list".
func fileName(p cli.Page) string { return strings.ReplaceAll(p.Name, " ", "-") }

// mdName is "image-list.md"; the root's page is the directory's own.
func mdName(p cli.Page) string {
	if p.Name == "rkt" {
		return "README.md"
	}
	return strings.TrimPrefix(fileName(p), "rkt-") + ".md"
}

// part is a piece of a description: a paragraph, or lines to be kept as they are.
type part struct {
	literal bool
	lines   []string
}

func parts(text string) (list []part) {
	for line := range strings.SplitSeq(text, "\n") {
		literal := strings.HasPrefix(line, " ")
		switch n := len(list); {
		case line == "":
			list = append(list, part{})
		case n > 0 && len(list[n-1].lines) > 0 && list[n-1].literal == literal:
			list[n-1].lines = append(list[n-1].lines, line)
		case n > 0 && len(list[n-1].lines) == 0:
			list[n-1] = part{literal, []string{line}}
		default:
			list = append(list, part{literal, []string{line}})
		}
	}
	return list
}
