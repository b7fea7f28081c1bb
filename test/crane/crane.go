// SPDX-License-Identifier: Apache-2.0

// Package crane has the program of that name, which Debian has no package of,
// for tests: built from the module that go.mod names, and kept.
package crane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/test/cache"
)

const module = "github.com/google/go-containerregistry"

// Program returns the path of crane. It is built where the cache has none, for
// which Go's module cache must have its modules, or the module proxy be in
// reach: `go run ./tools/check -install` sees to that.
func Program() (string, error) {
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("cannot tell crane's version: %w", err)
	}
	at := strings.TrimSpace(string(version))
	dir, err := cache.Dir("rkt-test-crane", at, func(dir string) error {
		cmd := exec.Command("go", "install", module+"/cmd/crane@"+at)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build crane: %w\n%s", err, out)
		}
		return nil
	})
	return filepath.Join(dir, "crane"), err
}
