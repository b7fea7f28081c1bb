// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/rkt/rkt/internal/image/aci"
)

// AppC is the manifest of an App Container Image.
type AppC struct{ M *aci.ImageManifest }

// NewAppC is that of an empty image for this machine.
func NewAppC() *AppC {
	os, arch := host()
	return &AppC{&aci.ImageManifest{ACKind: aci.Kind, ACVersion: aci.Version, Name: "acbuild-unnamed",
		Labels: aci.Labels{{Name: "os", Value: os}, {Name: "arch", Value: appcArch(arch)}}}}
}

// Unnamed is the name of an image that was given none.
const Unnamed = "acbuild-unnamed"

// ParseAppC reads one.
func ParseAppC(raw []byte) (*AppC, error) {
	m, err := aci.Parse(raw)
	return &AppC{m}, err
}

// Encode is the manifest in one line, or indented.
func (a *AppC) Encode(pretty bool) ([]byte, error) { return encode(a.M, pretty) }

// encode leaves <, > and & as they are: manifests are no HTML.
func encode(v any, pretty bool) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if pretty {
		e.SetIndent("", "    ")
	}
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// edit makes a change, unless it leads to something invalid.
func (a *AppC) edit(change func(m *aci.ImageManifest) error) error {
	raw, err := json.Marshal(a.M)
	if err != nil {
		return err
	}
	m := new(aci.ImageManifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return err
	}
	if err := change(m); err != nil {
		return err
	}
	if err := m.Validate(); err != nil {
		return fmt.Errorf("cannot change manifest: %w", err)
	}
	a.M = m
	return nil
}

// app is edit of the app, which is made if there is none.
func (a *AppC) app(change func(*aci.App) error) error {
	return a.edit(func(m *aci.ImageManifest) error {
		if m.App == nil {
			m.App = &aci.App{User: "0", Group: "0"}
		}
		return change(m.App)
	})
}

// SetName sets the image's name.
func (a *AppC) SetName(name string) error {
	return a.edit(func(m *aci.ImageManifest) error { m.Name = aci.ACIdentifier(name); return nil })
}

// SetExec sets what is run.
func (a *AppC) SetExec(exec []string) error {
	return a.app(func(p *aci.App) error { p.Exec = exec; return nil })
}

// SetUser sets the user.
func (a *AppC) SetUser(user string) error {
	return a.app(func(p *aci.App) error { p.User = user; return nil })
}

// SetGroup sets the group.
func (a *AppC) SetGroup(group string) error {
	return a.app(func(p *aci.App) error { p.Group = group; return nil })
}

// SetSupplementaryGroups sets the groups beside it.
func (a *AppC) SetSupplementaryGroups(gids []int) error {
	return a.app(func(p *aci.App) error { p.SupplementaryGIDs = gids; return nil })
}

// SetWorkingDirectory sets the working directory.
func (a *AppC) SetWorkingDirectory(dir string) error {
	return a.app(func(p *aci.App) error { p.WorkingDirectory = dir; return nil })
}

// SetEventHandler sets what is run before or after.
func (a *AppC) SetEventHandler(name string, exec []string) error {
	return a.app(func(p *aci.App) error {
		p.EventHandlers = append(slices.DeleteFunc(p.EventHandlers, func(h aci.EventHandler) bool { return h.Name == name }),
			aci.EventHandler{Name: name, Exec: exec})
		return nil
	})
}

// AddAnnotation adds or replaces one.
func (a *AppC) AddAnnotation(name, value string) error {
	return a.edit(func(m *aci.ImageManifest) error {
		for i := range m.Annotations {
			if string(m.Annotations[i].Name) == name {
				m.Annotations[i].Value = value
				return nil
			}
		}
		m.Annotations = append(m.Annotations, aci.Annotation{Name: aci.ACIdentifier(name), Value: value})
		return nil
	})
}

// remove drops what fits.
func remove[T any](list *[]T, what, name string, fits func(T) bool) error {
	left := slices.DeleteFunc(slices.Clone(*list), fits)
	if len(left) == len(*list) {
		return absent(what, name)
	}
	*list = left
	return nil
}

// RemoveAnnotation removes one.
func (a *AppC) RemoveAnnotation(name string) error {
	return a.edit(func(m *aci.ImageManifest) error {
		return remove((*[]aci.Annotation)(&m.Annotations), "annotation", name, func(x aci.Annotation) bool { return string(x.Name) == name })
	})
}

// AddLabel adds or replaces one.
func (a *AppC) AddLabel(name, value string) error {
	return a.edit(func(m *aci.ImageManifest) error {
		for i := range m.Labels {
			if string(m.Labels[i].Name) == name {
				m.Labels[i].Value = value
				return nil
			}
		}
		m.Labels = append(m.Labels, aci.Label{Name: aci.ACIdentifier(name), Value: value})
		return nil
	})
}

