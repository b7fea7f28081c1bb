// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Validate checks all that a manifest can tell about itself (appc 0.8.11, "Pod
// Manifest Schema"). It does not ask whether the isolators can be enforced.
func (m *Manifest) Validate() error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("cannot use pod manifest: %w", err)
	}
	return nil
}

func (m *Manifest) validate() error {
	if m.ACKind != Kind {
		return fmt.Errorf("acKind is %q, not %q", m.ACKind, Kind)
	}
	if !strings.HasPrefix(m.ACVersion, "0.") && !strings.HasPrefix(m.ACVersion, "1.") {
		return fmt.Errorf("acVersion %q is not a version such as %q", m.ACVersion, SpecVersion)
	}
	if len(m.Apps) == 0 {
		return errors.New("it has no apps")
	}
	volumes := map[string]bool{}
	for i := range m.Volumes {
		v := &m.Volumes[i]
		if err := v.validate(); err != nil {
			return fmt.Errorf("volume %q: %w", v.Name, err)
		}
		if volumes[v.Name] {
			return fmt.Errorf("multiple volumes with name %q", v.Name)
		}
		volumes[v.Name] = true
	}
	apps := map[string]bool{}
	for i := range m.Apps {
		a := &m.Apps[i]
		if err := a.validate(volumes); err != nil {
			return fmt.Errorf("app %q: %w", a.Name, err)
		}
		if apps[a.Name] {
			return fmt.Errorf("multiple apps with name %q", a.Name)
		}
		apps[a.Name] = true
	}
	ports := map[string]bool{}
	for i := range m.Ports {
		p := &m.Ports[i]
		if err := p.validate(); err != nil {
			return fmt.Errorf("port %q: %w", p.Name, err)
		}
		if ports[p.Name] {
			return fmt.Errorf("multiple ports with name %q", p.Name)
		}
		ports[p.Name] = true
	}
	if err := validateIsolators(m.Isolators); err != nil {
		return err
	}
	return validateAnnotations(m.Annotations)
}

func (a *RuntimeApp) validate(volumes map[string]bool) error {
	if err := checkName("name", a.Name); err != nil {
		return err
	}
	if id := a.Image.ID; id != "" && !validImageID(id) {
		return fmt.Errorf("image ID %q is not sha512-… or sha256-… with hexadecimal digits", id)
	}
	if a.Image.Name != "" && !ValidIdentifier(a.Image.Name) {
		return fmt.Errorf("image name %q is not an AC identifier", a.Image.Name)
	}
	if err := validateLabels(a.Image.Labels); err != nil {
		return err
	}
	if a.ImageReference() == "" {
		return errors.New("it names no image")
	}
	for _, key := range []string{AnnotationCommand, AnnotationArgs} {
		if v, ok := a.Annotations.Get(key); ok {
			var list []string
			if err := json.Unmarshal([]byte(v), &list); err != nil {
				return fmt.Errorf("annotation %q is not a JSON array of strings", key)
			}
		}
	}
	merge, err := a.Merge()
	if err != nil {
		return err
	}
	if a.App != nil {
		if err := a.App.validate(merge); err != nil {
			return err
		}
	}
	targets := map[string]bool{}
	for i := range a.Mounts {
		mt := &a.Mounts[i]
		if err := mt.validate(); err != nil {
			return fmt.Errorf("mount of volume %q: %w", mt.Volume, err)
		}
		if mt.AppVolume == nil && !volumes[mt.Volume] {
			return fmt.Errorf("mount of volume %q: no such volume in the pod", mt.Volume)
		}
		if p := path.Clean(mt.Path); targets[p] {
			return fmt.Errorf("multiple mounts on %q", p)
		} else {
			targets[p] = true
		}
	}
	return validateAnnotations(a.Annotations)
}

// Merge reports whether AnnotationMerge asks for `app` to be laid over the
// image's own.
func (a *RuntimeApp) Merge() (bool, error) {
	v, ok := a.Annotations.Get(AnnotationMerge)
	if ok && v != "true" && v != "false" {
		return false, fmt.Errorf("annotation %q is neither true nor false", AnnotationMerge)
	}
	if !ok || v == "false" {
		for _, key := range []string{AnnotationCommand, AnnotationArgs} {
			if _, ok := a.Annotations.Get(key); ok {
				return false, fmt.Errorf("annotation %q needs annotation %q", key, AnnotationMerge)
			}
		}
		return false, nil
	}
	return true, nil
}

