// SPDX-License-Identifier: Apache-2.0

// Package kernel takes a Linux kernel from Debian's package, and what a machine
// needs of it: modules in their order, an initramfs, the kernel as an ELF file.
package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Module is a part of a kernel, as insmod(8) wants it.
type Module struct {
	Name string
	Text []byte
}

// Modules are those named and all that they depend on, in an order to load them
// in. One that is not there is built in.
func Modules(kernel string, names ...string) (list []Module, err error) {
	files, err := findModules(kernel)
	if err != nil {
		return nil, err
	}
	var load func(name string) error
	load = func(name string) error {
		path, ok := files[name]
		if !ok || slices.ContainsFunc(list, func(m Module) bool { return m.Name == name }) {
			return nil
		}
		needs, err := dependencies(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := load(n); err != nil {
				return err
			}
		}
		text, err := os.ReadFile(path)
		if err == nil {
			list = append(list, Module{name, text})
		}
		return err
	}
	for _, m := range names {
		if err := load(m); err != nil {
			return nil, fmt.Errorf("cannot take module %s: %w", m, err)
		}
	}
	return list, nil
}

// findModules lists a kernel's modules by name.
func findModules(kernel string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Join(kernel, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok && !d.IsDir() {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot find the kernel's modules: %w", err)
	}
	return files, nil
}

// dependencies are in a module's section .modinfo, as depends=a,b.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, nil
	}
	text, err := s.Data()
	if err != nil {
		return nil, err
	}
	for word := range bytes.SplitSeq(text, []byte{0}) {
		if list, ok := strings.CutPrefix(string(word), "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// An Archive is a cpio archive in the kernel's form (Documentation/driver-api/
// early-userspace/buffer-format.rst, "newc"): an initramfs.
type Archive struct {
	b bytes.Buffer
	n int
}

// Add adds a file; mode has its type.
func (a *Archive) Add(name string, mode int, data []byte) {
	a.n++
	fmt.Fprintf(&a.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(data)
	a.pad()
}

func (a *Archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

// End is the archive's content.
func (a *Archive) End() []byte {
	a.Add("TRAILER!!!", 0, nil)
	return a.b.Bytes()
}
