// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/rkt/rkt/internal/ui/flags"
	"github.com/spf13/pflag"
)

// The words of package ui/flags that every verb uses.
type (
	parser  = flags.Parser
	setFunc = flags.Func
)

// errHelp: --help was among the flags.
var errHelp = flags.ErrHelp

func flagsAnywhere(fs *pflag.FlagSet, args []string) ([]string, error) {
	return flags.Anywhere(fs, args)
}

func flagsFirst(fs *pflag.FlagSet, args []string) ([]string, error) { return flags.First(fs, args) }

func takeFlag(fs *pflag.FlagSet, args []string) ([]string, error) { return flags.Take(fs, args) }

func isFlag(s string) bool { return flags.Is(s) }

func distance(a, b string) int { return flags.Distance(a, b) }

// each adds a flag that calls set for each occurrence.
func each(fs *pflag.FlagSet, name, typ, usage string, set func(string) error) *pflag.Flag {
	return flags.Each(fs, name, typ, usage, set)
}
