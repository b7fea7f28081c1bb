// SPDX-License-Identifier: Apache-2.0

package nspawn

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// oldest is the version of systemd that is new enough: pipes for a console, and
// all that the environment says to systemd-nspawn (machine.go).
const oldest = 245

// software is where systemd comes from.
type software struct {
	tree   string   // "" is the host
	nspawn []string // first words of systemd-nspawn's command line
	init   string   // systemd, as seen in the machine
}

// systemd's place, and the loaders of the machines that we know.
var (
	inits   = []string{"usr/lib/systemd/systemd", "lib/systemd/systemd"}
	loaders = []string{"lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"}
)

// software finds systemd and systemd-nspawn.
func (f Flavor) software() (*software, error) {
	tree, err := f.tree()
	if err != nil {
		return nil, err
	}
	s := &software{tree: tree}
	for _, path := range inits {
		if unix.Access(filepath.Join(tree, "/", path), unix.X_OK) == nil {
			s.init = "/" + path
			break
		}
	}
	if s.init == "" {
		return nil, f.missing("systemd")
	}
	if tree != "" {
		return s, s.ownLoader()
	}
	for _, dir := range []string{"/usr/bin", "/bin"} {
		if path := dir + "/systemd-nspawn"; unix.Access(path, unix.X_OK) == nil {
			s.nspawn = []string{path}
			return s, recent(path)
		}
	}
	return nil, f.missing("systemd-nspawn")
}

func (f Flavor) missing(what string) error {
	err := fmt.Errorf("it has no %s of version %d or later", what, oldest)
	if f == Host {
		return hint.Wrap(fmt.Errorf("flavor host takes systemd from this host: %w", err), "install systemd and systemd-container, or use another flavor (--stage1-name=native)")
	}
	return fmt.Errorf("the tree of flavor %s is not complete: %w", f.Name, err)
}

// ownLoader has systemd-nspawn run by the tree's own dynamic loader with the tree's
// own libraries: the host need not have any.
func (s *software) ownLoader() error {
	for _, path := range loaders {
		loader, err := filepath.EvalSymlinks(filepath.Join(s.tree, path))
		if err != nil {
			continue
		}
		libs, err := filepath.Glob(s.tree + "/usr/lib/*-linux-gnu")
		if err != nil || len(libs) == 0 {
			break
		}
		s.nspawn = []string{loader, "--library-path", libs[0] + ":" + libs[0] + "/systemd", s.tree + "/usr/bin/systemd-nspawn"}
		return nil
	}
	return errors.New("the flavor's tree has no dynamic loader, or no libraries")
}

// recent asks systemd-nspawn for its version, unless the library that it is linked
// to has it in its name, as is usual (3 ms less).
func recent(path string) error {
	for _, pattern := range []string{"/usr/lib/*/systemd", "/usr/lib/systemd", "/usr/lib64/systemd", "/lib/systemd"} {
		found, _ := filepath.Glob(pattern + "/libsystemd-shared-*.so")
		if len(found) != 1 {
			continue
		}
		name := strings.TrimPrefix(filepath.Base(found[0]), "libsystemd-shared-")
		if n := leadingNumber(name); n >= oldest {
			return nil
		}
	}
	cmd := exec.Command(path, "--version")
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot ask %s for its version: %w", path, err)
	}
	word := bytes.TrimPrefix(out, []byte("systemd "))
	if n := leadingNumber(string(word)); n < oldest {
		return hint.Wrap(fmt.Errorf("flavor host needs systemd-nspawn of version %d or later, this host has %d", oldest, n), "use another flavor (--stage1-name=native)")
	}
	return nil
}

// leadingNumber is the number that text begins with, else 0.
func leadingNumber(text string) int {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// hostRuns tells whether systemd is the host's own init.
func hostRuns() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}
