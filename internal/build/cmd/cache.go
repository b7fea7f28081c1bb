// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rkt/rkt/internal/build/cache"
	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/ui"
)

// newCache has the commands that look after what builds keep.
func newCache(a *acbuild) []*command {
	var dir, most string
	unused := 30 * 24 * time.Hour
	place := func(fs *pflag.FlagSet) {
		fs.StringVar(&dir, "cache-dir", "", "the cache is in `DIR`, and not in rkt's data directory")
	}
	return []*command{
		{
			name: "cache list", short: "list what builds of Dockerfiles have kept",
			long:    "Lists what instructions have made, that was used last at the end.",
			example: "  acbuild cache list",
			args:    exactly(), alone: true, flags: place,
			run: func(context.Context, []string) error { return a.listCache(dir) },
		},
		{
			name: "cache prune", usage: "[OPTION…]", short: "remove what builds have not used for long",
			long: `Removes what instructions have made and no build has used for the time of --unused,
then, if --keep-bytes is given, what was used longest ago, until the rest takes no
more than that. It refuses while a build runs.`,
			example: "  acbuild cache prune --unused=168h --keep-bytes=10G",
			args:    exactly(), alone: true, need: always,
			flags: func(fs *pflag.FlagSet) {
				place(fs)
				fs.DurationVar(&unused, "unused", unused, "keep what was used in the last `TIME`")
				fs.StringVar(&most, "keep-bytes", "", "keep no more than `SIZE`, as 500M or 10G")
			},
			run: func(context.Context, []string) error {
				n := int64(-1)
				if most != "" {
					var err error
					if n, err = size(most); err != nil {
						return err
					}
				}
				return a.pruneCache(dir, unused, n, false)
			},
		},
		{
			name: "cache rm", short: "remove all that builds have kept",
			long:    "Removes what instructions have made, and the directories of RUN --mount=type=cache. It\nrefuses while a build runs.",
			example: "  acbuild cache rm",
			args:    exactly(), alone: true, need: always, flags: place,
			run: func(context.Context, []string) error { return a.pruneCache(dir, 0, -1, true) },
		},
	}
}

// size reads a number of bytes with a suffix.
func size(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGTkmgt")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[strings.ToLower(text[len(digits):])]
	if err != nil || !ok || n < 0 || n > 1<<(62-shift) {
		return 0, hint.Wrap(fmt.Errorf("cannot keep %q: it is no size", text), "sizes are like 500M and 10G")
	}
	return n << shift, nil
}

func (a *acbuild) listCache(flag string) error {
	dir, err := a.cacheDir(flag)
	if err != nil {
		return err
	}
	list, err := cache.List(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if _, err := fmt.Fprintf(a.Out, "%s  %s  %s\n", e.Key[:min(12, len(e.Key))], e.Used.Format("2006-01-02 15:04"), ui.Escape(e.What)); err != nil {
			return err
		}
	}
	return nil
}

func (a *acbuild) pruneCache(flag string, unused time.Duration, most int64, mounts bool) error {
	dir, err := a.cacheDir(flag)
	if err != nil {
		return err
	}
	p, err := cache.Prune(dir, unused, most, mounts)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "removed %d layers and %d cache mounts, %s\n", p.Layers, p.Mounts, ui.Size(p.Freed))
	return err
}
