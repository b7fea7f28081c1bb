// SPDX-License-Identifier: Apache-2.0

// Package ociconfig reads OCI and Docker schema 2 images: indexes, manifests
// and configurations (image-spec 1.1: image-index.md, manifest.md, config.md;
// Docker's image manifest version 2, schema 2), and turns them into what rkt
// keeps of an image. It does no I/O: whoever calls has proven that the bytes
// are those of the digest asked for, but they are still a stranger's.
//
// HEALTHCHECK and ONBUILD are Docker's additions to the configuration. rkt
// restarts nothing and builds nothing here, so they have no effect.
package ociconfig

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
)

// The media types of documents.
const (
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	OCIConfig      = "application/vnd.oci.image.config.v1+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"

	schema1       = "application/vnd.docker.distribution.manifest.v1+json"
	schema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Bounds on what is read.
const (
	MaxDocument = 4 << 20 // bytes of an index, manifest or configuration
	MaxLayers   = 500     // as many as overlayfs stacks
)

// Descriptor points to a blob (image-spec 1.1, descriptor.md).
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       image.Digest      `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *Platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

func (d Descriptor) check() error {
	if _, err := image.ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%s has a size of %d bytes", d.Digest, d.Size)
	}
	return nil
}

// IsIndex says whether a media type is that of an index or manifest list.
func IsIndex(mediaType string) bool { return mediaType == OCIIndex || mediaType == DockerList }

// IsManifest says whether a media type is that of an image manifest.
func IsManifest(mediaType string) bool {
	return mediaType == OCIManifest || mediaType == DockerManifest
}

// MediaType finds out what a document is: raw says so itself, or declared does
// (a Content-Type, or the media type of the descriptor that led here). The two
// must not contradict each other, nor the document's own form, lest two programs
// take it for two things (CVE-2021-41190). Schema 1 is refused.
func MediaType(raw []byte, declared string) (string, error) {
	t, err := mediaType(raw, declared)
	if err != nil {
		return "", fmt.Errorf("cannot read image manifest: %w", err)
	}
	return t, nil
}

func mediaType(raw []byte, declared string) (string, error) {
	if len(raw) > MaxDocument {
		return "", fmt.Errorf("it is longer than %d bytes", MaxDocument)
	}
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", err
	}
	declared, _, _ = strings.Cut(declared, ";")
	declared = strings.ToLower(strings.TrimSpace(declared))
	for _, t := range []string{declared, m.MediaType} {
		if t == schema1 || t == schema1Signed {
			return "", errSchema1()
		}
	}
	if m.SchemaVersion == 1 || m.FSLayers != nil {
		return "", errSchema1()
	}
	index, manifest := m.Manifests != nil, m.Config != nil || m.Layers != nil
	t := m.MediaType
	if t == "" {
		t = declared
	}
	switch {
	case index && manifest:
		return "", fmt.Errorf("it is an index and a manifest at once")
	case m.MediaType != "" && (IsIndex(declared) || IsManifest(declared)) && declared != m.MediaType:
		return "", fmt.Errorf("it calls itself %q, but was announced as %q", m.MediaType, declared)
	case IsIndex(t) && manifest, IsManifest(t) && index:
		return "", fmt.Errorf("it is not what its media type %q says", t)
	case IsIndex(t), IsManifest(t):
		return t, nil
	case m.MediaType != "":
		return "", fmt.Errorf("it is of type %q, which is no image", m.MediaType)
	case index:
		return OCIIndex, nil
	case manifest:
		return OCIManifest, nil
	}
	return "", fmt.Errorf("it is neither an index nor a manifest")
}

func errSchema1() error {
	return hint.Wrap(fmt.Errorf("it is of Docker's schema 1, which no current program makes"),
		"push the image again with a current docker, podman or skopeo")
}

// Index lists manifests, mostly of one image for several platforms.
type Index struct {
	MediaType   string            `json:"mediaType"`
	Manifests   []Descriptor      `json:"manifests"`
	Annotations map[string]string `json:"annotations"`
}

// ParseIndex reads an OCI index or a Docker manifest list; declared is as for
// MediaType.
func ParseIndex(raw []byte, declared string) (Index, error) {
	x, err := parseIndex(raw, declared)
	if err != nil {
		return Index{}, fmt.Errorf("cannot read image index: %w", err)
	}
	return x, nil
}

func parseIndex(raw []byte, declared string) (x Index, err error) {
	t, err := mediaType(raw, declared)
	if err != nil {
		return x, err
	}
	if !IsIndex(t) {
		return x, fmt.Errorf("it is of type %q", t)
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return x, err
	}
	x.MediaType = t
	for _, d := range x.Manifests {
		if err := d.check(); err != nil {
			return x, err
		}
	}
	return x, nil
}

// Manifest is an image's list of blobs.
type Manifest struct {
	MediaType   string
	Config      Descriptor        `json:"config"`
	Layers      []Descriptor      `json:"layers"` // lowest first
	Annotations map[string]string `json:"annotations"`
}

// ParseManifest reads an OCI or Docker schema 2 manifest of a container image;
// declared is as for MediaType. It refuses what rkt could not run: other
// artifacts, and layers that are foreign, encrypted or of unknown type.
func ParseManifest(raw []byte, declared string) (Manifest, error) {
	m, err := parseManifest(raw, declared)
	if err != nil {
		return Manifest{}, fmt.Errorf("cannot read image manifest: %w", err)
	}
	return m, nil
}

func parseManifest(raw []byte, declared string) (m Manifest, err error) {
	t, err := mediaType(raw, declared)
	if err != nil {
		return m, err
	}
	if !IsManifest(t) {
		return m, fmt.Errorf("it is of type %q", t)
	}
	var doc struct {
		Manifest
		ArtifactType string `json:"artifactType"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return m, err
	}
	m = doc.Manifest
	m.MediaType = t
	if ct := m.Config.MediaType; ct != OCIConfig && ct != DockerConfig {
		if doc.ArtifactType != "" {
			ct = doc.ArtifactType
		}
		return m, fmt.Errorf("it is no container image, but of type %q", ct)
	}
	if err := m.Config.check(); err != nil {
		return m, fmt.Errorf("configuration: %w", err)
	}
	if m.Config.Size > MaxDocument {
		return m, fmt.Errorf("its configuration is longer than %d bytes", MaxDocument)
	}
	if len(m.Layers) > MaxLayers {
		return m, fmt.Errorf("it has %d layers; overlayfs stacks %d", len(m.Layers), MaxLayers)
	}
	for i, l := range m.Layers {
		if err := l.check(); err != nil {
			return m, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if err := checkLayerType(l.MediaType); err != nil {
			return m, fmt.Errorf("layer %d %w", i+1, err)
		}
	}
	return m, nil
}

func checkLayerType(t string) error {
	base, compression, _ := strings.Cut(t, "+")
	switch {
	case strings.HasPrefix(base, "application/vnd.oci.image.layer.nondistributable."),
		strings.HasPrefix(t, "application/vnd.docker.image.rootfs.foreign."):
		return hint.Wrap(fmt.Errorf("is foreign: it is not kept in the registry"),
			"only Windows images have such layers")
	case strings.HasSuffix(t, "+encrypted"):
		return fmt.Errorf("is encrypted")
	case base == "application/vnd.oci.image.layer.v1.tar" && (compression == "" || compression == "gzip" || compression == "zstd"):
		return nil
	}
	switch t {
	case "application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":
		return nil
	}
	return fmt.Errorf("is of unknown type %q", t)
}
