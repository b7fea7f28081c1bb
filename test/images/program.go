// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// libraryPath is a file in what ldd says.
var libraryPath = regexp.MustCompile(`/\S+`)

// Program puts a program of the host's, with the libraries that it takes, below the
// directory dir, for images whose /lib is a link to /usr/lib, as that of Tiny.
func Program(dir, name string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", path, err)
	}
	for _, file := range append(libraryPath.FindAllString(string(out), -1), path) {
		to := filepath.Join(dir, file)
		if strings.HasPrefix(file, "/lib") {
			to = filepath.Join(dir, "usr", file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o755); err != nil {
			return err
		}
	}
	return nil
}
