// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
)

// module is ours; the linker sets variables of its packages.
const module = "github.com/rkt/rkt"

// Options say how programs are compiled.
type Options struct {
	// Version and Prefix are what the programs say of themselves and where they
	// look for each other, if not beside themselves. Empty is the programs' own
	// default.
	Version, Prefix string
	Arch            string // GOARCH; "" is this machine's
	Tags            string // as go build -tags
}

// Build compiles every program of the module in root into dir, static, and writes
// the flavors' manifests. The same source and options give the same bytes.
func Build(root, dir string, o Options) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	// Programs of one directory and with the same flags are linked side by side.
	groups := map[[2]string][]string{}
	for _, p := range List() {
		groups[[2]string{p.Dir, p.Link}] = append(groups[[2]string{p.Dir, p.Link}], "./cmd/"+p.Name)
	}
	for g, packages := range groups {
		if err := o.compile(root, filepath.Join(dir, g[0])+"/", g[1], packages); err != nil {
			return err
		}
	}
	for _, p := range List() {
		if err := finish(filepath.Join(dir, p.Dir), p); err != nil {
			return err
		}
	}
	return o.manifests(root, dir)
}

// compile writes packages' programs to out.
func (o Options) compile(root, out, link string, packages []string) error {
	flags := "-s -w"
	for _, pkg := range []string{"cli", "build/cmd"} {
		if o.Version != "" {
			flags += fmt.Sprintf(" -X %s/internal/%s.Version=%s", module, pkg, o.Version)
		}
		if o.Prefix != "" {
			flags += fmt.Sprintf(" -X %s/internal/%s.Prefix=%s", module, pkg, o.Prefix)
		}
	}
	if link != "" {
		flags += " " + link
	}
	cmd := exec.Command(Go(), append([]string{"build", "-trimpath", "-buildvcs=false", "-tags", o.Tags, "-ldflags", flags, "-o", out}, packages...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if o.Arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+o.Arch)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %v: %w\n%s", packages, err, text)
	}
	return nil
}

// finish makes a program what it is when installed. The kernel caches a copy in
// larger pieces than what the linker wrote: 0.5 ms a start.
func finish(dir string, p Program) error {
	path := filepath.Join(dir, p.Name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := replace(path, text, 0o755); err != nil {
		return err
	}
	for _, l := range p.Links {
		l = filepath.Join(dir, l)
		if to, err := os.Readlink(l); err == nil && to == p.Name {
			continue
		}
		if err := os.RemoveAll(l); err != nil {
			return err
		}
		if err := os.Symlink(p.Name, l); err != nil {
			return err
		}
	}
	return nil
}

// manifests asks the flavors for theirs. What was made for another architecture
// does not run here; its manifest is the same.
func (o Options) manifests(root, dir string) error {
	from := dir
	if o.Arch != "" && o.Arch != runtime.GOARCH {
		tmp, err := os.MkdirTemp("", "rkt-programs-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		from, o.Arch = tmp, ""
	}
	for _, p := range List() {
		if p.Flavors == nil {
			continue
		}
		if from != dir {
			if err := o.compile(root, filepath.Join(from, p.Dir)+"/", p.Link, []string{"./cmd/" + p.Name}); err != nil {
				return err
			}
		}
		for _, f := range p.Flavors {
			text, err := exec.Command(filepath.Join(from, p.Dir, p.Name), "manifest", f).Output()
			if err == nil {
				err = replace(filepath.Join(dir, p.Dir, Manifest(f)), text, 0o644)
			}
			if err != nil {
				return fmt.Errorf("cannot make the manifest of flavor %s: %w", f, err)
			}
		}
	}
	return nil
}

// Manifest is the name of a flavor's manifest.
func Manifest(flavor string) string { return "stage1-" + flavor + ".json" }

// Files are the paths of what Build makes and a package installs, below Build's
// directory, in order; pkg is "" for rkt's own.
func Files(pkg string) (paths []string) {
	for _, p := range List() {
		if p.Package != pkg || p.Within {
			continue
		}
		for _, name := range append([]string{p.Name}, p.Links...) {
			paths = append(paths, filepath.Join(p.Dir, name))
		}
		for _, f := range p.Flavors {
			paths = append(paths, filepath.Join(p.Dir, Manifest(f)))
		}
	}
	slices.Sort(paths)
	return paths
}

// replace writes a file by renaming: the one that was there may be running.
func replace(path string, text []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		return err
	}
	// Whatever the umask is: this is what packages install.
	if err := os.Chmod(path+".new", mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Go is the Go command: make's GO, if that says one.
func Go() string {
	if tool := os.Getenv("GO"); tool != "" {
		return tool
	}
	return "go"
}
