// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/rkt/rkt/tools/debian"
)

// seeds are the packages whose programs are wanted; of those that they depend on,
// only libraries are looked at.
var seeds = []string{"systemd", "systemd-container"}

// programs are what runs in, or makes, the pod; the rest of the packages stays out.
var programs = []string{
	"usr/lib/systemd/systemd", "usr/lib/systemd/systemd-journald", "usr/lib/systemd/systemd-shutdown",
	"usr/bin/systemd-nspawn", "usr/bin/systemctl", "usr/bin/journalctl",
}

// licenses is the package with the texts that copyrights refer to.
const licenses = "base-files"

// later are programs that newer versions of systemd have as well.
var later = []string{"usr/lib/systemd/systemd-executor"}

// wanted are the packages to be downloaded.
func wanted(a debian.Archive) ([]string, error) {
	names, err := a.Depends(true, seeds...)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "lib") })
	slices.Sort(names)
	return append(slices.Compact(names), append(seeds, licenses)...), nil
}

// unpack reads the files of all packages in dir, at their places in a root whose
// /bin, /sbin and /lib are links into /usr, and tells which package each is of.
func unpack(dir string) (all tree, origin map[string]debian.Package, err error) {
	list, err := debian.Read(dir)
	if err != nil {
		return nil, nil, err
	}
	all, origin = tree{}, map[string]debian.Package{}
	for _, p := range list {
		if err := p.Files(all.reader(func(name string) { origin[name] = p })); err != nil {
			return nil, nil, err
		}
	}
	return all, origin, nil
}

// reader adds the files and links of a package.
func (t tree) reader(each func(name string)) func(*tar.Header, []byte) error {
	return func(h *tar.Header, text []byte) error {
		f := file{link: h.Linkname}
		if h.Typeflag == tar.TypeReg {
			f = file{mode: h.FileInfo().Mode().Perm() &^ 0o022, text: text}
		}
		t[h.Name] = f
		each(h.Name)
		return nil
	}
}

// choose takes of all the programs, what they are linked to, and the copyright of
// each package that something is of, with the licences that these refer to.
func choose(all tree, origin map[string]debian.Package) (tree, error) {
	t, packages := tree{}, map[string]debian.Package{}
	var add func(name string) error
	add = func(name string) error {
		if _, ok := t[name]; ok {
			return nil
		}
		real, f, err := all.follow(name)
		if err != nil {
			return err
		}
		t[name] = f
		packages[origin[real].Name] = origin[real]
		need, err := needed(f.text)
		if err != nil {
			return fmt.Errorf("cannot read what %s needs: %w", name, err)
		}
		for _, lib := range need {
			at, err := all.library(lib)
			if err != nil {
				return fmt.Errorf("%s needs %s: %w", name, lib, err)
			}
			if err := add(at); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range programs {
		if err := add(p); err != nil {
			return nil, err
		}
	}
	for _, p := range later {
		if _, ok := all[p]; ok {
			if err := add(p); err != nil {
				return nil, err
			}
		}
	}
	for _, dir := range debian.UsrMerged {
		t[dir] = file{link: "usr/" + dir}
	}
	for name := range packages {
		p := debian.CopyrightPath(name)
		_, f, err := all.follow(p)
		if err != nil {
			return nil, err
		}
		t[p] = f
		for _, l := range debian.Referred(f.text) {
			l = debian.Licenses + "/" + l
			if _, t[l], err = all.follow(l); err != nil {
				return nil, fmt.Errorf("the copyright of %s refers to a licence: %w", name, err)
			}
		}
	}
	t[debian.TreeRecord] = file{mode: 0o644, text: debian.Record(slices.Collect(maps.Values(packages)))}
	return t, nil
}

// follow reads a file through links.
func (t tree) follow(name string) (string, file, error) {
	for range 8 {
		f, ok := t[name]
		if !ok {
			return "", file{}, fmt.Errorf("cannot find %s in the packages", name)
		}
		if f.link == "" {
			return name, f, nil
		}
		to := f.link
		if !path.IsAbs(to) {
			to = path.Join("/"+path.Dir(name), to)
		}
		name = debian.Merged(path.Clean(to)[1:])
	}
	return "", file{}, fmt.Errorf("cannot follow the links of %s", name)
}

// library finds a library, or the dynamic loader, by its name.
func (t tree) library(name string) (string, error) {
	if path.IsAbs(name) {
		return debian.Merged(name[1:]), nil
	}
	var found []string
	for p := range t {
		if path.Base(p) == name && (path.Dir(p) == "usr/lib" || strings.HasPrefix(p, "usr/lib/") && strings.Count(p, "/") <= 4 && strings.Contains(p, "-linux-gnu")) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return "", errors.New("no package has it")
	}
	slices.SortFunc(found, func(a, b string) int {
		if n := strings.Count(a, "/") - strings.Count(b, "/"); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	return found[0], nil
}

// needed are the libraries that an ELF file is linked to, and its loader.
func needed(text []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			list = append(list, strings.TrimRight(string(b), "\x00"))
		}
	}
	return list, nil
}
