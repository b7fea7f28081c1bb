// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Prefix is where rkt's own programs are installed, if they do not lie beside
// the rkt that runs; set at build time (-ldflags -X).
var Prefix = "/usr/lib/rkt/libexec"

// HelperPath finds one of rkt's own programs or files: in ../libexec/rkt
// beside the directory of the running program, then below Prefix. The
// environment has no say: rkt often runs as root.
func HelperPath(name string) (string, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w", name, err)
	}
	beside := filepath.Join(filepath.Dir(exe), "..", "libexec", "rkt")
	for _, dir := range []string{beside, Prefix} {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot find %s: %w", name, err)
		}
	}
	return "", hint.Wrap(fmt.Errorf("cannot find %s: it is neither in %s nor in %s", name, beside, Prefix),
		"install rkt with its libexec directory, or run `make build` in its source tree")
}

// A Flavor is an installed stage1.
type Flavor struct {
	Path     string // of its manifest, absolute
	Manifest contract.Manifest
}

// Find looks up a flavor by name ("native"): in dir, unless that is "", then
// among rkt's own.
func Find(name, dir string) (Flavor, error) {
	if name == "" || strings.ContainsAny(name, "/.") {
		return Flavor{}, fmt.Errorf("cannot find stage1 %q: not a flavor's name", name)
	}
	file := "stage1-" + name + ".json"
	if dir != "" {
		f, err := Load(filepath.Join(dir, file))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	path, err := HelperPath(file)
	if err != nil {
		return Flavor{}, err
	}
	return Load(path)
}

// Load reads a flavor's manifest.
func Load(path string) (Flavor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 manifest: %w", err)
	}
	f := Flavor{Path: path}
	if f.Manifest, err = contract.DecodeManifest(b); err != nil {
		return Flavor{}, fmt.Errorf("cannot read stage1 manifest %s: %w", path, err)
	}
	if f.Manifest.ContractVersion != contract.Version {
		return Flavor{}, fmt.Errorf("cannot use stage1 %s: it speaks version %d of the contract, rkt speaks %d", path, f.Manifest.ContractVersion, contract.Version)
	}
	return f, nil
}

// entrypoint gives the program and argument vector of an entry point.
func (f Flavor) entrypoint(name string, args ...string) (program string, argv []string, err error) {
	v := f.Manifest.Entrypoints[name]
	if len(v) == 0 {
		return "", nil, fmt.Errorf("cannot %s the pod: its stage1 %q has no such entry point", name, f.Manifest.Name)
	}
	program = v[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(filepath.Dir(f.Path), program)
	}
	return program, append(append([]string{}, v...), args...), nil
}
