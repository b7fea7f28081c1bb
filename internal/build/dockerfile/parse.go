// SPDX-License-Identifier: Apache-2.0

// Package dockerfile builds images from Dockerfiles: it parses them with
// BuildKit's parser, finds out which stages the target needs, and makes each
// stage's trees and configuration, independent stages at the same time. What was
// made before from the same inputs comes out of the cache.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/rkt/rkt/internal/hint"
)

// maxFile bounds a Dockerfile and a .dockerignore, bytes.
const maxFile = 4 << 20

// file is a parsed Dockerfile.
type file struct {
	name   string
	escape rune
	stages []instructions.Stage
	args   []instructions.ArgCommand // before the first FROM
}

// At is an error at a line of a Dockerfile.
type At struct {
	File string
	Line int // 0 is unknown
	Err  error
}

func (e *At) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *At) Unwrap() error { return e.Err }

// at says where err happened, unless it says so already.
func (f *file) at(loc []parser.Range, err error) error {
	if err == nil {
		return nil
	}
	if known := (*At)(nil); errors.As(err, &known) {
		return err
	}
	return &At{File: f.name, Line: line(loc), Err: err}
}

func line(loc []parser.Range) int {
	if len(loc) == 0 {
		return 0
	}
	return loc[0].Start.Line
}

// readFile reads a Dockerfile; "-" is standard input.
func readFile(path string) ([]byte, error) {
	var r io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read Dockerfile: %w", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read Dockerfile: %w", err)
	}
	return b, nil
}

// parse parses text, which is called name in messages.
func parse(name string, text []byte) (f *file, err error) {
	f = &file{name: name}
	// What the parser is given is a stranger's; that it never panics is not ours to
	// promise.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: the parser ended with %v", name, p)
		}
	}()
	if syntax, _, loc, ok := parser.DetectSyntax(text); ok && !usual(syntax) {
		return nil, hint.Wrap(f.at(loc, fmt.Errorf("cannot build with frontend %q: acbuild is its own", syntax)),
			"take the line `# syntax=…` out if the file is written in the usual language")
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, f.parseError(err)
	}
	f.escape = tree.EscapeToken
	if f.stages, f.args, err = instructions.Parse(tree.AST, nil); err != nil {
		return nil, f.parseError(err)
	}
	if len(f.stages) == 0 {
		return nil, fmt.Errorf("%s: there is no FROM in it", name)
	}
	return f, nil
}

// usual tells whether a frontend's language is the one that the parser knows.
func usual(syntax string) bool {
	name := strings.TrimPrefix(strings.Fields(syntax + " ")[0], "docker.io/")
	base, _, _ := strings.Cut(name, ":")
	return base == "docker/dockerfile" || base == "docker/dockerfile-upstream"
}

func (f *file) parseError(err error) error {
	n := 0
	var le *parser.LocationError
	if errors.As(err, &le) && len(le.Locations) > 0 {
		n = line(le.Locations[0])
	}
	var unknown *instructions.UnknownInstructionError
	if errors.As(err, &unknown) {
		return &At{f.name, max(n, unknown.Line), fmt.Errorf("unknown instruction %s", unknown.Instruction)}
	}
	text := err.Error()
	// The parser has a prefix of its own with the line.
	if rest, ok := strings.CutPrefix(text, "dockerfile parse error on line "); ok {
		if _, msg, ok := strings.Cut(rest, ": "); ok {
			text = msg
		}
	}
	return &At{f.name, n, errors.New(text)}
}

// parseTrigger parses an ONBUILD of a base image.
func (f *file) parseTrigger(text string) (cmd instructions.Command, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser ended with %v", p)
		}
	}()
	tree, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(tree.AST.Children) != 1 {
		return nil, errors.New("it is not one instruction")
	}
	cmd, err = instructions.ParseCommand(tree.AST.Children[0])
	if err != nil {
		return nil, err
	}
	if _, nested := cmd.(*instructions.OnbuildCommand); nested {
		return nil, errors.New("ONBUILD in ONBUILD")
	}
	return cmd, nil
}
