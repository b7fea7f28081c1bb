// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Licenses is where Debian has the texts that many packages' copyright refers to, in
// its package base-files.
const Licenses = "usr/share/common-licenses"

// TreeRecord is where in a tree of packages' files Record's lines lie.
const TreeRecord = "usr/lib/rkt/packages"

// Referred are the names of the texts in Licenses that a copyright refers to.
func Referred(copyright []byte) (names []string) {
	text := string(copyright)
	for {
		_, rest, ok := strings.Cut(text, "/"+Licenses+"/")
		if !ok {
			break
		}
		end := strings.IndexFunc(rest, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.')
		})
		if end < 0 {
			end = len(rest)
		}
		if name := strings.TrimRight(rest[:end], ".-"); name != "" {
			names = append(names, name)
		}
		text = rest
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// CopyrightPath is where a package has its copyright.
func CopyrightPath(name string) string { return path.Join("usr/share/doc", name, "copyright") }

// Notice is what has to be said by whoever hands on files of packages: which they
// are of, where their source is, and the copyright of each, which texts has by
// package.
func Notice(list []Package, texts map[string][]byte) ([]byte, error) {
	var b strings.Builder
	b.WriteString("Of Debian's packages it has files of these. Their source is Debian's: that of a\npackage is the source package named after it, in exactly that version, at\nhttps://snapshot.debian.org/package/NAME/VERSION/ or by `apt-get source\nNAME=VERSION`.\n\n")
	for _, p := range list {
		fmt.Fprintf(&b, "  %s %s, source %s %s\n", p.Name, p.Version, p.Source, p.SourceVersion)
	}
	for _, p := range list {
		text, ok := texts[p.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find the copyright of %s", p.Name)
		}
		fmt.Fprintf(&b, "\n%s\nThe copyright of %s %s:\n\n%s\n", strings.Repeat("=", 78), p.Name, p.Version, strings.TrimSpace(string(text)))
	}
	return []byte(b.String()), nil
}
