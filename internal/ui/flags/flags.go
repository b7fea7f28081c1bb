// SPDX-License-Identifier: Apache-2.0

// Package flags reads command lines. pflag holds the flags, with their types and
// their help; the parsing is here, because rkt's grammar for several images needs
// one token at a time and because errors are to be in one voice
// (docs/decisions/0003-command-line.md).
package flags

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/spf13/pflag"
)

// ErrHelp: --help was among the flags.
var ErrHelp = errors.New("help wanted")

// Parser takes flags out of args and returns what is left.
type Parser func(fs *pflag.FlagSet, args []string) ([]string, error)

// Anywhere takes flags before, between and after other arguments, up to a
// "--", which is dropped.
func Anywhere(fs *pflag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		switch {
		case args[0] == "--":
			return append(rest, args[1:]...), nil
		case !Is(args[0]):
			rest, args = append(rest, args[0]), args[1:]
		default:
			if args, err = Take(fs, args); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

// First takes flags up to the first other argument; all that follows is
// left as it is.
func First(fs *pflag.FlagSet, args []string) ([]string, error) {
	for len(args) > 0 && Is(args[0]) {
		if args[0] == "--" {
			return args[1:], nil
		}
		var err error
		if args, err = Take(fs, args); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// Is: "-" alone is an argument like any other.
func Is(s string) bool { return len(s) > 1 && s[0] == '-' }

// Take sets the flag in args[0], with its value from there or from args[1],
// and returns the arguments after it.
func Take(fs *pflag.FlagSet, args []string) ([]string, error) {
	token, args := args[0], args[1:]
	if token == "-h" || token == "--help" {
		return nil, ErrHelp
	}
	if f := short(fs, token); f != nil {
		token = "--" + f.Name + token[2:]
	}
	if !strings.HasPrefix(token, "--") {
		return nil, hint.Wrap(fmt.Errorf("cannot parse %q: unknown flag", token), "flags start with two dashes; a value that starts with one is written --flag=VALUE")
	}
	name, value, hasValue := strings.Cut(token[2:], "=")
	f := fs.Lookup(name)
	if f == nil || name == "" {
		return nil, hint.Wrap(fmt.Errorf("cannot parse %q: unknown flag", "--"+name), nearest(fs, name))
	}
	if !hasValue {
		switch {
		case f.NoOptDefVal != "":
			value = f.NoOptDefVal
		case len(args) == 0:
			return nil, fmt.Errorf("cannot parse %q: it wants a value", token)
		default:
			value, args = args[0], args[1:]
		}
	}
	if err := f.Value.Set(value); err != nil {
		return nil, valueError(name, value, err)
	}
	f.Changed = true
	return args, nil
}

// short is the flag that a token names by one letter: -f, or -f=VALUE.
func short(fs *pflag.FlagSet, token string) *pflag.Flag {
	if len(token) != 2 && !(len(token) > 2 && token[2] == '=') || token[1] == '-' {
		return nil
	}
	return fs.ShorthandLookup(token[1:2])
}

// valueError gives an error of a flag's value its place, unless it has one.
func valueError(name, value string, err error) error {
	if strings.HasPrefix(err.Error(), "cannot ") {
		return err
	}
	// strconv's errors name the function; the user wants the cause.
	if cause := errors.Unwrap(err); cause != nil && strings.HasPrefix(err.Error(), "strconv.") {
		err = cause
	}
	return fmt.Errorf("cannot parse --%s=%q: %w", name, value, err)
}

// nearest is a hint for a flag that does not exist.
func nearest(fs *pflag.FlagSet, name string) string {
	best, bestDistance := "", 3
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if d := Distance(f.Name, name); d < bestDistance {
			best, bestDistance = f.Name, d
		}
	})
	if best != "" {
		return "there is --" + best
	}
	return "--help lists the flags"
}

// Distance is Levenshtein's.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// Func makes a flag of a function that is called for each occurrence.
type Func struct {
	Call   func(string) error
	Word   string   // what help calls the value
	Values []string // what it completes to; nil is not said
}

// Set is pflag's.
func (f Func) Set(s string) error { return f.Call(s) }

// String is pflag's: there is no default.
func (f Func) String() string { return "" }

// Type is pflag's.
func (f Func) Type() string { return f.Word }

// Each adds a flag that calls set for each occurrence.
func Each(fs *pflag.FlagSet, name, typ, usage string, set func(string) error) *pflag.Flag {
	return fs.VarPF(Func{Call: set, Word: typ}, name, "", usage)
}
