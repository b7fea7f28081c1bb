// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/image"
)

// Config is an image's configuration: what rkt uses of it.
type Config struct {
	Platform
	Created *time.Time `json:"created"`
	Author  string     `json:"author"`
	Config  Process    `json:"config"`
	RootFS  struct {
		Type    string         `json:"type"`
		DiffIDs []image.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// Process is how the image asks to be run.
type Process struct {
	User         string
	ExposedPorts map[string]struct{}
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      map[string]struct{}
	WorkingDir   string
	Labels       map[string]string
	StopSignal   string
}

// ParseConfig reads an OCI or Docker image configuration.
func ParseConfig(raw []byte) (Config, error) {
	c, err := parseConfig(raw)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read image configuration: %w", err)
	}
	return c, nil
}

func parseConfig(raw []byte) (c Config, err error) {
	if len(raw) > MaxDocument {
		return c, fmt.Errorf("it is longer than %d bytes", MaxDocument)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, err
	}
	if c.RootFS.Type != "layers" {
		return c, fmt.Errorf("its root file system is of type %q, not of layers", c.RootFS.Type)
	}
	for _, d := range c.RootFS.DiffIDs {
		if _, err := image.ParseDigest(string(d)); err != nil {
			return c, fmt.Errorf("diff ID: %w", err)
		}
		if d.Algorithm() != "sha256" {
			// The trees of ACIs have such names, and are not what a layer unpacks to.
			return c, fmt.Errorf("diff ID %s is no SHA-256", d.ID().Short())
		}
	}
	return c, c.Config.check()
}

// check refuses strings that no system call would take as they are.
func (p Process) check() error {
	for _, s := range slices.Concat([]string{p.User, p.WorkingDir, p.StopSignal}, p.Env, p.Entrypoint, p.Cmd, slices.Collect(maps.Keys(p.Volumes))) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%q has a zero byte", s)
		}
	}
	return nil
}

// Record makes the record of an image whose manifest has the digest id. What
// only the caller knows is left open: Names, Trust, Imported, the TreeSize of
// layers and App.Name. It refuses a configuration that does not fit the
// manifest.
func Record(id image.Digest, m Manifest, c Config) (image.Record, error) {
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return image.Record{}, fmt.Errorf("cannot read image: its manifest has %d layers, its configuration %d", len(m.Layers), len(c.RootFS.DiffIDs))
	}
	app, err := c.app()
	if err != nil {
		return image.Record{}, fmt.Errorf("cannot read image configuration: %w", err)
	}
	r := image.Record{
		ID:          id.ID(),
		Format:      image.OCI,
		Manifest:    id,
		MediaType:   m.MediaType,
		Layers:      make([]image.Layer, len(m.Layers)),
		App:         app,
		Labels:      map[string]string{},
		Annotations: maps.Clone(m.Annotations),
	}
	for i, l := range m.Layers {
		r.Layers[i] = image.Layer{Blob: l.Digest, MediaType: l.MediaType, Size: l.Size, DiffID: c.RootFS.DiffIDs[i]}
	}
	if c.OS != "" {
		r.Labels["os"] = c.OS
	}
	if c.Architecture != "" {
		r.Labels["arch"] = appcArch(c.Platform)
	}
	// Under the names that appc gives them ("annotations").
	annotate := func(name, value string) {
		if value != "" {
			if r.Annotations == nil {
				r.Annotations = map[string]string{}
			}
			r.Annotations[name] = value
		}
	}
	annotate("authors", c.Author)
	if c.Created != nil {
		annotate("created", c.Created.Format(time.RFC3339))
	}
	return r, nil
}

func (c Config) app() (*image.App, error) {
	p := c.Config
	a := &image.App{
		Entrypoint: p.Entrypoint,
		Cmd:        p.Cmd,
		StopSignal: p.StopSignal,
		UserLabels: p.Labels,
		Ports:      ports(p.ExposedPorts),
	}
	a.User, a.Group, _ = strings.Cut(p.User, ":")
	if p.WorkingDir != "" {
		a.WorkingDir = path.Join("/", p.WorkingDir)
	}
	for _, e := range p.Env {
		if name, _, ok := strings.Cut(e, "="); ok && name != "" {
			a.Environment = append(a.Environment, e)
		}
	}
	var err error
	a.Mounts, err = mounts(p.Volumes)
	return a, err
}

// ports turns "80/tcp", "80" and "8000-8010/udp" into ports named as rkt always
// named them: 80-tcp. EXPOSE opens nothing, so what is no port is no loss.
func ports(exposed map[string]struct{}) []image.Port {
	var all []image.Port
	for _, s := range slices.Sorted(maps.Keys(exposed)) {
		numbers, proto, _ := strings.Cut(strings.ToLower(s), "/")
		if proto == "" {
			proto = "tcp"
		}
		from, to, ranged := strings.Cut(numbers, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if err == nil && ranged {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || first == 0 || last < first || proto != "tcp" && proto != "udp" && proto != "sctp" {
			continue
		}
		p := image.Port{Name: strconv.FormatUint(first, 10) + "-" + proto, Protocol: proto, Port: uint(first)}
		if last > first {
			p.Name = fmt.Sprintf("%d-%d-%s", first, last, proto)
			p.Count = uint(last - first + 1)
		}
		if !slices.ContainsFunc(all, func(q image.Port) bool { return q.Name == p.Name }) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b image.Port) int { return int(a.Port) - int(b.Port) })
	return all
}

// mounts turns VOLUME paths into mount points named volume-<path>.
func mounts(volumes map[string]struct{}) ([]image.MountPoint, error) {
	var all []image.MountPoint
	names := map[string]bool{}
	paths := map[string]bool{}
	for _, v := range slices.Sorted(maps.Keys(volumes)) {
		p := path.Join("/", v)
		if p == "/" {
			return nil, fmt.Errorf("it has a volume at %q, which would hide the image", v)
		}
		if paths[p] {
			continue
		}
		paths[p] = true
		name := "volume-" + acName(p)
		for n := 2; names[name]; n++ {
			name = "volume-" + acName(p) + "-" + strconv.Itoa(n)
		}
		names[name] = true
		all = append(all, image.MountPoint{Name: name, Path: p, KeepContent: true})
	}
	return all, nil
}

// acName makes an appc AC Name ([a-z0-9]+(-[a-z0-9]+)*) of what comes.
func acName(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})
	if len(words) == 0 {
		return "x"
	}
	return strings.Join(words, "-")
}

// Fits tells whether a machine of platform p runs the image. What the configuration
// leaves open fits.
func (c Config) Fits(p Platform) bool {
	q := c.Platform
	q.OS, q.Architecture = cmp.Or(q.OS, p.OS), cmp.Or(q.Architecture, p.Architecture)
	return rank(p, q) >= 0
}

// CheckPlatform refuses an image for another kind of machine than p.
func (c Config) CheckPlatform(p Platform) error {
	if !c.Fits(p) {
		return fmt.Errorf("cannot run image: it is for %s, this machine is %s", c.Platform, p)
	}
	return nil
}
