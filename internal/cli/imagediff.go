// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/rkt/rkt/internal/image/diff"
	"github.com/rkt/rkt/internal/ui"
)

// diffJSON is what `rkt image diff --format=json` prints.
type diffJSON struct {
	A      string         `json:"a"` // IDs
	B      string         `json:"b"`
	Config []diff.Setting `json:"config"`
	Files  []diff.Change  `json:"files"`
}

func newImageDiff(c *cli) *command {
	var (
		format outputFormat
		opt    diff.Options
	)
	cmd := &command{
		usage: "[OPTION…] IMAGE IMAGE",
		short: "show what differs between two stored images",
		long: `Compares two images as pods would see them: how they want to be run, and their
files. One line for each difference, from the first image to the second:

  +PATH              only the second image has it
  -PATH              only the first one
  ~PATH: WHAT, …     both, but not the same: type, mode, owner, size, content,
                     xattr (capabilities are among them), target of a link, device
  =NAME: OLD → NEW   a setting, or something the image says of itself, as JSON

Files of layers that both images have are not read. Modification times differ
between any two builds, so they count only with --exact, as does the number of a
file's hard links.`,
		example: "  rkt image diff docker://busybox:1.36 docker://busybox:1.37\n  rkt image diff --json sha256-7c0a sha256-91ff | jq -r '.files[].path'",
		args: func(args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("two images are wanted, not %d", len(args))
			}
			return noArgs(args[2:])
		},
		words: c.imageWords,
		run:   func(args []string) error { return c.imageDiff(args[0], args[1], opt, format) },
	}
	fs := cmd.flags()
	fs.BoolVar(&opt.Exact, "exact", false, "compare modification times and numbers of hard links, too")
	format.register(fs)
	return cmd
}

func (c *cli) imageDiff(first, second string, opt diff.Options, format outputFormat) error {
	if err := c.ownRoot(); err != nil {
		return err
	}
	st, recs, err := c.heldImages(true, first, second)
	if err != nil {
		return err
	}
	defer st.Close()
	a, b := recs[0], recs[1]
	sa, err := stack(st, a)
	if err != nil {
		return err
	}
	defer sa.Close()
	sb, err := stack(st, b)
	if err != nil {
		return err
	}
	defer sb.Close()
	ctx, stop := interruptible()
	defer stop()
	out := diffJSON{A: string(a.ID), B: string(b.ID), Config: diff.Configurations(a, b), Files: []diff.Change{}}
	if format.json() {
		if out.Config == nil {
			out.Config = []diff.Setting{}
		}
		if err := diff.Trees(ctx, sa, sb, opt, func(ch diff.Change) error {
			out.Files = append(out.Files, ch)
			return nil
		}); err != nil {
			return err
		}
		return ui.JSON(c.Out, out, format.pretty())
	}
	for _, s := range out.Config {
		if _, err := io.WriteString(c.Out, ui.Escape(fmt.Sprintf("=%s: %s → %s", s.Name, orNone(string(s.Old)), orNone(string(s.New))))+"\n"); err != nil {
			return err
		}
	}
	return diff.Trees(ctx, sa, sb, opt, func(ch diff.Change) error {
		line := map[diff.Kind]string{diff.Added: "+", diff.Removed: "-", diff.Changed: "~"}[ch.Kind] + ch.Path
		if ch.Kind == diff.Changed {
			line += ": " + strings.Join(ch.What, ", ")
		}
		_, err := io.WriteString(c.Out, ui.Escape(line)+"\n")
		return err
	})
}

func orNone(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}
