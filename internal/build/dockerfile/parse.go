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
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/linux/safepath"
)

// maxFile bounds a Dockerfile and a .dockerignore, bytes.
const maxFile = 4 << 20

// file is a parsed Dockerfile.
type file struct {
	name   string
	escape rune
	stages []instructions.Stage
	args   []instructions.ArgCommand // before the first FROM
	check  string                    // the directive of that name
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

// readFile reads a Dockerfile; "-" is standard input. inContext says that it was
// found in the context: whoever made that must not have other files read.
func readFile(path, context string, inContext bool) ([]byte, error) {
	var r io.Reader = os.Stdin
	if path != "-" || inContext {
		open := os.Open
		if inContext {
			open = func(path string) (*os.File, error) { return openNamed(context, inside(context, path)) }
		}
		f, err := open(path)
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

// inside is a path of a file in the context, from there on.
func inside(context, path string) string {
	if rel, err := filepath.Rel(context, path); err == nil && filepath.IsAbs(path) && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return filepath.Base(path) // as the user would type it
}

// openNamed opens a file of the context, in which links do not lead out of it.
func openNamed(context, name string) (*os.File, error) {
	root, err := unix.Open(context, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: context, Err: err}
	}
	defer unix.Close(root)
	path := filepath.Join(context, name)
	fd, err := safepath.OpenInRoot(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		if pe := (*os.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
	if check, _, _, ok := parser.ParseDirective("check", text); ok {
		f.check = check
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
