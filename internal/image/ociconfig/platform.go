// SPDX-License-Identifier: Apache-2.0

package ociconfig

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Platform is what an image runs on, in Go's words (image-spec 1.1,
// image-index.md).
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// String is os/architecture[/variant].
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Host is this machine's platform, without a variant.
func Host() Platform { return Platform{OS: "linux", Architecture: runtime.GOARCH} }

// ParsePlatform reads os/architecture[/variant], or an architecture of linux alone,
// with the spellings that other programs have, and the variants that go without
// saying (containerd's platforms package has the same).
func ParsePlatform(text string) (Platform, error) {
	f := strings.Split(strings.ToLower(text), "/")
	if len(f) == 1 {
		f = []string{"linux", f[0]}
	}
	if len(f) > 3 || slices.Contains(f, "") {
		return Platform{}, fmt.Errorf("platform %q is not os/architecture[/variant]", text)
	}
	p := Platform{OS: f[0], Architecture: f[1]}
	if len(f) == 3 {
		p.Variant = f[2]
	}
	for _, alias := range []struct{ name, arch, variant string }{
		{"x86_64", "amd64", ""}, {"x86-64", "amd64", ""}, {"i386", "386", ""}, {"aarch64", "arm64", ""}, {"armhf", "arm", "v7"}, {"armel", "arm", "v6"},
	} {
		if p.Architecture == alias.name {
			p.Architecture, p.Variant = alias.arch, cmp.Or(p.Variant, alias.variant)
		}
	}
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8", "arm64/8":
		p.Variant = ""
	case "arm/", "arm/7":
		p.Variant = "v7"
	case "arm/5", "arm/6":
		p.Variant = "v" + p.Variant
	}
	return p, nil
}

// Select chooses the manifest for a machine of platform p: the plainest variant
// of its own architecture, or of one it runs as well (386 on amd64); of equals,
// the first. What it returns may be an index again. The error lists the
// platforms that are there.
func (x Index) Select(p Platform) (Descriptor, error) {
	var best Descriptor
	bestRank := -1
	var there []string
	var unnamed []Descriptor
	for _, d := range x.Manifests {
		if !IsManifest(d.MediaType) && !IsIndex(d.MediaType) || isAttestation(d) {
			continue
		}
		if d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "" {
			unnamed = append(unnamed, d)
			continue
		}
		if s := d.Platform.String(); !slices.Contains(there, s) {
			there = append(there, s)
		}
		if r := rank(p, *d.Platform); r >= 0 && (bestRank < 0 || r < bestRank) {
			best, bestRank = d, r
		}
	}
	switch {
	case bestRank >= 0:
		return best, nil
	case len(unnamed) == 1:
		return unnamed[0], nil // its configuration tells
	case len(unnamed) > 1:
		return Descriptor{}, fmt.Errorf("cannot choose an image for %s: %d are there for no platform in particular", p, len(unnamed))
	case len(there) == 0:
		return Descriptor{}, fmt.Errorf("cannot choose an image for %s: the index lists none", p)
	}
	const most = 16
	if len(there) > most {
		there = append(there[:most], "…")
	}
	return Descriptor{}, fmt.Errorf("cannot choose an image for %s: there is only %s", p, strings.Join(there, ", "))
}

// isAttestation recognises what buildkit puts beside images in an index.
func isAttestation(d Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" ||
		d.Platform != nil && d.Platform.OS == "unknown"
}

// rank says how well an image for q fits a machine p: -1 not at all, 0 best.
func rank(p, q Platform) int {
	if p.OS != q.OS {
		return -1
	}
	if q.Architecture != p.Architecture {
		if p.Architecture == "amd64" && q.Architecture == "386" {
			return 1000
		}
		return -1
	}
	if q.Variant == p.Variant {
		return 0
	}
	// A variant is at least so much of a processor: the least one first.
	plain := map[string][]string{
		"amd64": {"", "v1", "v2", "v3", "v4"},
		"arm64": {"", "v8", "v8.0", "v8.1", "v8.2", "v9"},
		"arm":   {"v7", "v6", "", "v5"},
	}[p.Architecture]
	if i := slices.Index(plain, q.Variant); i >= 0 {
		return 1 + i
	}
	return 500
}

// appcArch spells an architecture as appc 0.8.11 does ("os/arch" of ACE); what
// appc does not know keeps its name.
func appcArch(p Platform) string {
	switch p.Architecture {
	case "386":
		return "i386"
	case "arm64":
		return "aarch64"
	case "arm64be":
		return "aarch64_be"
	case "arm":
		switch p.Variant {
		case "v6", "v5":
			return "armv6l"
		}
		return "armv7l"
	case "armbe":
		return "armv7b"
	}
	return p.Architecture
}
