// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxPlugins bounds a network's chain.
const maxPlugins = 64

// A Network is a configuration: a chain of plugins with a name.
type Network struct {
	Name string
	// Versions are those of the specification that the configuration agrees to
	// and rkt speaks, rising; at least one.
	Versions     []string
	DisableCheck bool
	DisableGC    bool
	Plugins      []Plugin
	// File is where it came from; "" if not from a file.
	File string
	// Foreign: the file lies in a directory that is not rkt's alone. Others may
	// have attachments to the network that rkt knows nothing of.
	Foreign bool

	// more: plugins may be added from a directory of the network's name.
	more bool
}

// A Plugin is one program of a chain and its configuration.
type Plugin struct {
	Type         string
	IPAM         string   // type of the plugin that hands out addresses, or ""
	Capabilities []string // arguments it declares to take, sorted
	// conf is the configuration as it was written, keys in any order.
	conf map[string]json.RawMessage
}

// Capable tells whether a plugin of the chain takes the capability argument.
func (n *Network) Capable(capability string) bool {
	return slices.ContainsFunc(n.Plugins, func(p Plugin) bool { return slices.Contains(p.Capabilities, capability) })
}

// Kind is the type of the first plugin, the one that makes the interface.
func (n *Network) Kind() string { return n.Plugins[0].Type }

// ParseList reads a network list (.conflist). One without plugins is good only
// with those of its directory (see Load).
func ParseList(text []byte) (*Network, error) {
	keys, err := object(text)
	if err != nil {
		return nil, err
	}
	n, err := header(keys)
	if err != nil {
		return nil, err
	}
	var only bool
	for key, to := range map[string]*bool{"disableCheck": &n.DisableCheck, "disableGC": &n.DisableGC, "loadOnlyInlinedPlugins": &only} {
		if err := boolean(keys, key, to); err != nil {
			return nil, err
		}
	}
	n.more = !only
	list, ok := keys["plugins"]
	if !ok {
		if only {
			return nil, errors.New("loadOnlyInlinedPlugins is true, and plugins is missing")
		}
		return n, nil
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(list, &raw); err != nil {
		return nil, fmt.Errorf("plugins: %w", err)
	}
	if len(raw) == 0 {
		return nil, errors.New("plugins is empty")
	}
	if len(raw) > maxPlugins {
		return nil, fmt.Errorf("plugins has more than %d entries", maxPlugins)
	}
	for i, text := range raw {
		keys, err := object(text)
		if err != nil {
			return nil, fmt.Errorf("plugins[%d]: %w", i, err)
		}
		p, err := plugin(keys)
		if err != nil {
			return nil, fmt.Errorf("plugins[%d]: %w", i, err)
		}
		n.Plugins = append(n.Plugins, p)
	}
	return n, nil
}

// ParseSingle reads a single configuration (.conf, .json), as rkt's net.d
// always held them: a network of one plugin. One with a list of plugins is read
// as a list.
func ParseSingle(text []byte) (*Network, error) {
	keys, err := object(text)
	if err != nil {
		return nil, err
	}
	if _, list := keys["plugins"]; list {
		return ParseList(text)
	}
	n, err := header(keys)
	if err != nil {
		return nil, err
	}
	p, err := plugin(keys)
	if err != nil {
		return nil, err
	}
	n.Plugins = []Plugin{p}
	return n, nil
}

// object reads one JSON object and nothing after it.
func object(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	var keys map[string]json.RawMessage
	if err := d.Decode(&keys); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, err
	}
	if keys == nil {
		return nil, errors.New("it is null, not an object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON document")
	}
	return keys, nil
}

// header reads a network's name and versions.
func header(keys map[string]json.RawMessage) (*Network, error) {
	n := new(Network)
	if err := text(keys, "name", &n.Name); err != nil {
		return nil, err
	}
	if n.Name == "" {
		return nil, errors.New("name is missing")
	}
	if !ValidName(n.Name) {
		return nil, fmt.Errorf("name %q is not letters, digits, _, . and - after a letter or digit", n.Name)
	}
	var v string
	if err := text(keys, "cniVersion", &v); err != nil {
		return nil, err
	}
	raw, several := keys["cniVersions"]
	if !several {
		if v == "" {
			v = "0.1.0" // as configurations were before they had versions
		}
		if err := known(v); err != nil {
			return nil, err
		}
		n.Versions = []string{v}
		return n, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("cniVersions: %w", err)
	}
	if v != "" {
		list = append(list, v)
	}
	for _, v := range Versions() {
		if slices.Contains(list, v) {
			n.Versions = append(n.Versions, v)
		}
	}
	if n.Versions == nil {
		return nil, fmt.Errorf("cniVersions %q has none that rkt speaks (%s)", list, strings.Join(Versions(), ", "))
	}
	return n, nil
}

// plugin reads a plugin's configuration.
func plugin(keys map[string]json.RawMessage) (Plugin, error) {
	p := Plugin{conf: keys}
	if err := text(keys, "type", &p.Type); err != nil {
		return p, err
	}
	if p.Type == "" {
		return p, errors.New("type is missing")
	}
	if !validType(p.Type) {
		return p, fmt.Errorf("type %q is not the name of a file", p.Type)
	}
	for key := range keys {
		// These would make a plugin believe that rkt said what the file says.
		if key == "runtimeConfig" || key == "prevResult" || strings.HasPrefix(key, "cni.dev/") {
			return p, fmt.Errorf("%s is the runtime's to set", key)
		}
	}
	if raw, ok := keys["capabilities"]; ok {
		var all map[string]bool
		if err := json.Unmarshal(raw, &all); err != nil {
			return p, fmt.Errorf("capabilities: %w", err)
		}
		for name, on := range all {
			if on {
				p.Capabilities = append(p.Capabilities, name)
			}
		}
		slices.Sort(p.Capabilities)
	}
	// What is in ipam is the plugin's own affair: no type, or another form, is
	// not an error of ours.
	if raw, ok := keys["ipam"]; ok {
		var ipam struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(raw, &ipam) == nil {
			p.IPAM = ipam.Type
		}
	}
	return p, nil
}

// text reads a string member; none is "".
func text(keys map[string]json.RawMessage, key string, to *string) error {
	raw, ok := keys[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%s is not a string", key)
	}
	return nil
}

// boolean reads a member that is true or false; "true" and "false" are found in
// the field, too.
func boolean(keys map[string]json.RawMessage, key string, to *bool) error {
	raw, ok := keys[key]
	if !ok {
		return nil
	}
	switch strings.ToLower(strings.Trim(string(raw), `"`)) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return fmt.Errorf("%s is neither true nor false", key)
	}
	return nil
}

// MarshalJSON is the network as a list that ParseList reads again, but for what
// it says of its origin.
func (n *Network) MarshalJSON() ([]byte, error) {
	plugins := make([]map[string]json.RawMessage, len(n.Plugins))
	for i, p := range n.Plugins {
		plugins[i] = p.conf
	}
	return json.Marshal(struct {
		Versions     []string                     `json:"cniVersions"`
		Name         string                       `json:"name"`
		DisableCheck bool                         `json:"disableCheck,omitempty"`
		DisableGC    bool                         `json:"disableGC,omitempty"`
		Only         bool                         `json:"loadOnlyInlinedPlugins"`
		Plugins      []map[string]json.RawMessage `json:"plugins"`
	}{n.Versions, n.Name, n.DisableCheck, n.DisableGC, true, plugins})
}
