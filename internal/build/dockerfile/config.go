// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/image/ociconfig"
)

// imageConfig is an image's configuration (image-spec 1.1, config.md) with
// Docker's additions.
type imageConfig struct {
	Created *time.Time `json:"created,omitempty"`
	Author  string     `json:"author,omitempty"`
	ociconfig.Platform
	OSVersion string           `json:"os.version,omitempty"`
	Config    process          `json:"config"`
	RootFS    rootFS           `json:"rootfs"`
	History   []ociconfig.Step `json:"history,omitempty"`
}

type rootFS struct {
	Type    string         `json:"type"`
	DiffIDs []image.Digest `json:"diff_ids"`
}

type process struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	ArgsEscaped  bool                `json:"ArgsEscaped,omitempty"`
	Healthcheck  *healthcheck        `json:"Healthcheck,omitempty"`
	OnBuild      []string            `json:"OnBuild,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
}

type healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// decodeConfig reads a base image's configuration, which the store has proven to
// be the one that belongs to the image.
func decodeConfig(b []byte) (c imageConfig, err error) {
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("cannot read the image's configuration: %w", err)
	}
	layers := 0
	for _, h := range c.History {
		if !h.Empty {
			layers++
		}
	}
	if len(c.History) > 0 && layers != len(c.RootFS.DiffIDs) {
		c.History = nil
	}
	if len(c.History) == 0 { // readers count: one line for each layer
		for range c.RootFS.DiffIDs {
			c.note(c.Created, "", false)
		}
	}
	return c, nil
}

// defaultPath is what an image without PATH gets, as Docker's.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// scratch is the configuration that FROM scratch begins with.
func scratch(p ociconfig.Platform) imageConfig {
	return imageConfig{Platform: p, Config: process{Env: []string{"PATH=" + defaultPath}, WorkingDir: "/"}, RootFS: rootFS{Type: "layers"}}
}

// note adds a line to the history.
func (c *imageConfig) note(at *time.Time, by string, empty bool) {
	c.History = append(c.History, ociconfig.Step{Created: at, CreatedBy: by, Empty: empty})
}