// RemoveLabel removes one.
func (a *AppC) RemoveLabel(name string) error {
	return a.edit(func(m *aci.ImageManifest) error {
		return remove((*[]aci.Label)(&m.Labels), "label", name, func(x aci.Label) bool { return string(x.Name) == name })
	})
}

// AddEnvironment adds or replaces a variable.
func (a *AppC) AddEnvironment(name, value string) error {
	return a.app(func(p *aci.App) error {
		for i := range p.Environment {
			if p.Environment[i].Name == name {
				p.Environment[i].Value = value
				return nil
			}
		}
		p.Environment = append(p.Environment, aci.EnvironmentVariable{Name: name, Value: value})
		return nil
	})
}

// RemoveEnvironment removes a variable.
func (a *AppC) RemoveEnvironment(name string) error {
	return a.app(func(p *aci.App) error {
		return remove((*[]aci.EnvironmentVariable)(&p.Environment), "variable", name, func(x aci.EnvironmentVariable) bool { return x.Name == name })
	})
}

// AddPort adds a port, or replaces the one of that name.
func (a *AppC) AddPort(port Port) error {
	return a.app(func(p *aci.App) error {
		p.Ports = append(slices.DeleteFunc(p.Ports, func(x aci.Port) bool { return string(x.Name) == port.Name }),
			aci.Port{Name: aci.ACName(port.Name), Protocol: port.Protocol, Port: port.Port, Count: port.Count, SocketActivated: port.SocketActivated})
		return nil
	})
}

// RemovePort removes a port by its name or number.
func (a *AppC) RemovePort(name string) error {
	return a.app(func(p *aci.App) error {
		return remove(&p.Ports, "port", name, func(x aci.Port) bool {
			return string(x.Name) == name || strconv.FormatUint(uint64(x.Port), 10) == name
		})
	})
}

// AddMount adds a mount point, or replaces the one of that name.
func (a *AppC) AddMount(mount Mount) error {
	return a.app(func(p *aci.App) error {
		p.MountPoints = append(slices.DeleteFunc(p.MountPoints, func(x aci.MountPoint) bool { return string(x.Name) == mount.Name }),
			aci.MountPoint{Name: aci.ACName(mount.Name), Path: mount.Path, ReadOnly: mount.ReadOnly})
		return nil
	})
}

// RemoveMount removes a mount point by its name or path.
func (a *AppC) RemoveMount(name string) error {
	return a.app(func(p *aci.App) error {
		return remove(&p.MountPoints, "mount point", name, func(x aci.MountPoint) bool { return string(x.Name) == name || x.Path == name })
	})
}

// AddIsolator adds or replaces one; value is JSON.
func (a *AppC) AddIsolator(name string, value []byte) error {
	if !json.Valid(value) {
		return fmt.Errorf("cannot add isolator %q: its value is no JSON", name)
	}
	return a.app(func(p *aci.App) error {
		p.Isolators = append(slices.DeleteFunc(p.Isolators, func(x aci.Isolator) bool { return string(x.Name) == name }),
			aci.Isolator{Name: aci.ACIdentifier(name), Value: value})
		return nil
	})
}

// RemoveIsolator removes one.
func (a *AppC) RemoveIsolator(name string) error {
	return a.app(func(p *aci.App) error {
		return remove((*[]aci.Isolator)(&p.Isolators), "isolator", name, func(x aci.Isolator) bool { return string(x.Name) == name })
	})
}

// AddDependency adds a dependency, or replaces the one of that name.
func (a *AppC) AddDependency(d Dependency) error {
	return a.edit(func(m *aci.ImageManifest) error {
		dep := aci.Dependency{ImageName: aci.ACIdentifier(d.Name), ImageID: d.ID, Size: d.Size}
		for _, l := range d.Labels {
			dep.Labels = append(dep.Labels, aci.Label{Name: aci.ACIdentifier(l.Name), Value: l.Value})
		}
		for i := range m.Dependencies {
			if string(m.Dependencies[i].ImageName) == d.Name {
				m.Dependencies[i] = dep
				return nil
			}
		}
		m.Dependencies = append(m.Dependencies, dep)
		return nil
	})
}

// RemoveDependency removes one by its name.
func (a *AppC) RemoveDependency(name string) error {
	return a.edit(func(m *aci.ImageManifest) error {
		return remove(&m.Dependencies, "dependency", name, func(x aci.Dependency) bool { return string(x.ImageName) == name })
	})
}

// Environment is NAME=VALUE in the image's order.
func (a *AppC) Environment() (list []string) {
	if a.M.App != nil {
		for _, e := range a.M.App.Environment {
			list = append(list, e.Name+"="+e.Value)
		}
	}
	return list
}

// User is as the image has it.
func (a *AppC) User() (user, group string) {
	if a.M.App == nil {
		return "", ""
	}
	return a.M.App.User, a.M.App.Group
}

// WorkingDirectory is as the image has it.
func (a *AppC) WorkingDirectory() string {
	if a.M.App == nil {
		return ""
	}
	return a.M.App.WorkingDirectory
}
