// SPDX-License-Identifier: Apache-2.0

// Package aci holds the types of App Container images (appc 0.8.11): the image
// manifest, and those of its parts that pod manifests share; their validation;
// and what rkt keeps of such an image. It does no I/O.
package aci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Kind is acKind of an image manifest.
const Kind = "ImageManifest"

// Version is the version of the specification that this package follows. Any
// semantic version is read.
const Version = "0.8.11"

// MaxManifest bounds an image manifest, bytes.
const MaxManifest = 4 << 20

// ImageManifest describes an image ("Image Manifest Schema").
type ImageManifest struct {
	ACKind        string       `json:"acKind"`
	ACVersion     string       `json:"acVersion"`
	Name          ACIdentifier `json:"name"`
	Labels        Labels       `json:"labels,omitempty"`
	App           *App         `json:"app,omitempty"`
	Annotations   Annotations  `json:"annotations,omitempty"`
	Dependencies  []Dependency `json:"dependencies,omitempty"`
	PathWhitelist []string     `json:"pathWhitelist,omitempty"`
}

// Dependency is an image whose tree lies under this one's.
type Dependency struct {
	ImageName ACIdentifier `json:"imageName"`
	ImageID   string       `json:"imageID,omitempty"` // "sha512-<hex>"
	Labels    Labels       `json:"labels,omitempty"`
	Size      uint64       `json:"size,omitempty"` // bytes
}

// Parse reads and checks an image manifest. Unknown fields are ignored, as the
// specification wants.
func Parse(raw []byte) (*ImageManifest, error) {
	m := new(ImageManifest)
	err := decode(raw, m)
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read ACI manifest: %w", err)
	}
	return m, nil
}

func decode(raw []byte, v any) error {
	if len(raw) > MaxManifest {
		return fmt.Errorf("it is longer than %d bytes", MaxManifest)
	}
	err := json.Unmarshal(raw, v)
	offset := int64(-1)
	if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
		offset = se.Offset
	}
	if te := (*json.UnmarshalTypeError)(nil); errors.As(err, &te) {
		offset = te.Offset
		err = fmt.Errorf("%q cannot be a %s", te.Field, te.Value)
	}
	if offset >= 0 {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(raw[:min(offset, int64(len(raw)))], []byte("\n")), err)
	}
	return err
}

// Validate checks m against the specification.
func (m *ImageManifest) Validate() error {
	if m.ACKind != Kind {
		return fmt.Errorf("acKind is %q, not %q", m.ACKind, Kind)
	}
	if !isSemVer(m.ACVersion) {
		return fmt.Errorf("acVersion %q is not a version such as %s", m.ACVersion, Version)
	}
	if m.Name == "" {
		return errors.New("it has no name")
	}
	if err := m.Name.Validate(); err != nil {
		return err
	}
	if err := m.Labels.Validate(); err != nil {
		return err
	}
	if err := m.Annotations.Validate(); err != nil {
		return err
	}
	if m.App != nil {
		if err := m.App.Validate(); err != nil {
			return fmt.Errorf("app: %w", err)
		}
	}
	for _, d := range m.Dependencies {
		if err := d.validate(); err != nil {
			return fmt.Errorf("dependency %q: %w", d.ImageName, err)
		}
	}
	for _, p := range m.PathWhitelist {
		if !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) {
			return fmt.Errorf("pathWhitelist has %q, which is no absolute path", p)
		}
	}
	return nil
}

func (d Dependency) validate() error {
	if err := d.ImageName.Validate(); err != nil {
		return err
	}
	if d.ImageID != "" {
		hexa, ok := strings.CutPrefix(d.ImageID, "sha512-")
		if !ok || len(hexa) < 2 || len(hexa) > 128 || strings.Trim(hexa, "0123456789abcdef") != "" {
			return fmt.Errorf("imageID %q is not sha512-<hex>", d.ImageID)
		}
	}
	return d.Labels.Validate()
}

// DisplayName is name:version, as rkt always showed images.
func (m *ImageManifest) DisplayName() string {
	if v, ok := m.Labels.Get("version"); ok && v != "" {
		return string(m.Name) + ":" + v
	}
	return string(m.Name)
}
