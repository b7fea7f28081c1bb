// SPDX-License-Identifier: Apache-2.0

// Package sbom tells what an image consists of, as an SPDX 2.3 document in JSON:
// the packages that the databases of dpkg, apk and rpm in its root name, the
// modules that its Go programs are made of, and, where there is no database, its
// files with their digests.
package sbom

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // SPDX 2.3 wants it of files, as a name
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/image/merge"
)

// maxDatabase bounds what is read of a database of packages, bytes.
const maxDatabase = 64 << 20

// Package is an installed package.
type Package struct {
	Name, Version, Arch, Source, Supplier, License string
	Epoch                                          string   // of an rpm, or ""
	Kind                                           string   // deb, apk, rpm or golang
	Files                                          []string // golang: the programs that are made of it
}

// document is what we write of SPDX 2.3 (spdx.github.io/spdx-spec/v2.3).
type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Files         []spdxFile     `json:"files,omitempty"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID           string        `json:"SPDXID"`
	Name         string        `json:"name"`
	Version      string        `json:"versionInfo,omitempty"`
	Supplier     string        `json:"supplier,omitempty"`
	Download     string        `json:"downloadLocation"`
	Analyzed     bool          `json:"filesAnalyzed"`
	Concluded    string        `json:"licenseConcluded"`
	Declared     string        `json:"licenseDeclared"`
	Copyright    string        `json:"copyrightText"`
	Source       string        `json:"sourceInfo,omitempty"`
	Purpose      string        `json:"primaryPackagePurpose,omitempty"`
	Comment      string        `json:"comment,omitempty"`
	ExternalRefs []externalRef `json:"externalRefs,omitempty"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxFile struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"fileName"`
	Checksums []checksum `json:"checksums"`
	Concluded string     `json:"licenseConcluded"`
	Copyright string     `json:"copyrightText"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const none = "NOASSERTION"

// Write writes the document of the image called name whose root is s.
func Write(w io.Writer, s *merge.Stack, name string, created time.Time, creator string) error {
	packages, err := Packages(s)
	if err != nil {
		return err
	}
	databases := slices.ContainsFunc(packages, func(p Package) bool { return p.Kind != "golang" })
	id, err := distribution(s)
	if err != nil {
		return err
	}
	root := spdxPackage{ID: "SPDXRef-Image", Name: name, Download: none, Concluded: none, Declared: none, Copyright: none, Purpose: "CONTAINER"}
	d := document{Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Creation:      creation{created.UTC().Format(time.RFC3339), []string{"Tool: " + creator}},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", root.ID}}}
	for i, p := range packages {
		x := spdxPackage{ID: fmt.Sprintf("SPDXRef-Package-%d", i+1), Name: p.Name, Version: p.Version, Download: none, Concluded: none, Declared: none, Copyright: none,
			ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl", p.URL(id)}}}
		if p.License != "" {
			x.Comment = "license as the package says: " + p.License
		}
		if p.Supplier != "" {
			x.Supplier = "Organization: " + p.Supplier
		}
		if p.Source != "" {
			x.Source = "built from " + p.Source
		}
		if len(p.Files) > 0 {
			x.Source = "linked into " + strings.Join(p.Files, ", ")
		}
		d.Packages = append(d.Packages, x)
		d.Relationships = append(d.Relationships, relationship{root.ID, "CONTAINS", x.ID})
	}
	if !databases {
		if d.Files, err = files(s); err != nil {
			return err
		}
		root.Comment = "there is no database of packages in it, so its files are listed"
		for _, f := range d.Files {
			d.Relationships = append(d.Relationships, relationship{root.ID, "CONTAINS", f.ID})
		}
	}
	d.Packages = append([]spdxPackage{root}, d.Packages...)
	// A name of its own for each content, and always the same for the same.
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	d.Namespace = "https://rkt.github.io/spdx/" + hex.EncodeToString(sum[:])
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// URL is the package's name among all packages (package-url.org), of the
// distribution id.
func (p Package) URL(id string) string {
	escape := strings.NewReplacer("%", "%25", "+", "%2B", ":", "%3A", " ", "%20", "@", "%40", "?", "%3F", "#", "%23", "^", "%5E").Replace
	u := "pkg:" + p.Kind + "/"
	if p.Kind != "golang" {
		if id == "" {
			id = map[string]string{"deb": "debian", "apk": "alpine", "rpm": "rpm"}[p.Kind]
		}
		u += escape(id) + "/"
	}
	u += escape(p.Name)
	if p.Version != "" {
		u += "@" + escape(p.Version)
	}
	sep := "?"
	for _, q := range []struct{ key, value string }{{"arch", p.Arch}, {"epoch", p.Epoch}} {
		if q.value != "" {
			u += sep + q.key + "=" + escape(q.value)
			sep = "&"
		}
	}
	return u
}

// distribution is the image's, by its os-release(5); "" if it does not say.
func distribution(s *merge.Stack) (string, error) {
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} { // the latter is a link to the former
		text, err := read(s, name)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
				return strings.Trim(v, `"'`), nil
			}
		}
	}
	return "", nil
}

