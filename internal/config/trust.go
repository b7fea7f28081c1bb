// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The types of TrustRule.
const (
	Reject         = "reject"                 // no image of that name is used
	AcceptAnything = "insecureAcceptAnything" // images need no signature
	SignedBy       = "signedBy"               // images need a signature by one of the keys
)

// Everywhere is the prefix of the rule for images that no other rule is about.
const Everywhere = "*"

// TrustRule says what images of a registry must prove.
type TrustRule struct {
	Type string `json:"type"`
	// Keys are public keys in PEM, KeyFiles absolute paths of such; only with
	// SignedBy, which wants at least one of them.
	Keys     []string `json:"keys,omitempty"`
	KeyFiles []string `json:"keyFiles,omitempty"`
	// SignedPrefix, if set, stands in signatures where the name asked for has
	// the rule's prefix: the images are copies, signed where they came from.
	SignedPrefix string `json:"signedPrefix,omitempty"`
}

// LoadTrust reads only the rules for images of registries, by prefix: a
// registry, with or without the beginning of a repository's name, as TrustPrefix
// spells it.
func LoadTrust(d Dirs) (map[string]TrustRule, error) {
	c := &Config{}
	err := c.load(d, "trust.d")
	return c.Trust, err
}

func (c *Config) parseTrust(text []byte, file string, seen once) error {
	var f struct {
		header
		Prefixes []string `json:"prefixes"`
		TrustRule
	}
	if err := strict(text, &f); err != nil {
		return err
	}
	if len(f.Prefixes) == 0 {
		return errors.New("prefixes is missing")
	}
	if err := f.check(); err != nil {
		return err
	}
	for _, p := range f.Prefixes {
		p, err := TrustPrefix(p)
		if err != nil {
			return err
		}
		if p == Everywhere && f.SignedPrefix != "" {
			return fmt.Errorf("signedPrefix has nothing to stand for in prefix %q", p)
		}
		if err := seen.set(fmt.Sprintf("prefix %q", p), file); err != nil {
			return err
		}
		put(&c.Trust, p, f.TrustRule)
	}
	return nil
}

func (r *TrustRule) check() error {
	switch r.Type {
	case "":
		return errors.New("type is missing")
	case Reject, AcceptAnything:
		if len(r.Keys) > 0 || len(r.KeyFiles) > 0 || r.SignedPrefix != "" {
			return fmt.Errorf("keys, keyFiles and signedPrefix only go with type %q", SignedBy)
		}
	case SignedBy:
		if len(r.Keys) == 0 && len(r.KeyFiles) == 0 {
			return fmt.Errorf("type %q wants keys or keyFiles", SignedBy)
		}
	default:
		return fmt.Errorf("type %q is not known (want %s, %s or %s)", r.Type, Reject, AcceptAnything, SignedBy)
	}
	for _, p := range r.KeyFiles {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("keyFiles has %q, want an absolute path", p)
		}
	}
	if r.SignedPrefix == "" {
		return nil
	}
	p, err := TrustPrefix(r.SignedPrefix)
	if err == nil && p == Everywhere {
		err = fmt.Errorf("signedPrefix cannot be %q", p)
	}
	r.SignedPrefix = p
	return err
}

// RegistryName gives the one spelling of a registry's name, for rules: what they
// say of quay.io they say of quay.io:443 too.
func RegistryName(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if host == "docker.io" || host == "index.docker.io" {
		host = "registry-1.docker.io"
	}
	return host
}

// TrustPrefix gives the one spelling of a prefix: the host by RegistryName, no
// slash at the end.
func TrustPrefix(s string) (string, error) {
	if s == Everywhere {
		return s, nil
	}
	host, path, deep := strings.Cut(s, "/")
	if deep && path == "" || strings.HasSuffix(path, "/") {
		return "", fmt.Errorf("prefix %q ends in a slash: prefixes end where a component of the name does anyway", s)
	}
	if err := checkHost(host); err != nil || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "", fmt.Errorf("prefix %q does not begin with a registry, host or host:port", s)
	}
	host = RegistryName(host)
	if !deep {
		return host, nil
	}
	for c := range strings.SplitSeq(path, "/") {
		if c == "" || c == "." || c == ".." || strings.Trim(c, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			return "", fmt.Errorf("prefix %q has a component %q, which no repository has", s, c)
		}
	}
	return host + "/" + path, nil
}
