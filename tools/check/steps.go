// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A step is one kind of test.
type step struct {
	name, about string
	missing     func() string // why it cannot run here, or ""
	run         func(*summary) (note string, err error)
}

// racy are the packages in which goroutines share memory; the race detector
// is slow, and pays nowhere else.
var racy = []string{
	"internal/image/store", "internal/image/fetch", "internal/image/source", "internal/image/unpack",
	"internal/pod/lifecycle", "internal/pod/gc", "internal/pod/network/lease", "internal/stage1/native", "internal/ui",
}

func steps(fuzztime time.Duration) []step {
	return []step{
		{"format", "gofmt has nothing to change", nil, gofmt},
		{"vet", "go vet, with every build tag of ours", nil, command("go", "vet", "-tags", "e2e,failpoint", "./...")},
		{"arm64", "everything compiles for arm64", nil, crossBuild},
		{"unit", "go test ./...: units, the laws of the house, testscript", nil, tests(nil, "./...")},
		{"race", "the same under the race detector, where goroutines share memory", needs("gcc"), race},
		{"fuzz", "every fuzz target, briefly", nil, fuzz(fuzztime)},
		{"crash", "a kill at every failpoint, then gc", needsRoot, crash},
		{"demo", "the README's first command", needsRoot, command("make", "-s", "demo")},
		{"e2e", "end to end, as root, with real software in pods", needsRoot,
			tests([]string{"-tags", "e2e", "-count=1", "-timeout", "20m"}, "./test/...")},
	}
}

func needsRoot() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	return ""
}

func needs(program string) func() string {
	return func() string {
		if _, err := exec.LookPath(program); err != nil {
			return "needs " + program
		}
		return ""
	}
}

// command is a step that passes when the program does; its output is shown
// only when it fails.
func command(argv ...string) func(*summary) (string, error) {
	return func(*summary) (string, error) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			os.Stdout.Write(out)
		}
		return "", err
	}
}

func gofmt(*summary) (string, error) {
	var dirs []string
	for _, d := range []string{"bench", "cmd", "internal", "test", "tools"} {
		if _, err := os.Stat(d); err == nil {
			dirs = append(dirs, d)
		}
	}
	out, err := exec.Command("gofmt", append([]string{"-l"}, dirs...)...).CombinedOutput()
	if err == nil && len(bytes.TrimSpace(out)) > 0 {
		err = errors.New("run gofmt -w on: " + strings.Join(strings.Fields(string(out)), " "))
	}
	return "", err
}

func crossBuild(*summary) (string, error) {
	cmd := exec.Command("go", "build", "./...")
	cmd.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stdout.Write(out)
	}
	return "", err
}

func race(sum *summary) (string, error) {
	var pkgs []string
	for _, p := range racy {
		if tests, _ := filepath.Glob(filepath.Join(p, "*_test.go")); tests != nil {
			pkgs = append(pkgs, "./"+p)
		}
	}
	if pkgs == nil {
		return "no tests yet", nil
	}
	return goTest(sum, append([]string{"-race"}, pkgs...), "CGO_ENABLED=1")
}

func tests(flags []string, pkgs ...string) func(*summary) (string, error) {
	return func(sum *summary) (string, error) { return goTest(sum, append(slices.Clone(flags), pkgs...)) }
}

// crash runs the tests behind the build tag failpoint.
func crash(sum *summary) (string, error) {
	var pkgs []string
	err := testFiles(func(path string, text []byte) {
		line, _, _ := bytes.Cut(text, []byte("\npackage "))
		if regexp.MustCompile(`(?m)^//go:build .*\bfailpoint\b`).Match(line) && !bytes.Contains(line, []byte("!failpoint")) {
			pkgs = append(pkgs, "./"+filepath.Dir(path))
		}
	})
	if err != nil || pkgs == nil {
		return "no tests yet", err
	}
	slices.Sort(pkgs)
	return goTest(sum, append([]string{"-tags", "failpoint,e2e", "-count=1", "-run", "Crash|Kill|Failpoint", "-timeout", "15m"}, slices.Compact(pkgs)...))
}

// testFiles calls f for each of the project's test files.
func testFiles(f func(path string, text []byte)) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == ".git" || path == "build" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, text)
		}
		return err
	})
}
