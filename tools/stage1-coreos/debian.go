// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// seeds are the packages whose programs are wanted; of those that they depend on,
// only libraries are looked at.
var seeds = []string{"systemd", "systemd-container"}

// programs are what runs in, or makes, the pod; the rest of the packages stays out.
var programs = []string{
	"usr/lib/systemd/systemd", "usr/lib/systemd/systemd-journald", "usr/lib/systemd/systemd-shutdown",
	"usr/bin/systemd-nspawn", "usr/bin/systemctl", "usr/bin/journalctl",
}

// later are programs that newer versions of systemd have as well.
var later = []string{"usr/lib/systemd/systemd-executor"}

// download has apt, which verifies them, fetch the packages into dir.
func download(dir string) error {
	out, err := exec.Command("apt-cache", append([]string{"depends", "--recurse", "--important", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, seeds...)...).Output()
	if err != nil {
		return fmt.Errorf("cannot find what systemd depends on: %w", err)
	}
	names := slices.Clone(seeds)
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(name, "lib") && !strings.Contains(name, ":") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	cmd := exec.Command("apt-get", append([]string{"download", "-qq"}, names...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		// The first of many that say the same.
		_, why, _ := strings.Cut(string(out), "E: ")
		why, _, _ = strings.Cut(why, "\n")
		return fmt.Errorf("cannot download systemd's packages: %w: %s", err, why)
	}
	return nil
}

// unpack reads the files of all packages in dir, at their places in a root whose
// /bin, /sbin and /lib are links into /usr, and tells which package each is of.
func unpack(dir string) (all tree, origin map[string]string, err error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("cannot find packages in %s", dir)
	}
	if err != nil {
		return nil, nil, err
	}
	all, origin = tree{}, map[string]string{}
	for _, deb := range debs {
		fields, err := exec.Command("dpkg-deb", "-W", "--showformat=${Package} ${Version} ${Architecture}", deb).Output()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read package %s: %w", deb, err)
		}
		text, err := os.ReadFile(deb)
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(text)
		name := string(fields) + " sha256:" + hex.EncodeToString(sum[:])
		data, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb).Output()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot unpack package %s: %w", deb, err)
		}
		if err := all.read(data, func(p string) { origin[p] = name }); err != nil {
			return nil, nil, fmt.Errorf("cannot unpack package %s: %w", deb, err)
		}
	}
	return all, origin, nil
}

// read adds the files and links of a tar.
func (t tree) read(data []byte, each func(string)) error {
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)[1:]
		for _, dir := range usrMerged {
			if strings.HasPrefix(name, dir+"/") {
				name = "usr/" + name
			}
		}
		switch h.Typeflag {
		case tar.TypeReg:
			text, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			t[name] = file{mode: h.FileInfo().Mode().Perm() &^ 0o022, text: text}
		case tar.TypeSymlink:
			t[name] = file{link: h.Linkname}
		default:
			continue
		}
		each(name)
	}
}

// usrMerged are links into /usr.
var usrMerged = []string{"bin", "sbin", "lib", "lib64"}

// choose takes of all the programs, what they are linked to, and the copyright of
// each package that something is of.
func choose(all tree, origin map[string]string) (tree, error) {
	t, packages := tree{}, map[string]string{}
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
		pkg, _, _ := strings.Cut(origin[real], " ")
		packages[pkg] = origin[real]
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
	for _, dir := range usrMerged {
		t[dir] = file{link: "usr/" + dir}
	}
	var list []string
	for name, about := range packages {
		list = append(list, about+"\n")
		p := "usr/share/doc/" + name + "/copyright"
		_, f, err := all.follow(p)
		if err != nil {
			return nil, err
		}
		t[p] = f
	}
	slices.Sort(list)
	t["usr/lib/rkt/packages"] = file{mode: 0o644, text: []byte(strings.Join(list, ""))}
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
		name = path.Clean(to)[1:]
		for _, dir := range usrMerged {
			if strings.HasPrefix(name, dir+"/") {
				name = "usr/" + name
			}
		}
	}
	return "", file{}, fmt.Errorf("cannot follow the links of %s", name)
}

// library finds a library, or the dynamic loader, by its name.
func (t tree) library(name string) (string, error) {
	if path.IsAbs(name) {
		name = name[1:]
		for _, dir := range usrMerged {
			if strings.HasPrefix(name, dir+"/") {
				return "usr/" + name, nil
			}
		}
		return name, nil
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
