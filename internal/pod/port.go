// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// ParsePort reads the value of --port, NAME:[HOSTIP:]HOSTPORT, an IPv6 address
// in brackets; or, for a port that the image does not name,
// NAME:PROTOCOL:PORT:[HOSTIP:]HOSTPORT, as rkt's app sandbox had it. The word
// socket in place of a port of the host: ExposedPort.Socket.
func ParsePort(s string) (ExposedPort, error) {
	p, err := parsePort(s)
	if err == nil {
		err = p.validate()
	}
	if err != nil {
		return ExposedPort{}, fmt.Errorf("cannot parse port %q: %w", s, err)
	}
	return p, nil
}

func parsePort(s string) (p ExposedPort, err error) {
	name, rest, ok := strings.Cut(s, ":")
	if !ok {
		return p, errors.New("want NAME:[HOSTIP:]HOSTPORT")
	}
	p.Name = name
	for _, proto := range []string{"tcp", "udp", "sctp"} {
		after, ok := strings.CutPrefix(rest, proto+":")
		if !ok {
			continue
		}
		number, behind, ok := strings.Cut(after, ":")
		n, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil || n == 0 {
			return p, fmt.Errorf("want NAME:%s:PORT:[HOSTIP:]HOSTPORT", proto)
		}
		p.PodPort, rest = &image.Port{Name: name, Protocol: proto, Port: uint(n)}, behind
	}
	if rest == "socket" {
		p.Socket = true
		return p, nil
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		p.HostIP, rest = rest[:i], rest[i+1:]
		if strings.HasPrefix(p.HostIP, "[") && strings.HasSuffix(p.HostIP, "]") {
			p.HostIP = p.HostIP[1 : len(p.HostIP)-1]
		} else if strings.Contains(p.HostIP, ":") {
			return p, errors.New("an IPv6 address is written in brackets")
		}
		if p.HostIP == "" {
			return p, errors.New("the host's address is empty")
		}
	}
	n, err := strconv.ParseUint(rest, 10, 16)
	if err != nil {
		return p, fmt.Errorf("host port %q is neither a number from 1 to 65535 nor the word socket", rest)
	}
	p.HostPort = uint(n)
	return p, nil
}

func (p *ExposedPort) validate() error {
	if err := checkName("name", p.Name); err != nil {
		return err
	}
	if !p.Socket && (p.HostPort < 1 || p.HostPort > 65535) {
		return fmt.Errorf("host port %d is not a number from 1 to 65535", p.HostPort)
	}
	if p.HostIP != "" {
		if a, err := netip.ParseAddr(p.HostIP); err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is not an IP address", p.HostIP)
		}
	}
	if p.PodPort != nil {
		return validatePort(p.PodPort)
	}
	return nil
}

func validatePort(p *image.Port) error {
	if err := checkName("name", p.Name); err != nil {
		return err
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "sctp" {
		return fmt.Errorf("protocol %q is none of tcp, udp and sctp", p.Protocol)
	}
	count := max(p.Count, 1)
	if p.Port < 1 || p.Port > 65535 || count > 65535 || p.Port+count-1 > 65535 {
		return fmt.Errorf("port %d with count %d is not within 1 to 65535", p.Port, count)
	}
	return nil
}

// HostsEntry is one line of /etc/hosts.
type HostsEntry struct {
	IP    string   `json:"ip"`
	Names []string `json:"names"`
}

// ParseHostsEntries reads the value of --hosts-entry but for the word "host":
// IP=NAME[,IP=NAME]. Names of one address are put together.
func ParseHostsEntries(s string) (entries []HostsEntry, err error) {
	for _, f := range strings.Split(s, ",") {
		ip, name, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("cannot parse hosts entry %q: %q is not IP=NAME", s, f)
		}
		e := HostsEntry{ip, []string{name}}
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("cannot parse hosts entry %q: %w", s, err)
		}
		entries = AddHosts(entries, e)
	}
	return entries, nil
}

// AddHosts appends e, joined to an entry of the same address if there is one.
func AddHosts(entries []HostsEntry, e HostsEntry) []HostsEntry {
	for i := range entries {
		if entries[i].IP == e.IP {
			entries[i].Names = append(entries[i].Names, e.Names...)
			return entries
		}
	}
	return append(entries, e)
}

// Validate checks that the entry makes one line of a hosts file.
func (e *HostsEntry) Validate() error {
	if _, err := netip.ParseAddr(e.IP); err != nil {
		return fmt.Errorf("%q is not an IP address", e.IP)
	}
	if len(e.Names) == 0 {
		return fmt.Errorf("%s has no name", e.IP)
	}
	for _, n := range e.Names {
		if !validHost(n) {
			return fmt.Errorf("%q is not a host name", n)
		}
	}
	return nil
}

// DNS is what a pod's resolv.conf says.
type DNS struct {
	Servers []string `json:"servers,omitempty"` // IP addresses
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
	Domain  string   `json:"domain,omitempty"`
}

// IsZero reports whether nothing is set.
func (d *DNS) IsZero() bool {
	return len(d.Servers) == 0 && len(d.Search) == 0 && len(d.Options) == 0 && d.Domain == ""
}

// Validate checks that no value can break out of its line.
func (d *DNS) Validate() error {
	for _, s := range d.Servers {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("DNS server %q is not an IP address", s)
		}
	}
	for _, s := range d.Search {
		if s != "." && !validHost(strings.TrimSuffix(s, ".")) {
			return fmt.Errorf("DNS search domain %q is not a domain name", s)
		}
	}
	if d.Domain != "" && !validHost(strings.TrimSuffix(d.Domain, ".")) {
		return fmt.Errorf("DNS domain %q is not a domain name", d.Domain)
	}
	for _, s := range d.Options {
		if s == "" || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			return fmt.Errorf("DNS option %q is not one printable word", s)
		}
	}
	return nil
}

// ValidateHostname checks a pod's host name: what the kernel takes (64 bytes)
// and what a hosts file can carry.
func ValidateHostname(s string) error {
	if len(s) > 64 || !validHost(s) {
		return fmt.Errorf("host name %q is not made of letters, digits, hyphens and dots, 64 at most", s)
	}
	return nil
}

// validHost is RFC 1123's host name, with underscores, which resolvers allow.
func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