// Packages reads the databases of dpkg, with the single files of images that
// have no whole one, of apk and of rpm, and Go programs. They are sorted by name.
func Packages(s *merge.Stack) ([]Package, error) {
	var all []Package
	status, err := read(s, "var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	all = append(all, Deb(status)...)
	dir, err := lookup(s, "var/lib/dpkg/status.d")
	if err != nil {
		return nil, err
	}
	if dir != nil && dir.IsDir() {
		list, err := dir.Children()
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if strings.HasSuffix(e.Path, ".md5sums") || e.Type() != unix.S_IFREG {
				continue
			}
			text, err := content(e)
			if err != nil {
				return nil, err
			}
			all = append(all, Deb(text)...)
		}
	}
	installed, err := read(s, "lib/apk/db/installed")
	if err != nil {
		return nil, err
	}
	all = append(all, Apk(installed)...)
	for _, read := range []func(*merge.Stack) ([]Package, error){rpms, programs} {
		more, err := read(s)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	key := func(p Package) string { return strings.Join([]string{p.Kind, p.Name, p.Arch, p.Version}, "\x00") }
	slices.SortFunc(all, func(a, b Package) int { return strings.Compare(key(a), key(b)) })
	return all, nil
}

// stanzas calls f for each paragraph of KEY SEP VALUE lines.
func stanzas(text []byte, sep string, f func(map[string]string)) {
	fields := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if len(fields) > 0 {
				f(fields)
			}
			fields = map[string]string{}
			continue
		}
		if k, v, ok := strings.Cut(line, sep); ok && line[0] != ' ' && line[0] != '\t' {
			fields[k] = strings.TrimSpace(v)
		}
	}
	if len(fields) > 0 {
		f(fields)
	}
}

// Deb reads dpkg's status.
func Deb(text []byte) (all []Package) {
	stanzas(text, ":", func(f map[string]string) {
		if status := f["Status"]; f["Package"] == "" || status != "" && !strings.HasSuffix(status, " installed") {
			return
		}
		all = append(all, Package{Name: f["Package"], Version: f["Version"], Arch: f["Architecture"], Source: f["Source"], Supplier: f["Maintainer"], Kind: "deb"})
	})
	return all
}

// Apk reads apk's list of what is installed.
func Apk(text []byte) (all []Package) {
	stanzas(text, ":", func(f map[string]string) {
		if f["P"] != "" {
			all = append(all, Package{Name: f["P"], Version: f["V"], Arch: f["A"], Source: f["o"], Supplier: f["m"], License: f["L"], Kind: "apk"})
		}
	})
	return all
}

func files(s *merge.Stack) (list []spdxFile, err error) {
	err = s.Walk(func(e *merge.Entry) error {
		if e.Type() != unix.S_IFREG {
			return nil
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		one, two := sha1.New(), sha256.New() //nolint:gosec // see above
		if _, err := io.Copy(io.MultiWriter(one, two), f); err != nil {
			return err
		}
		list = append(list, spdxFile{ID: fmt.Sprintf("SPDXRef-File-%d", len(list)+1), Name: "./" + e.Path, Concluded: none, Copyright: none,
			Checksums: []checksum{{"SHA1", hex.EncodeToString(one.Sum(nil))}, {"SHA256", hex.EncodeToString(two.Sum(nil))}}})
		return nil
	})
	return list, err
}

// lookup finds an entry by a path without links; nil if there is none.
func lookup(s *merge.Stack, name string) (*merge.Entry, error) {
	e, err := s.Root()
	for part := range strings.SplitSeq(name, "/") {
		if err != nil || e == nil || !e.IsDir() {
			return nil, err
		}
		var list []*merge.Entry
		list, err = e.Children()
		i := slices.IndexFunc(list, func(c *merge.Entry) bool { return path.Base(c.Path) == part })
		if e = nil; i >= 0 {
			e = list[i]
		}
	}
	return e, err
}

func read(s *merge.Stack, name string) ([]byte, error) {
	e, err := lookup(s, name)
	if err != nil || e == nil || e.Type() != unix.S_IFREG {
		return nil, err
	}
	return content(e)
}

func content(e *merge.Entry) ([]byte, error) {
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
	if err == nil && len(text) > maxDatabase {
		err = fmt.Errorf("cannot read %q: it is longer than %d bytes", e.Path, maxDatabase)
	}
	return text, err
}
