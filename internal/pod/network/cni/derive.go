// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"maps"
)

// request is what a plugin reads: its configuration with what rkt has to add
// (the specification's section 3). The plugin's own keys pass through as they
// are. That includes capabilities, which the specification wants removed: every
// runtime built on its own library passes them, and plugins that delegate to
// others hand them on.
type request struct {
	network, version string
	previous         json.RawMessage // nil: none
	capabilities     Capabilities
	// attachments that are still good, for GC; nil: not said
	attachments []ValidAttachment
}

// ValidAttachment names an attachment to a plugin that collects garbage.
type ValidAttachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

func (r *request) encode(p *Plugin) ([]byte, error) {
	conf := maps.Clone(p.conf)
	set := func(key string, v any) (err error) {
		conf[key], err = json.Marshal(v)
		return err
	}
	if err := set("name", r.network); err != nil {
		return nil, err
	}
	if err := set("cniVersion", r.version); err != nil {
		return nil, err
	}
	if r.previous != nil {
		conf["prevResult"] = r.previous
	}
	given := Capabilities{}
	for _, name := range p.Capabilities {
		if v, ok := r.capabilities[name]; ok {
			given[name] = v
		}
	}
	if len(given) > 0 {
		if err := set("runtimeConfig", given); err != nil {
			return nil, err
		}
	}
	if r.attachments != nil {
		// The second is the name that the specification had by mistake.
		for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
			if err := set(key, r.attachments); err != nil {
				return nil, err
			}
		}
	}
	return json.Marshal(conf)
}
