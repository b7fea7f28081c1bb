// SPDX-License-Identifier: Apache-2.0

// Package debian takes packages from Debian's archive by apt, which verifies them:
// for this machine's architecture, or for another, of which this machine's own
// configuration learns nothing.
package debian

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/test/cache"
)

// An Archive is what apt knows of one architecture.
type Archive struct {
	arch   string
	config string // the value of APT_CONFIG; "" is this machine's own
}

// Open is the archive for an architecture, by Go's name for it, which for those that
// rkt has is Debian's. For one that is not this machine's dir keeps the lists, which
// are brought up to date.
func Open(arch, dir string) (Archive, error) {
	a := Archive{arch: arch}
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		return a, needsDebian(fmt.Errorf("cannot use Debian's archive: %w", err))
	}
	if strings.TrimSpace(string(out)) == arch {
		return a, nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return a, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return a, err
		}
	}
	// Sources and keys stay the machine's; what is installed on it does not count.
	a.config = filepath.Join(dir, "apt.conf")
	text := fmt.Sprintf("APT::Architecture %[1]q;\nAPT::Architectures { %[1]q; };\nDir::State %[2]q;\nDir::State::status \"/dev/null\";\nDir::Cache %[3]q;\n",
		arch, filepath.Join(dir, "state"), filepath.Join(dir, "cache"))
	if err := os.WriteFile(a.config, []byte(text), 0o644); err != nil {
		return a, err
	}
	if _, err := a.run("", "apt-get", "update", "-qq"); err != nil {
		return a, fmt.Errorf("cannot read Debian's lists for %s: %w", arch, err)
	}
	return a, nil
}

// run has apt do something in dir, and returns what it prints.
func (a Archive) run(dir string, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
	if a.config != "" {
		cmd.Env = append(cmd.Env, "APT_CONFIG="+a.config)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, needsDebian(err)
	}
	if err != nil {
		// The first of many that say the same.
		_, why, _ := strings.Cut(stderr.String(), "E: ")
		why, _, _ = strings.Cut(why, "\n")
		return nil, hint.Wrap(fmt.Errorf("%s: %w: %s", argv[0], err, why), "`apt-get update` renews what apt knows; it takes a network")
	}
	return out, nil
}

func needsDebian(err error) error {
	return hint.Wrap(err, "it takes dpkg and apt, and the sources of Debian 12 or later")
}

// Depends are the names that apt-cache depends lists for the seeds, in its order:
// the seeds themselves and what they depend on stand at the beginning of lines.
func (a Archive) Depends(recurse bool, seeds ...string) (names []string, err error) {
	argv := []string{"apt-cache", "depends", "--important", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	if recurse {
		argv = append(argv, "--recurse")
	}
	out, err := a.run("", append(argv, seeds...)...)
	if err != nil {
		return nil, fmt.Errorf("cannot find what %s depends on: %w", seeds[0], err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if _, name, ok := strings.Cut(line, "Depends: "); ok {
			line = name
		}
		// Virtual packages stand in brackets; those of another architecture have its name.
		if line != "" && !strings.ContainsAny(line, "<:| ") {
			names = append(names, line)
		}
	}
	return names, nil
}

// Download puts the packages named into dir.
func (a Archive) Download(dir string, names ...string) error {
	if _, err := a.run(dir, append([]string{"apt-get", "download", "-qq"}, names...)...); err != nil {
		return fmt.Errorf("cannot download packages for %s: %w", a.arch, err)
	}
	return nil
}

// Cache is where packages are kept between runs if nothing else is said: a directory
// of this user's alone. What is there is not renewed.
func Cache() (string, error) {
	return cache.Dir("rkt-debian", "packages", func(string) error { return nil })
}

// Keep is the directory in keep for packages of one purpose and architecture. If it
// is not there it is made, and filled by what fill says is wanted; it appears whole.
func Keep(keep, purpose, arch string, fill func(Archive) (names []string, err error)) (string, error) {
	dir := filepath.Join(keep, purpose+"-"+arch)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return "", err
	}
	archive, err := Open(arch, filepath.Join(keep, "apt-"+arch))
	if err != nil {
		return "", err
	}
	names, err := fill(archive)
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(keep, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // apt's own user downloads
		return "", err
	}
	if err := archive.Download(tmp, names...); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}