func (a *App) validate(merge bool) error {
	if !merge {
		if a.User == "" {
			return errors.New("user is missing")
		}
	} else if len(a.Exec) > 0 {
		return fmt.Errorf("exec does not go with annotation %q", AnnotationMerge)
	}
	for _, s := range a.Exec {
		if strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("exec has a NUL byte in %q", s)
		}
	}
	if err := ValidateWorkingDir(a.WorkingDirectory); err != nil {
		return err
	}
	for _, g := range a.SupplementaryGIDs {
		if g < 0 || int64(g) >= maxID {
			return fmt.Errorf("supplementary group %d is not a group ID", g)
		}
	}
	env := map[string]bool{}
	for _, e := range a.Environment {
		if err := ValidateEnvironment(e.Name, e.Value); err != nil {
			return err
		}
		if env[e.Name] {
			return fmt.Errorf("multiple environment variables with name %q", e.Name)
		}
		env[e.Name] = true
	}
	names := map[string]bool{}
	for _, mp := range a.MountPoints {
		if err := checkName("mount point", mp.Name); err != nil {
			return err
		}
		if err := checkTarget(mp.Path); err != nil {
			return fmt.Errorf("mount point %q: %w", mp.Name, err)
		}
		if names[mp.Name] {
			return fmt.Errorf("multiple mount points with name %q", mp.Name)
		}
		names[mp.Name] = true
	}
	ports := map[string]bool{}
	for i := range a.Ports {
		p := &a.Ports[i]
		if err := validatePort(p); err != nil {
			return fmt.Errorf("port %q: %w", p.Name, err)
		}
		if ports[p.Name] {
			return fmt.Errorf("multiple ports with name %q", p.Name)
		}
		ports[p.Name] = true
	}
	handlers := map[string]bool{}
	for _, h := range a.EventHandlers {
		if h.Name != "pre-start" && h.Name != "post-stop" {
			return fmt.Errorf("event handler %q is neither pre-start nor post-stop", h.Name)
		}
		if len(h.Exec) == 0 || !path.IsAbs(h.Exec[0]) {
			return fmt.Errorf("event handler %q: its program is not an absolute path", h.Name)
		}
		if handlers[h.Name] {
			return fmt.Errorf("multiple event handlers with name %q", h.Name)
		}
		handlers[h.Name] = true
	}
	return validateIsolators(a.Isolators)
}

// ValidateWorkingDir accepts "" and absolute paths.
func ValidateWorkingDir(p string) error {
	if p == "" {
		return nil
	}
	return checkPath("working directory", p)
}

// ValidateEnvironment checks one variable: execve(2) carries NAME=VALUE, ended
// by a NUL.
func ValidateEnvironment(name, value string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("environment variable name %q is empty or has = or NUL in it", name)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("environment variable %q has a NUL byte", name)
	}
	return nil
}

func validateIsolators(list []image.Isolator) error {
	seen := map[string]bool{}
	for _, i := range list {
		if !ValidIdentifier(i.Name) {
			return fmt.Errorf("isolator name %q is not an AC identifier", i.Name)
		}
		if seen[i.Name] {
			return fmt.Errorf("multiple isolators with name %q", i.Name)
		}
		seen[i.Name] = true
	}
	return nil
}

func validateAnnotations(p Pairs) error {
	seen := map[string]bool{}
	for _, a := range p {
		if !ValidIdentifier(a.Name) {
			return fmt.Errorf("annotation name %q is not an AC identifier", a.Name)
		}
		if seen[a.Name] {
			return fmt.Errorf("multiple annotations with name %q", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

func validateLabels(p Pairs) error {
	seen := map[string]bool{}
	for _, l := range p {
		if !ValidIdentifier(l.Name) || l.Name == "name" {
			return fmt.Errorf("label name %q is not allowed", l.Name)
		}
		if seen[l.Name] {
			return fmt.Errorf("multiple labels with name %q", l.Name)
		}
		seen[l.Name] = true
	}
	return nil
}

func validImageID(id image.ID) bool {
	algo, hexa, ok := strings.Cut(string(id), "-")
	return ok && (algo == "sha512" || algo == "sha256") && hexa != "" && strings.Trim(hexa, "0123456789abcdef") == ""
}
