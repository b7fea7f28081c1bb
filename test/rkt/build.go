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

	"github.com/rkt/rkt/tools/programs"
)

// An Install is a directory with bin/rkt and libexec/rkt/*.
type Install struct {
	Dir string
}

// Bin is the path of a program in bin/.
func (i Install) Bin(name string) string { return filepath.Join(i.Dir, "bin", name) }

// Build compiles every program into dir, as `make build` does.
// The build tag failpoint, for one, goes into tags.
func Build(dir, tags string) (Install, error) {
	root, err := moduleRoot()
	if err != nil {
		return Install{}, err
	}
	if err := programs.Build(root, dir, programs.Options{Tags: tags}); err != nil {
		return Install{}, err
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
