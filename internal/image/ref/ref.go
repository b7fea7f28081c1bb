// SPDX-License-Identifier: Apache-2.0

// Package ref parses and prints the strings by which users name images. It is
// pure: nothing is looked up, no file is touched.
package ref

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
	// Docker: fully expanded, e.g. registry-1.docker.io, library/busybox.
	Registry, Repository, Tag string
	// Docker: the digest asked for ("sha256:…") or "".
	Digest string
	// Layouts, archives and files: an absolute or cwd-relative path as typed.
	Path string
	// Layouts and archives: the ref name inside, or "".
	Inner string
	// ACIURL, Name: the text as typed.
	Text string
}
