// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/stage1/nspawn"
	"github.com/rkt/rkt/tools/debian"
	"github.com/rkt/rkt/tools/programs"
)

// make runs the tool that makes what the package has beside programs, in built, of
// Debian's packages, which are kept in debs.
func (p product) make(built, arch, debs string) error {
	if p.tool == nil {
		return nil
	}
	argv := append([]string{"run"}, p.tool...)
	cmd := exec.Command(programs.Go(), append(argv, "-o", built, "-arch", arch, "-debs", debs)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return hint.Wrap(fmt.Errorf("cannot make package %s for %s: %w\n%s", p.name, arch, err, bytes.TrimSpace(out)),
			"`make dist FLAVORS=` makes the packages that need nothing of Debian's")
	}
	return nil
}

// kvm is the tree of package rkt-stage1-kvm.
func (l layout) kvm(built string) (t tree, missing string, err error) {
	dir := filepath.Join(built, "libexec/rkt/kvm")
	initramfs, err := os.ReadFile(filepath.Join(dir, "initramfs"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, "`make stage1-kvm` makes what it has", nil
	}
	if err != nil {
		return nil, "", err
	}
	init, err := os.ReadFile(filepath.Join(built, "libexec/rkt/kvm-init"))
	if err != nil {
		return nil, "", err
	}
	if !bytes.Contains(initramfs, init) {
		return nil, "", hint.Wrap(fmt.Errorf("cannot use %s: it has another kvm-init than was built", dir), "run `make stage1-kvm` again")
	}
	if err := l.programs(&t, built, programs.KVM); err != nil {
		return nil, "", err
	}
	at := l.at("libexec/rkt/kvm")
	for _, name := range []string{"vmlinux", "initramfs"} {
		if err := t.copyFile(filepath.Join(dir, name), path.Join(at, name), nil); err != nil {
			return nil, "", err
		}
	}
	notice, err := os.ReadFile(filepath.Join(dir, "copyright"))
	switch {
	case errors.Is(err, os.ErrNotExist) && l.copyright == nil: // nobody is handed anything
	case errors.Is(err, os.ErrNotExist):
		return nil, "", fmt.Errorf("cannot hand on the kernel in %s: it is not said which package's it is", dir)
	case err != nil:
		return nil, "", err
	default:
		if err := t.copyFile(filepath.Join(dir, "packages"), path.Join(at, "packages"), nil); err != nil {
			return nil, "", err
		}
		if l.system != "deb" { // Debian has them
			if err := t.copyFiles(filepath.Join(dir, "licenses"), l.at("share/doc/"+programs.KVM+"/licenses"), nil); err != nil {
				return nil, "", err
			}
		}
	}
	if err := l.papers(&t, programs.KVM, notice); err != nil {
		return nil, "", err
	}
	t, err = t.settled()
	return t, "", err
}

// coreOS is the tree of package rkt-stage1-coreos: all of the flavor's own.
func (l layout) coreOS(built string) (t tree, missing string, err error) {
	dir := filepath.Join(built, "libexec/rkt/stage1-coreos")
	inner, err := os.ReadFile(filepath.Join(dir, nspawn.TreeProgram))
	if errors.Is(err, os.ErrNotExist) {
		return nil, "`make stage1-coreos` makes what it has", nil
	}
	if err != nil {
		return nil, "", err
	}
	program, err := os.ReadFile(filepath.Join(built, "libexec/rkt/stage1-nspawn"))
	if err != nil {
		return nil, "", err
	}
	if !bytes.Equal(inner, program) {
		return nil, "", hint.Wrap(fmt.Errorf("cannot use %s: it has another stage1-nspawn than was built", dir), "run `make stage1-coreos` again")
	}
	if err := t.copyFiles(dir, l.at("libexec/rkt/stage1-coreos"), nil); err != nil {
		return nil, "", err
	}
	notice, err := noticeOf(dir)
	if err != nil {
		return nil, "", err
	}
	if err := l.papers(&t, programs.CoreOS, notice); err != nil {
		return nil, "", err
	}
	t, err = t.settled()
	return t, "", err
}

// noticeOf is what is to be said of the packages that a tree has files of.
func noticeOf(dir string) ([]byte, error) {
	record, err := os.ReadFile(filepath.Join(dir, debian.TreeRecord))
	if err != nil {
		return nil, err
	}
	list, err := debian.ParseRecord(record)
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for _, p := range list {
		if texts[p.Name], err = os.ReadFile(filepath.Join(dir, debian.CopyrightPath(p.Name))); err != nil {
			return nil, err
		}
	}
	return debian.Notice(list, texts)
}

// flavored are the packages of the list that are wanted: rkt's own, and those of the
// flavors named, with commas between them.
func flavored(list []product, flavors string) ([]product, error) {
	var out []product
	rest := map[string]bool{}
	for f := range strings.SplitSeq(flavors, ",") {
		if f != "" {
			rest[f] = true
		}
	}
	for _, p := range list {
		if p.flavor == "" || rest[p.flavor] {
			out = append(out, p)
		}
		delete(rest, p.flavor)
	}
	for f := range rest {
		return nil, fmt.Errorf("cannot make a package of flavor %q: there is none", f)
	}
	return out, nil
}
