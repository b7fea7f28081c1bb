// SPDX-License-Identifier: Apache-2.0

// Command dist makes what is handed to users: .deb and .rpm packages and tarballs,
// with their checksums. With -install it lays out what `make build` made, as the
// packages do. The same commit gives the same bytes: times are the commit's, or
// what SOURCE_DATE_EPOCH says.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/tools/programs"
)

func main() {
	out := flag.String("out", "build/dist", "the `directory` for the packages")
	ver := flag.String("version", "unknown", "as git describe says it")
	archs := flag.String("arch", "amd64,arm64", "the architectures, in Go's words")
	flavors := flag.String("flavors", "kvm,coreos", "of the `flavors` that bring files of Debian's, those to make packages of")
	debs := flag.String("debs", "build/debs", "the `directory` where Debian's packages are kept: what is there is not downloaded")
	install := flag.String("install", "", "install below this `directory` instead, which may be /")
	built := flag.String("built", "build", "with -install: what make build filled")
	prefix := flag.String("prefix", "/usr/local", "with -install: where below that")
	flag.Parse()
	var err error
	if *install != "" {
		err = installTree(*install, *built, *prefix)
	} else {
		err = makeAll(*out, *ver, strings.Split(*archs, ","), *flavors, *debs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		if h := hint.Of(err); h != "" {
			fmt.Fprintln(os.Stderr, "hint:", h)
		}
		os.Exit(1)
	}
}

// installTree is `make install`.
func installTree(root, built, prefix string) error {
	if !filepath.IsAbs(prefix) {
		return fmt.Errorf("cannot install: the prefix %q is not absolute", prefix)
	}
	for _, p := range packages("", runtime.GOARCH) {
		t, missing, err := p.tree(layout{prefix: prefix}, built)
		if err != nil {
			return err
		}
		if missing != "" {
			fmt.Printf("not installing %s: %s\n", p.name, missing)
			continue
		}
		if err := t.write(root); err != nil {
			return err
		}
	}
	return nil
}

// makeAll writes the packages of each architecture, and SHA256SUMS, into out.
func makeAll(out, version string, archs []string, flavors, debs string) error {
	when, err := epoch()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	number := packageVersion(version, when)
	l, err := texts(number, when)
	if err != nil {
		return err
	}
	list, err := changes("- ")
	if err != nil {
		return err
	}
	var jobs []job
	for _, arch := range archs {
		if names[arch].deb == "" {
			return fmt.Errorf("cannot make packages for %q: want amd64 or arm64", arch)
		}
		built := filepath.Join(out, "built-"+arch)
		if err := programs.Build(".", built, programs.Options{Version: version, Prefix: "/usr", Arch: arch}); err != nil {
			return err
		}
		products, err := flavored(packages(number, arch), flavors)
		if err != nil {
			return err
		}
		for _, p := range products {
			if err := p.make(built, arch, debs); err != nil {
				return err
			}
			m := meta{product: p, version: number, arch: arch, when: when, changes: list}
			more, err := m.jobs(built, l)
			if err != nil {
				return err
			}
			jobs = append(jobs, more...)
		}
	}
	// Compressing takes most of the time, on one processor each.
	var made []string
	var group sync.WaitGroup
	errs := make([]error, len(jobs))
	for i, j := range jobs {
		made = append(made, j.name)
		group.Go(func() {
			text, err := j.write()
			if err == nil {
				err = writeFile(filepath.Join(out, j.name), text, 0o644)
			}
			if err != nil {
				errs[i] = fmt.Errorf("cannot make %s: %w", j.name, err)
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return sums(out, made)
}

// texts is a layout with what packages say of where they come from.
func texts(version string, when time.Time) (l layout, err error) {
	if l.changelog, err = changelog(version, when); err != nil {
		return l, err
	}
	if l.licenses, err = thirdParty(); err != nil {
		return l, err
	}
	l.copyright, err = os.ReadFile("dist/package/copyright")
	return l, err
}

// A job is a file to be made.
type job struct {
	name  string
	write func() ([]byte, error)
}

// jobs are the files of one package for one architecture.
func (m meta) jobs(built string, l layout) (list []job, err error) {
	plain := fmt.Sprintf("%s-%s-linux-%s", m.name, m.version, m.arch)
	for _, form := range []struct {
		system, prefix, name string
		write                func(tree) ([]byte, error)
	}{
		{"deb", "/usr", fmt.Sprintf("%s_%s_%s.deb", m.name, m.version, names[m.arch].deb), m.deb},
		{"rpm", "/usr", fmt.Sprintf("%s-%s-1.%s.rpm", m.name, m.version, names[m.arch].rpm), m.rpm},
		{"", "/usr/local", plain + ".tar.gz", func(t tree) ([]byte, error) { return tarball(t.below("usr/local", plain), m.when) }},
	} {
		l.system, l.prefix = form.system, form.prefix
		t, missing, err := m.tree(l, built)
		if err != nil {
			return nil, fmt.Errorf("cannot make %s: %w", form.name, err)
		}
		if missing != "" {
			return nil, fmt.Errorf("cannot make %s: %s", form.name, missing)
		}
		list = append(list, job{form.name, func() ([]byte, error) { return form.write(t) }})
	}
	return list, nil
}

// sums writes SHA256SUMS, as `sha256sum --check` reads it.
func sums(out string, made []string) error {
	slices.Sort(made)
	var b strings.Builder
	for _, name := range made {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), name)
		fmt.Printf("%s %.1f MB\n", filepath.Join(out, name), float64(len(text))/1e6)
	}
	return writeFile(filepath.Join(out, "SHA256SUMS"), []byte(b.String()), 0o644)
}

// epoch is the time that files bear.
func epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, errors.New("cannot tell the source's time: not in a git work tree, and SOURCE_DATE_EPOCH is not set")
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot tell the source's time: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeFile writes a file of exactly that mode, whatever the umask.
func writeFile(path string, text []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", text, mode); err != nil {
		return err
	}
	if err := os.Chmod(path+".new", mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
