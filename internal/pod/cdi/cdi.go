// SPDX-License-Identifier: Apache-2.0

// Package cdi reads specifications of the Container Device Interface, by which
// whoever installs a device on a host tells what a container needs to use it
// (github.com/cncf-tags/container-device-interface, SPEC.md, versions 0.3.0 to 1.1.0).
// It knows no pod: what comes of a device's qualified name are Edits.
package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
)

// Dirs are where specifications are by default: what is in the last goes first.
func Dirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// MaxSize is the most bytes of one file, maxFiles the most files of a directory.
const (
	MaxSize  = 4 << 20
	maxFiles = 1000
)

// Edits are what a container needs.
type Edits struct {
	Env   []string // NAME=VALUE
	Nodes []Node
	// Mounts are binds of the host's files and directories.
	Mounts []Mount
	GIDs   []uint32 // additional groups
}

// Node is a device node.
type Node struct {
	Path        string       `json:"path"`
	HostPath    string       `json:"hostPath"`
	Type        string       `json:"type"` // b, c, u (which is c), p
	Major       int64        `json:"major"`
	Minor       int64        `json:"minor"`
	FileMode    *fs.FileMode `json:"fileMode"`
	Permissions string       `json:"permissions"` // of r, w, m; "" is all, "none" none
	UID         *uint32      `json:"uid"`
	GID         *uint32      `json:"gid"`
}

// Mount is one of the host's files or directories.
type Mount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options"`
	Type          string   `json:"type"`
}

type edits struct {
	Env        []string          `json:"env"`
	Nodes      []Node            `json:"deviceNodes"`
	NetDevices []json.RawMessage `json:"netDevices"`
	Hooks      []hook            `json:"hooks"`
	Mounts     []Mount           `json:"mounts"`
	IntelRdt   *intelRdt         `json:"intelRdt"`
	GIDs       []uint32          `json:"additionalGids"`
}

type hook struct {
	HookName string   `json:"hookName"`
	Path     string   `json:"path"`
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Timeout  *int     `json:"timeout"`
}

type intelRdt struct {
	ClosID           string   `json:"closID"`
	L3CacheSchema    string   `json:"l3CacheSchema"`
	MemBwSchema      string   `json:"memBwSchema"`
	Schemata         []string `json:"schemata"`
	EnableMonitoring bool     `json:"enableMonitoring"`
}

type device struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
	Edits       edits             `json:"containerEdits"`
}

type spec struct {
	Version     string            `json:"cdiVersion"`
	Kind        string            `json:"kind"`
	Annotations map[string]string `json:"annotations"`
	Devices     []device          `json:"devices"`
	Edits       edits             `json:"containerEdits"`
}

// Registry is what all specifications of a host describe.
type Registry struct {
	dirs   []string
	found  map[string]place
	broken []error // files that could not be read
}

type place struct {
	path     string
	priority int
	spec     *spec
	device   *device
	other    string // a file of the same priority that has it, too
}

// Load reads the files NAME.json and NAME.yaml in dirs, of which the last goes
// first; one that is missing has none. toJSON turns YAML into JSON. A file that is
// wrong is passed over, and told of if a device is not found.
func Load(dirs []string, toJSON func(yaml []byte) ([]byte, error)) (*Registry, error) {
	r := &Registry{dirs: dirs, found: map[string]place{}}
	for priority, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && len(entries) > maxFiles {
			err = fmt.Errorf("%s has more than %d files", dir, maxFiles)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read CDI specifications: %w", err)
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if e.IsDir() || ext != ".json" && ext != ".yaml" {
				continue
			}
			path := filepath.Join(dir, e.Name())
			s, err := read(path, toJSON)
			if err != nil {
				r.broken = append(r.broken, fmt.Errorf("%s: %w", path, err))
				continue
			}
			r.add(s, path, priority)
		}
	}
	return r, nil
}

func (r *Registry) add(s *spec, path string, priority int) {
	for i := range s.Devices {
		name := s.Kind + "=" + s.Devices[i].Name
		// Two of one directory stay in conflict, though a later one has the device
		// as well: so it is in the specification's own library.
		old, ok := r.found[name]
		if ok && old.priority == priority {
			old.other = path
			r.found[name] = old
			continue
		}
		p := place{path: path, priority: priority, spec: s, device: &s.Devices[i]}
		if old.other != "" {
			p = old
			p.priority = priority
		}
		r.found[name] = p
	}
}

func read(path string, toJSON func([]byte) ([]byte, error)) (*spec, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(text) > MaxSize {
		err = fmt.Errorf("larger than %d bytes", MaxSize)
	}
	if err == nil && filepath.Ext(path) == ".yaml" {
		text, err = toJSON(text)
	}
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// parse reads a specification and holds it against the rules.
func parse(text []byte) (*spec, error) {
	s := new(spec)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the specification")
	}
	return s, s.validate()
}

// Edits are those of the named devices, in order: before the first of a
// specification's devices what that has for all.
func (r *Registry) Edits(names []string) (*Edits, error) {
	all := new(Edits)
	var seen []*spec
	for _, name := range names {
		p, ok := r.found[name]
		if !ok {
			return nil, r.missing(name)
		}
		if p.other != "" {
			return nil, fmt.Errorf("CDI device %q is described twice, in %s and in %s", name, p.path, p.other)
		}
		parts := []*edits{&p.device.Edits}
		if !slices.Contains(seen, p.spec) {
			seen = append(seen, p.spec)
			parts = []*edits{&p.spec.Edits, &p.device.Edits}
		}
		for _, e := range parts {
			if err := e.possible(); err != nil {
				return nil, fmt.Errorf("CDI device %q (%s): %w", name, p.path, err)
			}
			all.Env = append(all.Env, e.Env...)
			all.Nodes = append(all.Nodes, e.Nodes...)
			all.Mounts = append(all.Mounts, e.Mounts...)
			all.GIDs = append(all.GIDs, e.GIDs...)
		}
	}
	return all, nil
}

func (r *Registry) missing(name string) error {
	where := strings.Join(r.dirs, ", ")
	kind, _, _ := strings.Cut(name, "=")
	err := fmt.Errorf("CDI device %q is in no specification in %s", name, where)
	if err2 := errors.Join(r.broken...); err2 != nil {
		return hint.Wrap(err, "not read: "+strings.ReplaceAll(err2.Error(), "\n", "; "))
	}
	var have []string
	for n := range r.found {
		if strings.HasPrefix(n, kind+"=") {
			have = append(have, n)
		}
	}
	if slices.Sort(have); have != nil {
		return hint.Wrap(err, "of its kind there are "+strings.Join(have[:min(len(have), 10)], ", "))
	}
	return err
}

// possible refuses what rkt cannot do.
func (e *edits) possible() error {
	switch {
	case len(e.Hooks) > 0:
		return hint.Wrap(fmt.Errorf("it has a hook (%s: %s), and rkt runs none", e.Hooks[0].HookName, e.Hooks[0].Path),
			"nvidia-ctk cdi generate --disable-hook=all writes a specification without")
	case e.IntelRdt != nil:
		return errors.New("it has intelRdt, which rkt cannot set")
	case len(e.NetDevices) > 0:
		return errors.New("it has netDevices, which rkt cannot move")
	}
	for i := range e.Nodes {
		if n := &e.Nodes[i]; n.Type == "p" {
			return fmt.Errorf("device node %q is a fifo, which rkt does not make", n.Path)
		}
	}
	return nil
}
