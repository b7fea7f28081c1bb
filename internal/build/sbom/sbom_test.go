// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image/merge"
)

var epoch = time.Unix(1000000000, 0)

const status = `Package: nginx
Status: install ok installed
Maintainer: Some One <one@example.com>
Architecture: amd64
Source: nginx (1.22)
Version: 1.22.1-9+deb12u1
Description: a server
 of pages: many

Package: gone
Status: deinstall ok config-files
Version: 1

Package: base-files
Status: install ok installed
Architecture: all
Version: 12.4
`

const installed = `C:Q1xyz=
P:musl
V:1.2.4-r2
A:x86_64
L:MIT
o:musl

P:busybox
V:1.36.1-r5
A:x86_64
`

func write(t *testing.T, files map[string]string) *merge.Stack {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := merge.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestPackages(t *testing.T) {
	s := write(t, map[string]string{"var/lib/dpkg/status": status, "lib/apk/db/installed": installed,
		"var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a\nArchitecture: all\n", "var/lib/dpkg/status.d/tzdata.md5sums": "x y"})
	got, err := Packages(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Name: "busybox", Version: "1.36.1-r5", Arch: "x86_64", Kind: "apk"},
		{Name: "musl", Version: "1.2.4-r2", Arch: "x86_64", Source: "musl", License: "MIT", Kind: "apk"},
		{Name: "base-files", Version: "12.4", Arch: "all", Kind: "deb"},
		{Name: "nginx", Version: "1.22.1-9+deb12u1", Arch: "amd64", Source: "nginx (1.22)", Supplier: "Some One <one@example.com>", Kind: "deb"},
		{Name: "tzdata", Version: "2024a", Arch: "all", Kind: "deb"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if u := got[3].URL(""); u != "pkg:deb/debian/nginx@1.22.1-9%2Bdeb12u1?arch=amd64" {
		t.Error(u)
	}
}

// TestWrite: the document is of SPDX's form, with each thing once and each
// relationship between things that are there, and always the same.
func TestWrite(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"packages": {"var/lib/dpkg/status": status},
		"files":    {"bin/hello": "hello", "etc/x": "x"},
	} {
		s := write(t, files)
		var one, two bytes.Buffer
		at := epoch
		for _, b := range []*bytes.Buffer{&one, &two} {
			if err := Write(b, s, "example.com/x", at, "acbuild-1"); err != nil {
				t.Fatal(err)
			}
		}
		if one.String() != two.String() {
			t.Errorf("%s: two documents of one image", name)
		}
		var d document
		if err := json.Unmarshal(one.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{d.ID: true}
		for _, p := range d.Packages {
			if ids[p.ID] {
				t.Errorf("%s: %s twice", name, p.ID)
			}
			ids[p.ID] = true
		}
		for _, f := range d.Files {
			if ids[f.ID] || !strings.HasPrefix(f.Name, "./") || len(f.Checksums) != 2 {
				t.Errorf("%s: %+v", name, f)
			}
			ids[f.ID] = true
		}
		for _, r := range d.Relationships {
			if !ids[r.Element] || !ids[r.Related] {
				t.Errorf("%s: %+v leads nowhere", name, r)
			}
		}
		if len(d.Relationships) != len(ids)-1 || d.Version != "SPDX-2.3" || d.Creation.Created != "2001-09-09T01:46:40Z" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func FuzzDeb(f *testing.F) {
	f.Add([]byte(status))
	f.Add([]byte(installed))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range append(Deb(text), Apk(text)...) {
			if p.Name == "" {
				t.Errorf("%q: %+v", text, p)
			}
		}
	})
}
