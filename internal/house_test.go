// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// drawers are names that say nothing about what is inside.
var drawers = []string{"util", "utils", "common", "helper", "helpers", "misc", "lib", "types", "shared", "base"}

// mayExit lists where, outside of main packages, code may end the process.
var mayExit = []struct{ dir, why string }{
	{"internal/stage1/appinit", "after the fork there is nobody to return to"},
	{"internal/stage1/native", "the pod's first process ends the pod by ending"},
	{"internal/failpoint", "ending the process is what it is for"},
}

// mayInit lists packages with package-level work that start-up pays for.
var mayInit = []struct{ dir, why string }{}

func TestFiles(t *testing.T) {
	walk(t, func(path string, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n >= 600 {
			t.Errorf("%s has %d lines; a file has less than 600", path, n)
		}
		if !bytes.HasPrefix(text, []byte("// SPDX-License-Identifier: Apache-2.0\n")) {
			t.Errorf("%s does not start with // SPDX-License-Identifier: Apache-2.0", path)
		}
		for elem := range strings.SplitSeq(filepath.Dir(path), "/") {
			if slices.Contains(drawers, elem) {
				t.Errorf("%s lies in a drawer; name the package for what it holds", path)
			}
		}
	})
}

func TestMakefileIsShort(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 60 {
		t.Errorf("Makefile has %d lines; it has at most 60: what is longer is a program in tools/", n)
	}
}

// TestErrorVoice keeps one voice: "cannot <verb> <object>: <cause>".
func TestErrorVoice(t *testing.T) {
	wrong := regexp.MustCompile(`(?i)\b(failed to|unable to|could not|couldn't|can't)\b`)
	eachString(t, func(at, s string) {
		if m := wrong.FindString(s); m != "" {
			t.Errorf("%s: %q in a string; errors read \"cannot <verb> <object>: <cause>\"", at, m)
		}
	})
}

// TestNoShell: a shell between rkt and a program is a second parser of what
// strangers wrote. A shell may be named (rkt enter's default, $SHELL), but not
// be given a command to read.
func TestNoShell(t *testing.T) {
	walk(t, func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") || !(strings.HasPrefix(path, "internal/") || strings.HasPrefix(path, "cmd/")) {
			return
		}
		ast.Inspect(parse(t, path, text), func(n ast.Node) bool {
			var words []ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				words = n.Args
			case *ast.CompositeLit:
				words = n.Elts
			}
			for i := range words[:max(0, len(words)-1)] {
				if shell := literal(words[i]); slices.Contains([]string{"sh", "bash", "/bin/sh", "/bin/bash"}, shell) && literal(words[i+1]) == "-c" {
					t.Errorf("%s: runs a command through %s; start the program directly", path, shell)
				}
			}
			return true
		})
	})
}

// literal is the value of a string literal, or "".
func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		return strings.Trim(lit.Value, "\"`")
	}
	return ""
}

func TestOnlyMainExits(t *testing.T) {
	walk(t, func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file := parse(t, path, text)
		dir := filepath.Dir(path)
		if file.Name.Name == "main" || slices.ContainsFunc(mayExit, func(e struct{ dir, why string }) bool { return e.dir == dir }) {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			if name := x.Name + "." + sel.Sel.Name; name == "os.Exit" || name == "syscall.Exit" || name == "unix.Exit" || strings.HasPrefix(name, "log.Fatal") {
				t.Errorf("%s: %s; libraries return errors, only main exits", path, name)
			}
			return true
		})
	})
}

// TestNothingAtStart: package-level regular expressions and init functions run
// at every start of every program that links them.
func TestNothingAtStart(t *testing.T) {
	walk(t, func(path string, text []byte) {
		dir := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(path, "internal/") ||
			slices.ContainsFunc(mayInit, func(e struct{ dir, why string }) bool { return e.dir == dir }) {
			return
		}
		for _, decl := range parse(t, path, text).Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: func init; say it where it is used", path)
				}
			case *ast.GenDecl:
				ast.Inspect(d, func(n ast.Node) bool {
					if _, ok := n.(*ast.FuncLit); ok {
						return false
					}
					if call, ok := n.(*ast.CallExpr); ok {
						if sel, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(sel.Sel.Name, "Compile") {
							t.Errorf("%s: a regular expression at package level; compile it in a sync.OnceValue or read by hand", path)
						}
					}
					return true
				})
			}
		}
	})
}

// TestDependenciesAreArgued: each module that our own code imports has its
// line in docs/dependencies.md, and no line is left over.
func TestDependenciesAreArgued(t *testing.T) {
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	argued := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(text, -1) {
		argued[string(m[1])] = true
	}
	all := packages(t)
	used := map[string]string{}
	for path, p := range all {
		if !strings.HasPrefix(path, module) {
			continue
		}
		for _, dep := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if d := all[dep]; !d.Standard && d.Module != nil && d.Module.Path+"/" != module {
				used[d.Module.Path] = path
			}
		}
	}
	for mod, by := range used {
		if !argued[mod] {
			t.Errorf("%s imports module %s, which docs/dependencies.md does not argue for", by, mod)
		}
	}
	for mod := range argued {
		if _, ok := used[mod]; !ok {
			t.Errorf("docs/dependencies.md argues for %s, which nothing imports", mod)
		}
	}
}

// walk calls f for each Go file of the project, by its path from the root.
func walk(t *testing.T, f func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(strings.TrimPrefix(path, "../"), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eachString calls f for each string literal outside of tests.
func eachString(t *testing.T, f func(at, s string)) {
	t.Helper()
	walk(t, func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") || !(strings.HasPrefix(path, "internal/") || strings.HasPrefix(path, "cmd/")) {
			return
		}
		ast.Inspect(parse(t, path, text), func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				f(path, strings.Trim(lit.Value, "\"`"))
			}
			return true
		})
	})
}

func parse(t *testing.T, path string, text []byte) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, bufio.NewReader(bytes.NewReader(text)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
