// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// App is how an image or a pod wants a program run ("app" of both schemas).
type App struct {
	Exec              []string          `json:"exec,omitempty"`
	User              string            `json:"user"`  // name, number, or /path whose owner it is
	Group             string            `json:"group"` // the same
	SupplementaryGIDs []int             `json:"supplementaryGIDs,omitempty"`
	EventHandlers     []EventHandler    `json:"eventHandlers,omitempty"`
	WorkingDirectory  string            `json:"workingDirectory,omitempty"`
	Environment       Environment       `json:"environment,omitempty"`
	MountPoints       []MountPoint      `json:"mountPoints,omitempty"`
	Ports             []Port            `json:"ports,omitempty"`
	Isolators         Isolators         `json:"isolators,omitempty"`
	UserAnnotations   map[string]string `json:"userAnnotations,omitempty"`
	UserLabels        map[string]string `json:"userLabels,omitempty"`
}

// EventHandler is a command for "pre-start" or "post-stop".
type EventHandler struct {
	Name string   `json:"name"`
	Exec []string `json:"exec"`
}

// EnvironmentVariable is one of Environment.
type EnvironmentVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Environment in its order; the last of equal names counts.
type Environment []EnvironmentVariable

// MountPoint is a place where the app wants a volume.
type MountPoint struct {
	Name     ACName `json:"name"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Port is a port, or Count of them from Port on, that the app listens on.
type Port struct {
	Name            ACName `json:"name"`
	Protocol        string `json:"protocol"` // tcp, udp
	Port            uint   `json:"port"`
	Count           uint   `json:"count,omitempty"` // 0 is 1
	SocketActivated bool   `json:"socketActivated,omitempty"`
}

// Isolator limits an app; its value's form depends on its name.
type Isolator struct {
	Name  ACIdentifier `json:"name"`
	Value image.Raw    `json:"value"`
}

// Isolators of an app or a pod.
type Isolators []Isolator

// Validate checks names; what the values mean is known where they are applied.
func (is Isolators) Validate() error {
	for _, i := range is {
		if err := i.Name.Validate(); err != nil {
			return fmt.Errorf("isolator: %w", err)
		}
	}
	return nil
}

// Validate checks an app. An image's app may leave Exec out: the pod then has
// to say what to run.
func (a *App) Validate() error {
	if a.User == "" {
		return errors.New(`it has no "user"`)
	}
	if a.Group == "" {
		return errors.New(`it has no "group"`)
	}
	if err := noZero("exec", a.Exec...); err != nil {
		return err
	}
	if err := noZero("user and group", a.User, a.Group); err != nil {
		return err
	}
	for _, g := range a.SupplementaryGIDs {
		if g < 0 || int64(g) >= 1<<32-1 {
			return fmt.Errorf("supplementaryGIDs has %d, which is no group", g)
		}
	}
	if err := a.validateHandlers(); err != nil {
		return err
	}
	if a.WorkingDirectory != "" && !isAbs(a.WorkingDirectory) {
		return fmt.Errorf("workingDirectory %q is no absolute path", a.WorkingDirectory)
	}
	for _, e := range a.Environment {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") || strings.ContainsRune(e.Value, 0) {
			return fmt.Errorf("environment has %q, which is no variable", e.Name+"="+e.Value)
		}
	}
	if err := a.validateMountPoints(); err != nil {
		return err
	}
	if err := a.validatePorts(); err != nil {
		return err
	}
	return a.Isolators.Validate()
}

func (a *App) validateHandlers() error {
	seen := map[string]bool{}
	for _, h := range a.EventHandlers {
		switch {
		case h.Name != "pre-start" && h.Name != "post-stop":
			return fmt.Errorf("eventHandlers has %q: want pre-start or post-stop", h.Name)
		case seen[h.Name]:
			return fmt.Errorf("eventHandlers has %q twice", h.Name)
		case len(h.Exec) == 0 || h.Exec[0] == "":
			return fmt.Errorf("event handler %q has no exec", h.Name)
		}
		if err := noZero(h.Name, h.Exec...); err != nil {
			return err
		}
		seen[h.Name] = true
	}
	return nil
}

func (a *App) validateMountPoints() error {
	seen := map[ACName]bool{}
	for _, m := range a.MountPoints {
		if err := m.Name.Validate(); err != nil {
			return fmt.Errorf("mountPoints: %w", err)
		}
		if seen[m.Name] {
			return fmt.Errorf("mount point %q is there twice", m.Name)
		}
		seen[m.Name] = true
		if !isAbs(m.Path) {
			return fmt.Errorf("mount point %q: %q is no absolute path", m.Name, m.Path)
		}
	}
	return nil
}

func (a *App) validatePorts() error {
	seen := map[ACName]bool{}
	for _, p := range a.Ports {
		if err := p.Name.Validate(); err != nil {
			return fmt.Errorf("ports: %w", err)
		}
		switch {
		case seen[p.Name]:
			return fmt.Errorf("port %q is there twice", p.Name)
		case p.Protocol != "tcp" && p.Protocol != "udp":
			return fmt.Errorf("port %q: protocol %q is neither tcp nor udp", p.Name, p.Protocol)
		case p.Port == 0 || p.Port > 65535:
			return fmt.Errorf("port %q: %d is no port", p.Name, p.Port)
		case p.Count > 65536-p.Port:
			return fmt.Errorf("port %q: %d ports from %d on are too many", p.Name, p.Count, p.Port)
		}
		seen[p.Name] = true
	}
	return nil
}

func isAbs(p string) bool { return strings.HasPrefix(p, "/") && !strings.ContainsRune(p, 0) }

func noZero(what string, words ...string) error {
	for _, w := range words {
		if strings.ContainsRune(w, 0) {
			return fmt.Errorf("%s has a zero byte in %q", what, w)
		}
	}
	return nil
}

// isSemVer checks MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD] (semver.org 2.0.0).
func isSemVer(s string) bool {
	s, build, hasBuild := strings.Cut(s, "+")
	core, pre, hasPre := strings.Cut(s, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 || hasBuild && !areDotted(build) || hasPre && !areDotted(pre) {
		return false
	}
	for _, n := range numbers {
		if n == "" || strings.Trim(n, "0123456789") != "" || len(n) > 1 && n[0] == '0' {
			return false
		}
	}
	return true
}

func areDotted(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
		}) {
			return false
		}
	}
	return true
}
