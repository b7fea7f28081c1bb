// SPDX-License-Identifier: Apache-2.0

// Package config reads rkt's configuration: three directories, of which a later
// one overrides an earlier one key by key, each with one sub-directory per kind
// and files of one kind in it:
//
//	auth.d/        kinds auth and dockerAuth: credentials, by host
//	paths.d/       kind paths: where data lies
//	registries.d/  kind registries: plain http and mirrors, by registry
//	stage1.d/      kind stage1: the default flavor
//	trust.d/       kind trust: what images of registries must prove, by prefix
//
// Every file ends in .json and starts with rktKind and rktVersion ("v1"). A
// field, a kind or a version that is not known is an error, and so is the same
// key twice in one directory: nothing that is written there is ignored. Files
// of other names and sub-directories are left alone. A directory that does not
// exist is an empty one.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The default directories.
const (
	SystemDir = "/usr/lib/rkt"
	LocalDir  = "/etc/rkt"
)

// version is the only rktVersion there is.
const version = "v1"

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Dirs are the configuration directories, in rising precedence. An empty one
// is skipped.
type Dirs struct{ System, Local, User string }

func (d Dirs) list() []string { return []string{d.System, d.Local, d.User} }

// Config is the effective configuration.
type Config struct {
	Auth       map[string]Auth          // by host
	DockerAuth map[string]BasicAuth     // by registry host
	Registries map[string]RegistryRules // by registry host[:port]
	Paths      Paths
	Stage1     Stage1
	Trust      map[string]TrustRule // by prefix
}

// Auth is how rkt authenticates to one host. Exactly the member that Type names
// is set.
type Auth struct {
	Type  string // "basic", "oauth" or "aws"
	Basic BasicAuth
	OAuth OAuth
	AWS   AWS
}

// BasicAuth is a user and a password.
type BasicAuth struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// OAuth is a bearer token.
type OAuth struct {
	Token string `json:"token"`
}

// AWS signs requests to S3 (signature version 4).
type AWS struct {
	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
	Region          string `json:"awsRegion,omitempty"` // "" is guessed from the host
}

// RegistryRules say how one registry is reached.
type RegistryRules struct {
	// PlainHTTP: the registry is spoken to without TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// Mirrors are tried in order before the registry itself: host[:port], or a
	// URL with http or https and an optional path that is put before the
	// repository's.
	Mirrors []string `json:"mirrors,omitempty"`
}

// Paths are absolute directories; empty is the default.
type Paths struct {
	Data         string `json:"data,omitempty"`
	Stage1Images string `json:"stage1-images,omitempty"`
	// CNINetworks are directories of network configurations that rkt shares with
	// others; CNIPlugins are directories of CNI plugins, before the usual ones.
	CNINetworks []string `json:"cni-networks,omitempty"`
	CNIPlugins  []string `json:"cni-plugins,omitempty"`
	// CDISpecs are directories of specifications of devices, the last first in
	// rank; nil is the usual ones.
	CDISpecs []string `json:"cdi-specs,omitempty"`
}

// Stage1 is the default flavor.
type Stage1 struct {
	Name     string `json:"name,omitempty"`
	Version  string `json:"version,omitempty"`
	Location string `json:"location,omitempty"`
}

// Load reads everything.
func Load(d Dirs) (*Config, error) {
	c := &Config{Auth: map[string]Auth{}, DockerAuth: map[string]BasicAuth{}, Registries: map[string]RegistryRules{}}
	for _, sub := range []string{"auth.d", "paths.d", "registries.d", "stage1.d", "trust.d"} {
		if err := c.load(d, sub); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// LoadPaths reads only where data lies. It costs one failing openat per
// directory on a machine without such configuration, for it is on the path of
// every start.
func LoadPaths(d Dirs) (Paths, error) {
	c := &Config{}
	err := c.load(d, "paths.d")
	return c.Paths, err
}

// LoadStage1 reads only the default flavor, as cheaply as LoadPaths.
func LoadStage1(d Dirs) (Stage1, error) {
	c := &Config{}
	err := c.load(d, "stage1.d")
	return c.Stage1, err
}

// kinds lists which kinds may lie in which sub-directory.
func kinds(sub string) []string {
	switch sub {
	case "auth.d":
		return []string{"auth", "dockerAuth"}
	case "paths.d":
		return []string{"paths"}
	case "registries.d":
		return []string{"registries"}
	case "stage1.d":
		return []string{"stage1"}
	case "trust.d":
		return []string{"trust"}
	}
	return nil
}

func (c *Config) load(d Dirs, sub string) error {
	for _, dir := range d.list() {
		if dir == "" {
			continue
		}
		if err := c.loadDir(filepath.Join(dir, sub), kinds(sub)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) loadDir(dir string, kinds []string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	slices.Sort(names)
	seen := once{} // keys set in this directory, and the file that set them
	for _, name := range names {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		path := filepath.Join(dir, name)
		text, err := ReadRegular(path)
		if err != nil {
			return fmt.Errorf("cannot read configuration: %w", err)
		}
		if text == nil {
			continue
		}
		if err := c.parse(text, kinds, name, seen); err != nil {
			return fmt.Errorf("cannot read configuration %q: %w", path, err)
		}
	}
	return nil
}

// ReadRegular reads a file, of at most a megabyte. It returns nil for anything but
// a regular file, or a link to one. Errors name the file (*fs.PathError).
func ReadRegular(path string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO by that name would hold every rkt.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxFile)}
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}

// once maps a key to the file of the directory that has set it.
type once map[string]string

func (o once) set(key, file string) error {
	if other, dup := o[key]; dup {
		return fmt.Errorf("%s is already set by %q in the same directory", key, other)
	}
	o[key] = file
	return nil
}

// header starts every file.
type header struct {
	Kind    string `json:"rktKind"`
	Version string `json:"rktVersion"`
}

// parse merges one file. It is the whole of what a file can do.
func (c *Config) parse(text []byte, kinds []string, file string, seen once) error {
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return err
	}
	switch {
	case h.Kind == "":
		return errors.New("rktKind is missing")
	case h.Version == "":
		return errors.New("rktVersion is missing")
	case !slices.Contains(kinds, h.Kind):
		return fmt.Errorf("rktKind %q does not belong into this directory (want %s)", h.Kind, strings.Join(kinds, " or "))
	case h.Version != version:
		return fmt.Errorf("rktVersion %q is not known (want %q)", h.Version, version)
	}
	switch h.Kind {
	case "auth":
		return c.parseAuth(text, file, seen)
	case "dockerAuth":
		return c.parseDockerAuth(text, file, seen)
	case "registries":
		return c.parseRegistries(text, file, seen)
	case "paths":
		return c.parsePaths(text, file, seen)
	case "stage1":
		return c.parseStage1(text, file, seen)
	case "trust":
		return c.parseTrust(text, file, seen)
	}
	return nil
}

// strict decodes text, refusing fields that v does not have and anything after
// the document.
func strict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON document")
	}
	return nil
}

// Sorted returns the keys of a section in order, for printing.
func Sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
