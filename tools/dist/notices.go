// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rkt/rkt/tools/programs"
)

// thirdParty is the notices that go with what the programs link: the licence files
// of each module, of the packages in it that have their own, and of Go.
func thirdParty() ([]byte, error) {
	cmd := exec.Command(programs.Go(), "list", "-deps", "-json=Dir,ImportPath,Standard,Module", "./cmd/...")
	// Notices are the same for every architecture, and so are the bytes.
	cmd.Env = append(os.Environ(), "GOARCH=amd64", "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list what is linked: %w", err)
	}
	type module struct {
		Path, Version, Dir string
		Main               bool
	}
	files := map[string][]string{} // of "module version", absolute
	dirs := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath string
			Standard        bool
			Module          *module
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		title := p.Module.Path + " " + p.Module.Version
		dirs[title] = p.Module.Dir
		for dir := p.Dir; ; dir = filepath.Dir(dir) {
			files[title] = append(files[title], licenseFiles(dir)...)
			if dir == p.Module.Dir || len(dir) < len(p.Module.Dir) {
				break
			}
		}
	}
	root, err := exec.Command(programs.Go(), "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, err
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(root)), "\n")
	title := "the Go standard library " + version
	dirs[title], files[title] = goroot, licenseFiles(goroot)

	var b bytes.Buffer
	b.WriteString("What rkt's programs link, and the notices that go with it.\n")
	for _, title := range slices.Sorted(maps.Keys(files)) {
		list := files[title]
		slices.Sort(list)
		if len(list) == 0 {
			return nil, fmt.Errorf("cannot find the licence of %s", title)
		}
		fmt.Fprintf(&b, "\n%s\n%s\n", strings.Repeat("=", 78), title)
		for _, f := range slices.Compact(list) {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(dirs[title], f)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "%s\n%s:\n\n%s\n", strings.Repeat("-", 78), name, strings.TrimSpace(string(text)))
		}
	}
	return b.Bytes(), nil
}

// licenseFiles are those of one directory.
func licenseFiles(dir string) (files []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.Type().IsRegular() && !strings.HasSuffix(name, ".GO") &&
			(strings.Contains(name, "LICENSE") || strings.Contains(name, "LICENCE") || strings.HasPrefix(name, "COPYING") || strings.HasPrefix(name, "NOTICE") || strings.HasPrefix(name, "PATENTS")) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

// changes are what users see of what changed: the first line of each fragment, a
// paragraph each that begins with bullet.
func changes(bullet string) (string, error) {
	fragments, err := filepath.Glob("changelog/unreleased/*")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range fragments {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if kind, _, ok := strings.Cut(line, ": "); ok && slices.Contains([]string{"Added", "Changed", "Fixed", "Removed", "Security"}, kind) {
				b.WriteString(wrap(bullet+line, 78, strings.Repeat(" ", len(bullet))) + "\n")
			}
		}
	}
	return b.String(), nil
}

// changelog is changes in the form that Debian gives a changelog.
func changelog(version string, when time.Time) ([]byte, error) {
	list, err := changes("  * ")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "rkt (%s) unstable; urgency=medium\n\n%s\n -- %s  %s\n", version, list, maintainer, when.Format(time.RFC1123Z)), nil
}

// wrap breaks a line at blanks; the lines after the first begin with indent.
func wrap(line string, width int, indent string) string {
	out, n := "", 0
	text := strings.TrimLeft(line, " ")
	out, n = line[:len(line)-len(text)], len(line)-len(text)
	for i, word := range strings.Fields(text) {
		if i > 0 && n+1+len(word) > width {
			out, n = out+"\n"+indent, len(indent)
		} else if i > 0 {
			out, n = out+" ", n+1
		}
		out, n = out+word, n+len(word)
	}
	return out
}
