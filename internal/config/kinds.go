// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

func (c *Config) parseAuth(text []byte, file string, seen once) error {
	var f struct {
		header
		Domains     []string        `json:"domains"`
		Type        string          `json:"type"`
		Credentials json.RawMessage `json:"credentials"`
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	if len(f.Domains) == 0 {
		return errors.New("domains is missing")
	}
	if f.Credentials == nil {
		return errors.New("credentials is missing")
	}
	a := Auth{Type: f.Type}
	switch f.Type {
	case "basic":
		if err := strict(f.Credentials, &a.Basic); err != nil {
			return err
		}
		if err := a.Basic.check(); err != nil {
			return err
		}
	case "oauth":
		if err := strict(f.Credentials, &a.OAuth); err != nil {
			return err
		}
		if a.OAuth.Token == "" {
			return errors.New("credentials have no token")
		}
	case "aws":
		if err := strict(f.Credentials, &a.AWS); err != nil {
			return err
		}
		if a.AWS.AccessKeyID == "" || a.AWS.SecretAccessKey == "" {
			return errors.New("credentials want accessKeyID and secretAccessKey")
		}
	default:
		return fmt.Errorf("type %q is not known (want basic, oauth or aws)", f.Type)
	}
	for _, d := range f.Domains {
		if err := checkHost(d); err != nil {
			return err
		}
		if err := seen.set(fmt.Sprintf("domain %q", d), file); err != nil {
			return err
		}
		put(&c.Auth, d, a)
	}
	return nil
}

func (b BasicAuth) check() error {
	if b.User == "" || b.Password == "" {
		return errors.New("credentials want user and password")
	}
	return nil
}

func (c *Config) parseDockerAuth(text []byte, file string, seen once) error {
	var f struct {
		header
		Registries  []string   `json:"registries"`
		Credentials *BasicAuth `json:"credentials"`
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	if len(f.Registries) == 0 {
		return errors.New("registries is missing")
	}
	if f.Credentials == nil {
		return errors.New("credentials is missing")
	}
	if err := f.Credentials.check(); err != nil {
		return err
	}
	for _, r := range f.Registries {
		if err := checkHost(r); err != nil {
			return err
		}
		if err := seen.set(fmt.Sprintf("registry %q", r), file); err != nil {
			return err
		}
		put(&c.DockerAuth, r, *f.Credentials)
	}
	return nil
}

func (c *Config) parseRegistries(text []byte, file string, seen once) error {
	var f struct {
		header
		Registries []string `json:"registries"`
		RegistryRules
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	if len(f.Registries) == 0 {
		return errors.New("registries is missing")
	}
	for _, m := range f.Mirrors {
		rest := strings.TrimPrefix(strings.TrimPrefix(m, "https://"), "http://")
		host, _, _ := strings.Cut(rest, "/")
		if err := checkHost(host); err != nil {
			return fmt.Errorf("mirror %q: %w", m, err)
		}
	}
	for _, r := range f.Registries {
		if err := checkHost(r); err != nil {
			return err
		}
		if err := seen.set(fmt.Sprintf("registry %q", r), file); err != nil {
			return err
		}
		put(&c.Registries, r, f.RegistryRules)
	}
	return nil
}

func (c *Config) parsePaths(text []byte, file string, seen once) error {
	var f struct {
		header
		Paths
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	for _, p := range []struct {
		key, value string
		to         *string
	}{{"data", f.Data, &c.Paths.Data}, {"stage1-images", f.Stage1Images, &c.Paths.Stage1Images}} {
		if p.value == "" {
			continue
		}
		if !filepath.IsAbs(p.value) {
			return fmt.Errorf("%s is %q, want an absolute path", p.key, p.value)
		}
		if err := seen.set(p.key, file); err != nil {
			return err
		}
		*p.to = filepath.Clean(p.value)
	}
	for _, l := range []struct {
		key  string
		list []string
		to   *[]string
	}{{"cni-networks", f.CNINetworks, &c.Paths.CNINetworks}, {"cni-plugins", f.CNIPlugins, &c.Paths.CNIPlugins},
		{"cdi-specs", f.CDISpecs, &c.Paths.CDISpecs}} {
		if l.list == nil {
			continue
		}
		if err := seen.set(l.key, file); err != nil {
			return err
		}
		list := []string{} // an empty list overrides another directory's
		for _, p := range l.list {
			if !filepath.IsAbs(p) {
				return fmt.Errorf("%s has %q, want absolute paths", l.key, p)
			}
			list = append(list, filepath.Clean(p))
		}
		*l.to = list
	}
	return nil
}

func (c *Config) parseStage1(text []byte, file string, seen once) error {
	var f struct {
		header
		Stage1
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	if (f.Name == "") != (f.Stage1.Version == "") {
		return errors.New("name and version want each other")
	}
	if f.Name != "" {
		if err := seen.set("name and version", file); err != nil {
			return err
		}
		c.Stage1.Name, c.Stage1.Version = f.Name, f.Stage1.Version
	}
	if f.Location != "" {
		if !filepath.IsAbs(f.Location) && !hasScheme(f.Location) {
			return fmt.Errorf("location is %q, want an absolute path or a file, http, https or docker URL", f.Location)
		}
		if err := seen.set("location", file); err != nil {
			return err
		}
		c.Stage1.Location = f.Location
	}
	return nil
}

func hasScheme(s string) bool {
	for _, p := range []string{"file://", "http://", "https://", "docker://"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// checkHost accepts host, host:port and [v6]:port, and nothing that could be a
// URL by mistake: such an entry would match nothing, silently.
func checkHost(h string) error {
	host, port, hasPort := strings.Cut(h, ":")
	if v6, rest, ok := strings.Cut(h, "]"); ok && strings.HasPrefix(v6, "[") {
		host = strings.ReplaceAll(v6[1:], ":", "0")
		_, port, hasPort = strings.Cut(rest, ":")
		if rest != "" && !strings.HasPrefix(rest, ":") {
			host = ""
		}
	}
	letter := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
	}
	if host == "" || strings.Trim(port, "0123456789") != "" || hasPort && port == "" ||
		strings.ContainsFunc(host, func(r rune) bool { return !letter(r) }) {
		return fmt.Errorf("%q is not a host or host:port", h)
	}
	return nil
}

func put[V any](m *map[string]V, k string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[k] = v
}
