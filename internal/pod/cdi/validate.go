// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// versions are those that a specification may be of, oldest first. What came
// with one must not be in a file of an older.
func versions() []string {
	return []string{"0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"}
}

func (s *spec) validate() error {
	version := strings.TrimPrefix(s.Version, "v")
	if !slices.Contains(versions(), version) {
		return fmt.Errorf("cdiVersion %q is not known", s.Version)
	}
	if need, what := s.needs(); slices.Index(versions(), version) < slices.Index(versions(), need) {
		return fmt.Errorf("cdiVersion is %q, and %s needs %s", s.Version, what, need)
	}
	vendor, class, _ := strings.Cut(s.Kind, "/")
	if !validName(vendor, true, "_-.") || !validName(class, true, "_-.") {
		return fmt.Errorf("kind %q is not of the form vendor.com/class", s.Kind)
	}
	if err := s.Edits.validate(); err != nil {
		return err
	}
	if len(s.Devices) == 0 {
		return errors.New("it has no devices")
	}
	seen := map[string]bool{}
	for i := range s.Devices {
		d := &s.Devices[i]
		if !validName(d.Name, false, "_-.:") {
			return fmt.Errorf("device name %q is not allowed", d.Name)
		}
		if seen[d.Name] {
			return fmt.Errorf("device %q is described twice", d.Name)
		}
		seen[d.Name] = true
		if d.Edits.empty() {
			return fmt.Errorf("device %q needs nothing", d.Name)
		}
		if err := d.Edits.validate(); err != nil {
			return fmt.Errorf("device %q: %w", d.Name, err)
		}
	}
	return nil
}

// needs is the least version with all that is used, and what of it.
func (s *spec) needs() (version, what string) {
	all := []*edits{&s.Edits}
	digit, annotated := false, len(s.Annotations) > 0
	for i := range s.Devices {
		d := &s.Devices[i]
		all = append(all, &d.Edits)
		digit = digit || d.Name != "" && '0' <= d.Name[0] && d.Name[0] <= '9'
		annotated = annotated || len(d.Annotations) > 0
	}
	any := func(f func(e *edits) bool) bool { return slices.ContainsFunc(all, f) }
	_, class, _ := strings.Cut(s.Kind, "/")
	switch {
	case any(func(e *edits) bool { return len(e.NetDevices) > 0 }):
		return "1.1.0", "netDevices"
	case any(func(e *edits) bool {
		return e.IntelRdt != nil && (e.IntelRdt.Schemata != nil || e.IntelRdt.EnableMonitoring)
	}):
		return "1.1.0", "intelRdt"
	case any(func(e *edits) bool { return e.IntelRdt != nil }):
		return "0.7.0", "intelRdt"
	case any(func(e *edits) bool { return len(e.GIDs) > 0 }):
		return "0.7.0", "additionalGids"
	case annotated:
		return "0.6.0", "annotations"
	case strings.Contains(class, "."):
		return "0.6.0", "a class with a dot"
	case any(func(e *edits) bool {
		return slices.ContainsFunc(e.Nodes, func(n Node) bool { return n.HostPath != "" })
	}):
		return "0.5.0", "hostPath of a device node"
	case digit:
		return "0.5.0", "a device name that begins with a digit"
	case any(func(e *edits) bool { return slices.ContainsFunc(e.Mounts, func(m Mount) bool { return m.Type != "" }) }):
		return "0.4.0", "type of a mount"
	}
	return "0.3.0", ""
}

func (e *edits) empty() bool {
	return len(e.Env)+len(e.Nodes)+len(e.NetDevices)+len(e.Hooks)+len(e.Mounts)+len(e.GIDs) == 0 && e.IntelRdt == nil
}

func (e *edits) validate() error {
	for _, v := range e.Env {
		if strings.IndexByte(v, '=') <= 0 {
			return fmt.Errorf("env %q is not NAME=VALUE", v)
		}
	}
	for i := range e.Nodes {
		n := &e.Nodes[i]
		switch {
		case n.Path == "":
			return errors.New("a device node has no path")
		case !slices.Contains([]string{"", "b", "c", "u", "p"}, n.Type):
			return fmt.Errorf("type %q of device node %q is not known", n.Type, n.Path)
		case n.Permissions != "none" && strings.Trim(n.Permissions, "rwm") != "":
			return fmt.Errorf("permissions %q of device node %q are not made of r, w and m", n.Permissions, n.Path)
		case n.Major < 0 || n.Minor < 0 || n.Major > 1<<12-1 || n.Minor > 1<<20-1:
			return fmt.Errorf("device node %q has the numbers %d:%d, which no device has", n.Path, n.Major, n.Minor)
		}
	}
	for _, h := range e.Hooks {
		if h.Path == "" || !slices.Contains([]string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}, h.HookName) {
			return fmt.Errorf("hook %q %q is not known, or has no path", h.HookName, h.Path)
		}
	}
	for _, m := range e.Mounts {
		if m.HostPath == "" || m.ContainerPath == "" {
			return errors.New("a mount has no hostPath or no containerPath")
		}
	}
	return nil
}

// validName: letters and digits, between them what is in middle, and a letter
// first if it must be.
func validName(s string, first bool, middle string) bool {
	if s == "" || first && !letter(s[0]) || !alnum(s[0]) || !alnum(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !alnum(s[i]) && strings.IndexByte(middle, s[i]) < 0 {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func alnum(c byte) bool { return letter(c) || '0' <= c && c <= '9' }
