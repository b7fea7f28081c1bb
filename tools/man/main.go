// SPDX-License-Identifier: Apache-2.0

// Command man writes the manual pages of rkt and acbuild into a directory, and with
// -markdown the pages of docs/commands. All come from what `help` prints.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/build/cmd"
	"github.com/rkt/rkt/internal/cli"
	"github.com/rkt/rkt/internal/ui/page"
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
	for _, pages := range [][]page.Page{cli.Pages(), cmd.Pages()} {
		for _, p := range pages {
			name, text := page.FileName(p)+".1", page.Roff(p, pages)
			if markdown {
				name, text = mdName(p), mark(p, pages)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// mdName is "image-list.md"; the root's page is the directory's own.
func mdName(p page.Page) string {
	if p.Name == "rkt" {
		return "README.md"
	}
	return strings.TrimPrefix(page.FileName(p), "rkt-") + ".md"
}
