// SPDX-License-Identifier: Apache-2.0

// Package image is the noun of the first room: what rkt knows about an image
// once it is stored. It does no I/O.
package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Digest is an OCI digest, "sha256:<hex>" or "sha512:<hex>" (image-spec 1.1,
// descriptor.md, "Digests"). A Digest that came out of ParseDigest is safe to
// use as a path element after Key.
type Digest string

// ParseDigest accepts exactly the two registered algorithms with lower-case
// hexadecimal of the right length.
func ParseDigest(s string) (Digest, error) {
	algo, hexa, ok := strings.Cut(s, ":")
	want := map[string]int{"sha256": 64, "sha512": 128}[algo]
	if !ok || want == 0 || len(hexa) != want || strings.ToLower(hexa) != hexa {
		return "", fmt.Errorf("cannot parse digest %q: want sha256:<64 hex> or sha512:<128 hex>", s)
	}
	if _, err := hex.DecodeString(hexa); err != nil {
		return "", fmt.Errorf("cannot parse digest %q: not hexadecimal", s)
	}
	return Digest(s), nil
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Hex is the part after the colon.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// ID is the digest in the form users see and files are named by.
func (d Digest) ID() ID { return ID(d.Algorithm() + "-" + d.Hex()) }

// ID names a stored image: "sha256-<hex>" is the digest of its OCI or Docker
// manifest, "sha512-<hex>" that of an ACI's uncompressed tar (appc 0.8.11,
// "Image ID").
type ID string

// Digest is the same name in OCI's spelling.
func (id ID) Digest() Digest { return Digest(strings.Replace(string(id), "-", ":", 1)) }

// Short is the ID with twelve hexadecimal digits, for tables.
func (id ID) Short() string {
	algo, hexa, _ := strings.Cut(string(id), "-")
	if len(hexa) > 12 {
		hexa = hexa[:12]
	}
	return algo + "-" + hexa
}

// Format is the specification an image was made after.
type Format string

// The formats rkt stores.
const (
	OCI Format = "oci" // OCI and Docker schema 2 images, kept byte for byte
	ACI Format = "aci" // appc images
)

// Trust says on what ground an image's bytes are believed.
type Trust string

// The grounds. An image with TrustNone runs only under --insecure-options=image.
const (
	TrustNone      Trust = ""          // nothing vouches for it
	TrustDigest    Trust = "digest"    // the user named it by its full digest
	TrustSignature Trust = "signature" // a trusted key signed it
	// TrustPolicy is never stored: it holds as long as the policy says so.
	TrustPolicy Trust = "policy" // the administrator accepts images of that name as they are
)

// The kinds of Signer.
const (
	OpenPGP = "openpgp" // Key is the primary key's fingerprint, 40 hexadecimal digits
	Cosign  = "cosign"  // Key is "sha256:" and the digest of the public key (DER, SubjectPublicKeyInfo)
)

// Signer is a key on whose word an image was believed when it was fetched.
type Signer struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	Name string `json:"name"` // what the image was called then: appc name, or host/repository
	// Tag is the tag in what was signed; "" if it names none, so all are meant.
	// An ACI's labels are in the file itself, and so under its signature.
	Tag string `json:"tag,omitempty"`
}

// Need is an image that another one depends on, and so stands on.
type Need struct {
	SignedBy []Signer `json:"signedBy"`
}

// Layer is one read-only tree of an image.
type Layer struct {
	Blob      Digest `json:"blob"`      // the blob it came from, as stored
	MediaType string `json:"mediaType"` // of the blob
	Size      int64  `json:"size"`      // of the blob, bytes
	DiffID    Digest `json:"diffID"`    // of the uncompressed tar; names the tree in layers/
	TreeSize  int64  `json:"treeSize"`  // of the tree, bytes of file content
}

// Record is what the store keeps of an image beside its blobs: all that the
// start path needs, so that `rkt run` reads one small file and hashes nothing.
type Record struct {
	ID          ID                `json:"id"`
	Format      Format            `json:"format"`
	Name        string            `json:"name,omitempty"` // an ACI's, by its manifest
	Names       []string          `json:"names"`          // canonical references, newest first
	Trust       Trust             `json:"trust,omitempty"`
	SignedBy    []Signer          `json:"signedBy,omitempty"`
	Needs       []Need            `json:"needs,omitempty"` // an ACI's: the images under it
	Manifest    Digest            `json:"manifest"`        // blob: OCI/Docker manifest, or the ACI's manifest JSON
	MediaType   string            `json:"mediaType"`       // of Manifest
	Imported    time.Time         `json:"imported"`
	Layers      []Layer           `json:"layers"`           // lowest first, as in the manifest
	Parts       []Layer           `json:"parts,omitempty"`  // an ACI's, if its layers are rendered from others: those
	App         *App              `json:"app,omitempty"`    // nil: an ACI without an app section
	Labels      map[string]string `json:"labels,omitempty"` // os, arch, version …
	Annotations map[string]string `json:"annotations,omitempty"`

	// Claimed, which is not stored: the record, or the name it was found by, was
	// written by somebody whom this process has no reason to believe. Nothing of
	// it is proven but, once a manifest of that digest is read, its ID.
	Claimed bool `json:"-"`
}

// Own is an ACI's own file among its layers, or those they are rendered from.
func (rec *Record) Own() (Layer, bool) {
	for _, l := range slices.Concat(rec.Layers, rec.Parts) {
		if l.DiffID.ID() == rec.ID {
			return l, true
		}
	}
	return Layer{}, false
}

// MergedTree names the tree that has all of an image's (package tree, Merged); ""
// for one that has at most one.
func (rec *Record) MergedTree() Digest {
	if len(rec.Layers) < 2 {
		return ""
	}
	h := sha256.New()
	h.Write([]byte("rkt merged tree 1\n")) // never what a layer's tar begins with
	for _, l := range rec.Layers {
		h.Write([]byte(l.DiffID + "\n"))
	}
	return Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// App is how an image asks to be run: appc's App and OCI's config in one form.
type App struct {
	Name              string            `json:"name,omitempty"`       // appc image name, for the app's default name
	Entrypoint        []string          `json:"entrypoint,omitempty"` // OCI Entrypoint; appc exec
	Cmd               []string          `json:"cmd,omitempty"`        // OCI Cmd; replaced by arguments after --
	User              string            `json:"user,omitempty"`       // "", name, number, or /path; OCI's user:group is split
	Group             string            `json:"group,omitempty"`
	SupplementaryGIDs []int             `json:"supplementaryGIDs,omitempty"`
	WorkingDir        string            `json:"workingDir,omitempty"`
	Environment       []string          `json:"environment,omitempty"` // K=V, in the image's order
	Mounts            []MountPoint      `json:"mounts,omitempty"`
	Ports             []Port            `json:"ports,omitempty"`
	Isolators         []Isolator        `json:"isolators,omitempty"`
	StopSignal        string            `json:"stopSignal,omitempty"` // "" is SIGTERM
	EventHandlers     []EventHandler    `json:"eventHandlers,omitempty"`
	UserAnnotations   map[string]string `json:"userAnnotations,omitempty"`
	UserLabels        map[string]string `json:"userLabels,omitempty"`
}

// MountPoint is a place where the image wants a volume.
type MountPoint struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// KeepContent: what the image has at Path must be seen in an implicit
	// volume (Docker's VOLUME); appc mount points start empty.
	KeepContent bool `json:"keepContent,omitempty"`
}

// Port is a port the image says it listens on.
type Port struct {
	Name            string `json:"name"`
	Protocol        string `json:"protocol"`
	Port            uint   `json:"port"`
	Count           uint   `json:"count,omitempty"`
	SocketActivated bool   `json:"socketActivated,omitempty"`
}

// Isolator is an appc isolator, its value left as JSON text.
type Isolator struct {
	Name  string `json:"name"`
	Value Raw    `json:"value,omitempty"`
}

// EventHandler is an appc pre-start or post-stop command.
type EventHandler struct {
	Name string   `json:"name"`
	Exec []string `json:"exec"`
}

// Raw is JSON kept as it came.
type Raw []byte

// MarshalJSON returns r itself; an empty r is null.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of b.
func (r *Raw) UnmarshalJSON(b []byte) error { *r = append((*r)[:0], b...); return nil }
