// SPDX-License-Identifier: Apache-2.0

// Package rkt builds rkt once, as it is installed, and runs it as a user
// would, for the end-to-end tests and the benchmarks.
package rkt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// An Install is a directory with bin/rkt and libexec/rkt/*.
type Install struct {
	Dir string
}

// Bin is the path of a program in bin/.
func (i Install) Bin(name string) string { return filepath.Join(i.Dir, "bin", name) }

// Build compiles every program into dir, with the same flags as the Makefile.
// The build tag failpoint, for one, goes into tags.
func Build(dir, tags string) (Install, error) {
	root, err := moduleRoot()
	if err != nil {
		return Install{}, err
	}
	libexec := filepath.Join(dir, "libexec", "rkt")
	for program, out := range map[string]string{
		"rkt":           filepath.Join(dir, "bin", "rkt"),
		"acbuild":       filepath.Join(dir, "bin", "acbuild"),
		"fetch":         filepath.Join(libexec, "fetch"),
		"network":       filepath.Join(libexec, "network"),
		"join":          filepath.Join(libexec, "join"),
		"doctor":        filepath.Join(libexec, "doctor"),
		"stage1-native": filepath.Join(libexec, "stage1-native"),
		"stage1-fly":    filepath.Join(libexec, "stage1-fly"),
	} {
		flags := "-s -w"
		if program == "join" {
			flags += " -E main.enter"
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-tags", tags, "-o", out+".new", "./cmd/"+program)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return Install{}, fmt.Errorf("cannot build %s: %w\n%s", program, err, text)
		}
		// As in the Makefile: a copy starts faster than what the linker wrote.
		text, err := os.ReadFile(out + ".new")
		if err == nil {
			err = os.WriteFile(out, text, 0o755)
		}
		if err == nil {
			err = os.Remove(out + ".new")
		}
		if err != nil {
			return Install{}, err
		}
	}
	for _, flavor := range []string{"stage1-native", "stage1-fly"} {
		manifest, err := exec.Command(filepath.Join(libexec, flavor), "manifest").Output()
		if err == nil {
			err = os.WriteFile(filepath.Join(libexec, flavor+".json"), manifest, 0o644)
		}
		if err != nil {
			return Install{}, fmt.Errorf("cannot make the flavor's manifest: %w", err)
		}
	}
	return Install{dir}, nil
}

// WithInstall is for TestMain: it compiles the programs into a temporary directory,
// whose name begins with name, and runs run, which returns the exit status.
func WithInstall(name string, run func(Install) int) int {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	install, err := Build(dir, "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run(install)
}

// moduleRoot is the directory of go.mod, above the working directory.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("cannot build rkt: not inside its source tree")
	}
	return filepath.Dir(mod), nil
}
