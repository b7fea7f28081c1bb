// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rkt/rkt/internal/linux/atomicfile"
)

// A Record is an attachment of a pod to a network, complete: what CHECK and DEL
// need is in it, whatever has become of the network's configuration since.
type Record struct {
	Network *Network
	// Version of the specification in which the plugins are spoken to.
	Version     string
	ContainerID string
	IfName      string
	NetNS       string   // path, as ADD had it
	Path        []string // where the plugins were looked for
	Args        [][2]string
	Capabilities
	// Result is what ADD's last plugin printed, in Version; nil until then.
	Result json.RawMessage
	// HostIndex is the interface on the host that goes when the pod's namespace
	// does; 0: none, or not known.
	HostIndex int
	// Deleted are the indexes of plugins that have given back.
	Deleted []int
	// Deleting, if not 0, is one more than the index of the plugin whose DEL was
	// begun by a process that did not come to its end.
	Deleting int

	// keep stores the record; nil does not.
	keep func() error
}

// note stores the record, if there is a place for it.
func (r *Record) note() error {
	if r.keep == nil {
		return nil
	}
	return r.keep()
}

// recordFormat is the version of a record's form.
const recordFormat = 1

// stored is a record as it lies in a file.
type stored struct {
	Format       int             `json:"format"`
	File         string          `json:"file"`
	Foreign      bool            `json:"foreign,omitempty"`
	Network      json.RawMessage `json:"network"`
	Version      string          `json:"cniVersion"`
	ContainerID  string          `json:"containerID"`
	IfName       string          `json:"ifName"`
	NetNS        string          `json:"netns"`
	Path         []string        `json:"path,omitempty"`
	Args         [][2]string     `json:"args,omitempty"`
	Capabilities Capabilities    `json:"capabilityArgs,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
	HostIndex    int             `json:"hostIndex,omitempty"`
	Deleted      []int           `json:"deleted,omitempty"`
	Deleting     int             `json:"deleting,omitempty"`
}

// Encode is the record as a file's content.
func (r *Record) Encode() ([]byte, error) {
	network, err := json.Marshal(r.Network)
	if err != nil {
		return nil, err
	}
	return json.Marshal(stored{recordFormat, r.Network.File, r.Network.Foreign, network, r.Version, r.ContainerID, r.IfName, r.NetNS, r.Path,
		r.Args, r.Capabilities, r.Result, r.HostIndex, r.Deleted, r.Deleting})
}

// DecodeRecord reads what Encode wrote.
func DecodeRecord(text []byte) (*Record, error) {
	var s stored
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	if s.Format != recordFormat {
		return nil, fmt.Errorf("format %d is not known", s.Format)
	}
	n, err := ParseList(s.Network)
	if err != nil {
		return nil, err
	}
	n.File, n.Foreign = s.File, s.Foreign
	r := &Record{Network: n, Version: s.Version, ContainerID: s.ContainerID, IfName: s.IfName, NetNS: s.NetNS, Path: s.Path, Args: s.Args,
		Capabilities: s.Capabilities, Result: s.Result, HostIndex: s.HostIndex, Deleted: s.Deleted, Deleting: s.Deleting}
	if len(n.Plugins) == 0 {
		return nil, errors.New("its network has no plugins")
	}
	if err := known(r.Version); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Result != nil {
		if _, err := r.Outcome(); err != nil {
			return nil, fmt.Errorf("result: %w", err)
		}
	}
	return r, nil
}

// check refuses what the specification does not allow as parameters.
func (r *Record) check() error {
	if !ValidName(r.ContainerID) {
		return fmt.Errorf("container ID %q cannot be one", r.ContainerID)
	}
	if !validInterface(r.IfName) {
		return fmt.Errorf("interface %q cannot be one", r.IfName)
	}
	return nil
}

// Outcome is the result of ADD; nil if it has not come to one.
func (r *Record) Outcome() (*Result, error) {
	if r.Result == nil {
		return nil, nil
	}
	res, _, err := DecodeResult(r.Result, r.Version)
	return res, err
}

// moved is the result with the pod's namespace by the path it has now: plugins
// compare it with CNI_NETNS, and a path by process changes with the process.
func (r *Record) moved(netns string) (json.RawMessage, error) {
	if r.Result == nil || netns == r.NetNS || netns == "" {
		return r.Result, nil
	}
	keys, err := object(r.Result)
	if err != nil {
		return nil, err
	}
	var list []map[string]json.RawMessage
	if raw, ok := keys["interfaces"]; !ok || json.Unmarshal(raw, &list) != nil {
		return r.Result, nil
	}
	for _, in := range list {
		var sandbox string
		if json.Unmarshal(in["sandbox"], &sandbox) == nil && sandbox == r.NetNS {
			if in["sandbox"], err = json.Marshal(netns); err != nil {
				return nil, err
			}
		}
	}
	if keys["interfaces"], err = json.Marshal(list); err != nil {
		return nil, err
	}
	return json.Marshal(keys)
}

// save writes the record to a file: atomic, but not durable, as nothing is on
// the start path.
func (r *Record) save(path string) error {
	text, err := r.Encode()
	if err != nil {
		return fmt.Errorf("cannot encode the record of network %q: %w", r.Network.Name, err)
	}
	return atomicfile.WriteFast(path, append(text, '\n'), 0o640)
}
