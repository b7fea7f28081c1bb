// SPDX-License-Identifier: Apache-2.0

// Package ref parses and prints the strings by which users name images. It is
// pure: nothing is looked up, no file is touched.
//
//	sha256-HEX, sha512-HEX, also with ":"   an image ID, two digits or more
//	docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]   also without the slashes
//	oci:DIR[:REF]
//	oci-archive:FILE[:REF]
//	docker-archive:FILE[:REF]
//	file:///PATH.aci, /PATH, ./PATH, …/./…, PATH.aci   an ACI file
//	http://….aci, https://….aci
//	NAME[:VERSION][,LABEL=VALUE]…           anything else: an appc name
//
// As in skopeo, the first colon after a DIR or FILE ends it.
package ref

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rkt/rkt/internal/hint"
)

// Kind is the way a reference is resolved.
type Kind string

// The kinds of references rkt accepts.
const (
	ID            Kind = "id"             // sha256-…, sha512-…, possibly shortened; also with ":"
	Docker        Kind = "docker"         // docker://[host[:port]/]name[:tag|@digest]
	OCILayout     Kind = "oci"            // oci:DIR[:ref]
	OCIArchive    Kind = "oci-archive"    // oci-archive:FILE[:ref]
	DockerArchive Kind = "docker-archive" // docker-archive:FILE[:ref]
	ACIFile       Kind = "aci"            // a path, or file:// URL, that names an .aci
	ACIURL        Kind = "aci-url"        // http(s)://….aci (title issue 2)
	Name          Kind = "name"           // appc name by discovery, then the host's registry (title issue 2)
)

// Ref is a parsed reference. Its fields are set as the kind needs them.
type Ref struct {
	Kind Kind
	// ID: the identifier as typed, in the "algo-hex" spelling, maybe shortened.
	ID string
	// Docker: fully expanded, e.g. registry-1.docker.io, library/busybox. Tag is
	// "latest" if neither tag nor digest was typed.
	Registry, Repository, Tag string
	// Docker: the digest asked for ("sha256:…") or "". It decides; a tag beside
	// it is only what the user calls it.
	Digest string
	// Layouts, archives and files: an absolute or cwd-relative path as typed.
	Path string
	// Layouts and archives: the ref name inside, or "".
	Inner string
	// ACIURL, Name: the text as typed.
	Text string
}

// Parse reads a reference. Whether what it names exists is for others to find
// out; a word that is also a file in the working directory is a Name here, see
// File.
func Parse(s string) (Ref, error) {
	r, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("cannot parse image %q: %w", s, err)
	}
	return r, nil
}

func parse(s string) (Ref, error) {
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("it is empty")
	case !utf8.ValidString(s):
		return Ref{}, fmt.Errorf("it is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return Ref{}, fmt.Errorf("it has a control character")
	}
	if r, ok, err := parseID(s); ok || err != nil {
		return r, err
	}
	if isPath(s) {
		return File(s), nil
	}
	scheme, rest, _ := strings.Cut(s, ":")
	switch kind := Kind(scheme); {
	case rest == "" && !strings.Contains(s, ":"):
		// No scheme.
	case kind == Docker:
		return parseDocker(strings.TrimPrefix(rest, "//"))
	case kind == OCILayout, kind == OCIArchive, kind == DockerArchive:
		return parseInside(kind, rest)
	case scheme == "file":
		return parseFileURL(rest)
	case scheme == "http", scheme == "https":
		return parseURL(s, rest)
	case scheme == "cimd":
		return Ref{}, fmt.Errorf("cimd references are no longer known")
	case strings.HasPrefix(rest, "//"):
		return Ref{}, hint.Wrap(fmt.Errorf("unknown scheme %q", scheme),
			"known are docker://, oci:, oci-archive:, docker-archive:, file://, http:// and https://")
	}
	return parseName(s)
}

// File is the reference to the ACI file at path.
func File(path string) Ref { return Ref{Kind: ACIFile, Path: path} }

// parseID recognises image IDs; a word like "sha256-tools" is none.
func parseID(s string) (r Ref, ok bool, err error) {
	for _, algo := range []struct {
		name   string
		digits int
	}{{"sha256", 64}, {"sha512", 128}} {
		rest, ok := strings.CutPrefix(s, algo.name)
		if !ok || rest == "" || rest[0] != '-' && rest[0] != ':' {
			continue
		}
		hexa := strings.ToLower(rest[1:])
		if hexa == "" || strings.Trim(hexa, "0123456789abcdef") != "" {
			continue
		}
		if len(hexa) < 2 || len(hexa) > algo.digits {
			return Ref{}, false, fmt.Errorf("an image ID has 2 to %d digits", algo.digits)
		}
		return Ref{Kind: ID, ID: algo.name + "-" + hexa}, true, nil
	}
	return Ref{}, false, nil
}

