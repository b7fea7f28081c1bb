// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rkt/rkt/internal/image"
)

// Step is one line of an image's history (image-spec 1.1, config.md, "history"),
// with the layer it made.
type Step struct {
	Created   *time.Time   `json:"created,omitempty"`
	CreatedBy string       `json:"created_by,omitempty"`
	Author    string       `json:"author,omitempty"`
	Comment   string       `json:"comment,omitempty"`
	Empty     bool         `json:"empty_layer,omitempty"`
	Layer     *Descriptor  `json:"-"` // nil if it made none, or the history is at odds with the manifest
	DiffID    image.Digest `json:"-"`
}

// History lists how an image came to be, oldest first. Layers that the history
// does not tell of have lines of their own, without anything else in them: an
// image may lack a history, or have one that is a stranger's invention.
func History(m Manifest, rawConfig []byte) ([]Step, error) {
	var c struct {
		History []Step `json:"history"`
		RootFS  struct {
			DiffIDs []image.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if len(rawConfig) > MaxDocument {
		return nil, fmt.Errorf("cannot read image configuration: it is longer than %d bytes", MaxDocument)
	}
	if err := json.Unmarshal(rawConfig, &c); err != nil {
		return nil, fmt.Errorf("cannot read image configuration: %w", err)
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("cannot read image: its manifest has %d layers, its configuration %d", len(m.Layers), len(c.RootFS.DiffIDs))
	}
	next := 0
	give := func(s *Step) {
		if next < len(m.Layers) {
			s.Layer, s.DiffID = &m.Layers[next], c.RootFS.DiffIDs[next]
			next++
		}
	}
	for i := range c.History {
		if !c.History[i].Empty {
			give(&c.History[i])
		}
	}
	for next < len(m.Layers) {
		var s Step
		give(&s)
		c.History = append(c.History, s)
	}
	return c.History, nil
}
