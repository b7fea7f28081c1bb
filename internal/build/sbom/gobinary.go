// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"debug/buildinfo"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

// Go reads what Go's linker notes in a program: the modules that it is made of,
// and the version of Go, as module stdlib. ok is false if it is no such program.
func Go(r io.ReaderAt) (all []Package, ok bool) {
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, false
	}
	module := func(path, version string) {
		if path == "" {
			return
		}
		if version == "(devel)" { // built from a source tree without a version
			version = ""
		}
		all = append(all, Package{Name: path, Version: version, Kind: "golang"})
	}
	module("stdlib", strings.TrimPrefix(strings.Fields(info.GoVersion + " ?")[0], "go"))
	module(info.Main.Path, info.Main.Version)
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		module(d.Path, d.Version)
	}
	return all, true
}

// programs reads the Go programs among the files that may be executed. A module
// that several are made of is one package, which says where it is.
func programs(s *merge.Stack) ([]Package, error) {
	type key struct{ name, version string }
	found := map[key]*Package{}
	err := s.Walk(func(e *merge.Entry) error {
		if e.Type() != unix.S_IFREG || e.Stat.Mode&0o111 == 0 {
			return nil
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		magic := make([]byte, 4)
		if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
			return nil //nolint:nilerr // a shorter file is no program
		}
		all, _ := Go(f)
		for _, p := range all {
			k := key{p.Name, p.Version}
			if found[k] == nil {
				found[k] = &p
			}
			found[k].Files = append(found[k].Files, "/"+e.Path)
		}
		return nil
	})
	list := make([]Package, 0, len(found))
	for _, p := range found {
		slices.Sort(p.Files)
		p.Files = slices.Compact(p.Files)
		list = append(list, *p)
	}
	return list, err
}