// isPath says whether s is a path for its looks alone.
func isPath(s string) bool {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return true
	}
	return !strings.Contains(s, ":") && (strings.Contains(s, "./") || strings.HasSuffix(s, ".aci"))
}

// parseInside reads PATH[:REF].
func parseInside(kind Kind, s string) (Ref, error) {
	path, inner, named := strings.Cut(s, ":")
	switch {
	case path == "":
		return Ref{}, fmt.Errorf("no path after %q", kind+":")
	case named && inner == "":
		return Ref{}, fmt.Errorf("no reference after the last colon")
	}
	return Ref{Kind: kind, Path: path, Inner: inner}, nil
}

func parseFileURL(s string) (Ref, error) {
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		s = strings.TrimPrefix(rest, "localhost")
	}
	path, err := unescape(s)
	switch {
	case err != nil:
		return Ref{}, err
	case !strings.HasPrefix(path, "/"):
		return Ref{}, fmt.Errorf("a file URL needs an absolute path: file:///PATH.aci")
	case !strings.HasSuffix(path, ".aci"):
		return Ref{}, fmt.Errorf("a file URL must end in .aci")
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
		return Ref{}, fmt.Errorf("its path has a control character or is not UTF-8")
	}
	return File(path), nil
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		hi, lo := -1, -1
		if len(after) >= 2 {
			hi, lo = digit(after[0]), digit(after[1])
		}
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("its %% is not followed by two hexadecimal digits")
		}
		b.WriteByte(byte(hi<<4 | lo))
		s = after[2:]
	}
}

func digit(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }

func parseURL(s, rest string) (Ref, error) {
	rest, ok := strings.CutPrefix(rest, "//")
	host, path, _ := strings.Cut(rest, "/")
	path, _, _ = strings.Cut(path, "#")
	path, _, _ = strings.Cut(path, "?")
	switch {
	case !ok || host == "" || strings.ContainsAny(host, "?#"):
		return Ref{}, fmt.Errorf("no host after the scheme")
	case strings.ContainsFunc(s, unicode.IsSpace):
		return Ref{}, fmt.Errorf("a URL has no spaces")
	case !strings.HasSuffix(path, ".aci"):
		return Ref{}, hint.Wrap(fmt.Errorf("a URL must end in .aci"), "images in a registry are named docker://HOST/NAME")
	}
	return Ref{Kind: ACIURL, Text: s}, nil
}

// parseName only keeps out what can be no name; discovery and registries each
// have a grammar of their own.
func parseName(s string) (Ref, error) {
	const more = "-._~/:,=@+" // between and after letters and digits
	for i, c := range s {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune(more, c)) {
			return Ref{}, fmt.Errorf("a name has no %q there", c)
		}
	}
	if strings.HasSuffix(s, ":") || strings.HasSuffix(s, "/") {
		return Ref{}, fmt.Errorf("nothing follows its last %q", s[len(s)-1:])
	}
	return Ref{Kind: Name, Text: s}, nil
}

// Abs is r with its path, if it has one, made absolute against cwd.
func (r Ref) Abs(cwd string) Ref {
	if r.Path != "" {
		if !filepath.IsAbs(r.Path) {
			r.Path = filepath.Join(cwd, r.Path)
		}
		r.Path = filepath.Clean(r.Path)
	}
	return r
}

// String is r as a user would type it, all defaults spelled out; Parse of it
// gives r again.
func (r Ref) String() string {
	switch r.Kind {
	case ID:
		return r.ID
	case Docker:
		s := "docker://" + r.Registry + "/" + r.Repository
		if r.Tag != "" {
			s += ":" + r.Tag
		}
		if r.Digest != "" {
			s += "@" + r.Digest
		}
		return s
	case OCILayout, OCIArchive, DockerArchive:
		s := string(r.Kind) + ":" + r.Path
		if r.Inner != "" {
			s += ":" + r.Inner
		}
		return s
	case ACIFile:
		if !isPath(r.Path) {
			return "./" + r.Path
		}
		return r.Path
	}
	return r.Text
}

// Canonical is the one spelling under which the store knows r. Paths must be
// absolute for it, see Abs. A digest makes the tag irrelevant:
//
//	docker://registry-1.docker.io/library/busybox:latest
//	docker://quay.io/coreos/etcd@sha256:…
//	oci:/srv/images/app:v1
//	file:///srv/app.aci
func (r Ref) Canonical() string {
	switch r.Kind {
	case Docker:
		if r.Digest != "" {
			r.Tag = ""
		}
	case ACIFile:
		return "file://" + r.Path
	}
	return r.String()
}

// Display is a canonical name as tables show it: rkt never printed the scheme
// of what came from a registry.
func Display(canonical string) string { return strings.TrimPrefix(canonical, "docker://") }
