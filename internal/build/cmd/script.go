// SPDX-License-Identifier: Apache-2.0

package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/build/workspace"
	"github.com/rkt/rkt/internal/hint"
)

// Bounds of scripts.
const (
	maxScript = 1 << 20 // bytes
	maxNested = 16
)

func newScript(a *acbuild) *command {
	return &command{
		name: "script", usage: "FILE", short: "run the commands in a file",
		long: `Runs a command on each line of FILE, - for standard input, in a build of its own,
which is removed at the end: a script is to write what it builds. The first command
that fails ends it, with that command's status. A script may run others, in the same
build.

A line that ends with \ goes on with the next. # begins a comment. Words may be
quoted: in single quotes everything stands for itself; in double quotes \ does away
with the meaning of what follows it, as it does outside of quotes. run and set-exec
need no -- before the command. end, abort and begin in a script's script are refused.

A file that begins with #!/usr/bin/env -S acbuild script is a program.`,
		example: "  acbuild script ./build.acb",
		args:    exactly("FILE"), alone: true, need: owners,
		run: func(ctx context.Context, args []string) error { return a.runScript(ctx, args[0]) },
	}
}

func (a *acbuild) runScript(ctx context.Context, file string) (err error) {
	if a.script >= maxNested {
		return fmt.Errorf("cannot run script %q: scripts run each other too deep", file)
	}
	text, err := a.input(file, maxScript)
	if err != nil {
		return err
	}
	lines, err := parseScript(string(text))
	if err != nil {
		return fmt.Errorf("cannot run script %q: %w", file, err)
	}
	if a.script == 0 {
		// As far as a word alone can tell, before anything is done.
		for _, l := range lines {
			c, _, err := find(commands(a), l.words)
			if err != nil {
				return fmt.Errorf("cannot run script %q: line %d: %w", file, l.number, err)
			}
			switch {
			case c.name == "end", c.name == "abort":
				return hint.Wrap(fmt.Errorf("cannot run script %q: line %d: %s is not for scripts", file, l.number, c.name), "the build is removed when the script ends")
			case c.need == always:
				if err := a.needScript(file); err != nil {
					return fmt.Errorf("cannot run script %q: line %d: %w", file, l.number, err)
				}
			}
		}
		dir, err := os.MkdirTemp("", "acbuild-script-")
		if err != nil {
			return fmt.Errorf("cannot run script %q: %w", file, cause(err))
		}
		defer os.RemoveAll(dir)
		a.global.workPath = dir
		defer func() {
			// What is in the build may be root's to remove, and hard to.
			if w, oerr := workspace.Open(dir); oerr == nil {
				err = errors.Join(err, w.Destroy())
			}
		}()
	}
	for _, l := range lines {
		one := *a
		one.script++
		if err := one.line(ctx, l); err != nil {
			a.verb = one.verb
			ui := fmt.Sprintf("%s:%d", file, l.number)
			return &lineError{ui, err}
		}
	}
	return nil
}

// lineError says where a script failed.
type lineError struct {
	at  string
	err error
}

func (e *lineError) Error() string { return e.at + ": " + e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

func (a *acbuild) line(ctx context.Context, l line) error {
	c, rest, err := find(commands(a), l.words)
	if err != nil {
		return err
	}
	a.verb = c.name
	switch c.name {
	case "end", "abort":
		return fmt.Errorf("%s is not for scripts", c.name)
	case "run", "set-exec":
		// All that begins with a dash before the command is acbuild's.
		if i := slices.IndexFunc(rest, func(w string) bool { return !strings.HasPrefix(w, "-") }); i >= 0 && !slices.Contains(rest[:i], "--") {
			rest = slices.Insert(slices.Clone(rest), i, "--")
		}
	}
	return a.execute(ctx, c, rest)
}

type line struct {
	number int // of its beginning
	words  []string
}

// parseScript splits a script into commands of words.
func parseScript(text string) (list []line, err error) {
	var words []string
	var word strings.Builder
	inWord := false
	number, begun := 1, 1
	end := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	for i := 0; i < len(text); i++ {
		ch := text[i]
		switch {
		case ch == '\n':
			end()
			if len(words) > 0 {
				list = append(list, line{begun, words})
				words = nil
			}
			number++
			begun = number
		case ch == ' ' || ch == '\t' || ch == '\r':
			end()
		case ch == '#' && !inWord:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case ch == '\\':
			if i++; i == len(text) {
				return nil, fmt.Errorf("line %d: nothing follows the \\ at the end", number)
			}
			if text[i] == '\n' {
				end()
				number++
				continue
			}
			inWord = true
			word.WriteByte(text[i])
		case ch == '\'' || ch == '"':
			inWord = true
			opened := number
			for i++; ; i++ {
				if i >= len(text) {
					return nil, fmt.Errorf("line %d: a quote is not closed", opened)
				}
				if text[i] == ch {
					break
				}
				if text[i] == '\n' {
					number++
				}
				if ch == '"' && text[i] == '\\' && i+1 < len(text) {
					if i++; text[i] == '\n' {
						number++
						continue
					}
				}
				word.WriteByte(text[i])
			}
		case ch == 0:
			return nil, fmt.Errorf("line %d: it has a zero byte", number)
		default:
			inWord = true
			word.WriteByte(ch)
		}
	}
	end()
	if len(words) > 0 {
		list = append(list, line{begun, words})
	}
	return list, nil
}
