// SPDX-License-Identifier: Apache-2.0

package ref

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Docker Hub's registry by its real name, as rkt has always printed it.
const hub = "registry-1.docker.io"

// maxRepository is the longest name, host included, that registries take.
const maxRepository = 255

// parseDocker reads [domain "/"] path [":" tag] ["@" digest], the grammar of
// Docker's distribution project, and fills in Docker's defaults.
func parseDocker(s string) (Ref, error) {
	r := Ref{Kind: Docker}
	name, digest, pinned := strings.Cut(s, "@")
	if pinned {
		d, err := image.ParseDigest(digest)
		if err != nil {
			return Ref{}, err
		}
		r.Digest = string(d)
	}
	// A colon after the last slash begins the tag; one before is the port's.
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag = name[:i], name[i+1:]
		if !isTag(r.Tag) {
			return Ref{}, fmt.Errorf("%q is no tag: want up to 128 letters, digits, _, . and -, not beginning with . or -", r.Tag)
		}
	} else if !pinned {
		r.Tag = "latest"
	}
	r.Registry, r.Repository = hub, name
	if first, rest, ok := strings.Cut(name, "/"); ok && isDomain(first) {
		host, err := normalHost(first)
		if err != nil {
			return Ref{}, err
		}
		r.Registry, r.Repository = host, rest
	}
	switch r.Registry {
	case "docker.io", "index.docker.io", hub:
		r.Registry = hub
		if !strings.Contains(r.Repository, "/") {
			r.Repository = "library/" + r.Repository
		}
	}
	for c := range strings.SplitSeq(r.Repository, "/") {
		if !isComponent(c) {
			return Ref{}, fmt.Errorf("%q is no repository name: want lower-case letters and digits, with single ., _, __ or any number of - between them", c)
		}
	}
	if len(r.Registry)+1+len(r.Repository) > maxRepository {
		return Ref{}, fmt.Errorf("its name is longer than %d characters", maxRepository)
	}
	return r, nil
}

// isDomain says whether a name's first component is a host, as Docker tells
// them apart from the first half of a Docker Hub name.
func isDomain(s string) bool {
	return strings.ContainsAny(s, ".:") || s == "localhost" || strings.ToLower(s) != s
}

// normalHost checks host[:port] and spells it in lower case.
func normalHost(s string) (string, error) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return "", fmt.Errorf("%q is no port", port)
		}
		port = ":" + port
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !a.Is6() || a.Zone() != "" {
			return "", fmt.Errorf("%q is no IPv6 address", host)
		}
		return "[" + a.String() + "]" + port, nil
	}
	host = strings.ToLower(host)
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || !only(label, lower+digits+"-") {
			return "", fmt.Errorf("%q is no host name", host)
		}
	}
	if !isDomain(host + port) {
		// Only its capitals made it a host.
		return "", fmt.Errorf("%q is no host name: want a dot, a port or localhost", s)
	}
	return host + port, nil
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// only says whether s has no other bytes than those of set.
func only(s, set string) bool { return strings.Trim(s, set) == "" }

// isTag checks [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}.
func isTag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' && only(s, lower+upper+digits+"_.-")
}

// isComponent checks [a-z0-9]+(([._]|__|-+)[a-z0-9]+)*.
func isComponent(s string) bool {
	for s != "" {
		rest := strings.TrimLeft(s, lower+digits)
		if len(rest) == len(s) {
			return false
		}
		if rest == "" {
			return true
		}
		s = strings.TrimLeft(rest, "._-")
		switch sep := rest[:len(rest)-len(s)]; {
		case sep == ".", sep == "_", sep == "__", sep != "" && only(sep, "-"):
		default:
			return false
		}
	}
	return false
}
