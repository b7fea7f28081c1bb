// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/image/ociconfig"
)

// OCI is an image's configuration and its manifest's annotations (image-spec
// 1.1). Fields that are not understood stay as they are.
type OCI struct {
	// Top are the configuration's fields, but for those of Process.
	Top map[string]json.RawMessage
	// Process is its field "config".
	Process map[string]json.RawMessage
	// Annotations are the manifest's.
	Annotations map[string]string
}

// Annotations by which acbuild always told the names of ports and mounts.
const (
	portAnnotation  = "coreos.com/acbuild/port/"
	mountAnnotation = "coreos.com/acbuild/mount/"
)

// NewOCI is the configuration of an empty image for this machine.
func NewOCI() *OCI {
	os, arch := host()
	o := &OCI{Top: map[string]json.RawMessage{}, Process: map[string]json.RawMessage{}, Annotations: map[string]string{}}
	o.Top["os"], _ = json.Marshal(os)
	o.Top["architecture"], _ = json.Marshal(arch)
	o.Top["rootfs"] = json.RawMessage(`{"type":"layers","diff_ids":[]}`)
	return o
}

// ParseOCI reads a configuration.
func ParseOCI(raw []byte, annotations map[string]string) (*OCI, error) {
	if _, err := ociconfig.ParseConfig(raw); err != nil {
		return nil, err
	}
	o := &OCI{Process: map[string]json.RawMessage{}, Annotations: maps.Clone(annotations)}
	if o.Annotations == nil {
		o.Annotations = map[string]string{}
	}
	if err := json.Unmarshal(raw, &o.Top); err != nil {
		return nil, err
	}
	if p := o.Top["config"]; p != nil && string(p) != "null" {
		if err := json.Unmarshal(p, &o.Process); err != nil {
			return nil, fmt.Errorf("cannot read image configuration: %w", err)
		}
	}
	// What Docker keeps of the container an image was made in.
	for _, name := range []string{"config", "container", "container_config", "docker_version", "id", "parent"} {
		delete(o.Top, name)
	}
	return o, nil
}

// Encode is the configuration in one line, or indented.
func (o *OCI) Encode(pretty bool) ([]byte, error) {
	all := maps.Clone(o.Top)
	p, err := encode(o.Process, false)
	if err != nil {
		return nil, err
	}
	if all["config"] = p; len(o.Process) == 0 {
		delete(all, "config")
	}
	return encode(all, pretty)
}

// process is the part that says how the image is run.
func (o *OCI) process() (p ociconfig.Process) {
	raw, _ := json.Marshal(o.Process)
	_ = json.Unmarshal(raw, &p)
	return p
}

func (o *OCI) set(name string, v any) error {
	raw, err := encode(v, false)
	if err != nil {
		return err
	}
	if string(raw) == "null" || string(raw) == `""` || string(raw) == "{}" || string(raw) == "[]" {
		delete(o.Process, name)
		return nil
	}
	o.Process[name] = raw
	return nil
}

func noZero(words ...string) error {
	for _, w := range words {
		if strings.ContainsRune(w, 0) {
			return fmt.Errorf("cannot change configuration: %q has a zero byte", w)
		}
	}
	return nil
}

// SetName is for ACIs: OCI images are named from outside.
func (o *OCI) SetName(string) error { return &NoWordError{"OCI", "name of their own"} }

// SetExec sets the entry point; the command would be its arguments.
func (o *OCI) SetExec(exec []string) error {
	if err := noZero(exec...); err != nil {
		return err
	}
	delete(o.Process, "Cmd")
	return o.set("Entrypoint", exec)
}

// SetUser sets the user, and keeps the group.
func (o *OCI) SetUser(user string) error {
	if strings.Contains(user, ":") || noZero(user) != nil {
		return fmt.Errorf("cannot set user %q: it is a name or a number", user)
	}
	_, group := o.User()
	return o.setUser(user, group)
}

// SetGroup sets the group, and keeps the user.
func (o *OCI) SetGroup(group string) error {
	if strings.Contains(group, ":") || noZero(group) != nil {
		return fmt.Errorf("cannot set group %q: it is a name or a number", group)
	}
	user, _ := o.User()
	if user == "" {
		user = "0"
	}
	return o.setUser(user, group)
}

func (o *OCI) setUser(user, group string) error {
	if group != "" {
		user += ":" + group
	}
	return o.set("User", user)
}

// SetSupplementaryGroups is for ACIs.
func (o *OCI) SetSupplementaryGroups([]int) error {
	return &NoWordError{"OCI", "supplementary groups: they come from the image's /etc/group"}
}

// SetWorkingDirectory sets the working directory.
func (o *OCI) SetWorkingDirectory(dir string) error {
	if !strings.HasPrefix(dir, "/") || noZero(dir) != nil {
		return fmt.Errorf("cannot set working directory %q: it is no absolute path", dir)
	}
	return o.set("WorkingDir", dir)
}

// SetEventHandler is for ACIs.
func (o *OCI) SetEventHandler(string, []string) error { return &NoWordError{"OCI", "event handlers"} }

// AddAnnotation adds or replaces one of the manifest's.
func (o *OCI) AddAnnotation(name, value string) error {
	if name == "" {
		return errors.New("cannot add annotation: its name is empty")
	}
	o.Annotations[name] = value
	return nil
}

// RemoveAnnotation removes one.
func (o *OCI) RemoveAnnotation(name string) error {
	if _, ok := o.Annotations[name]; !ok {
		return absent("annotation", name)
	}
	delete(o.Annotations, name)
	return nil
}

// AddLabel adds or replaces one of the configuration's.
func (o *OCI) AddLabel(name, value string) error {
	if name == "" {
		return errors.New("cannot add label: its name is empty")
	}
	labels := o.process().Labels
	if labels == nil {
		labels = map[string]string{}
	}
	labels[name] = value
	return o.set("Labels", labels)
}

// RemoveLabel removes one.
func (o *OCI) RemoveLabel(name string) error {
	labels := o.process().Labels
	if _, ok := labels[name]; !ok {
		return absent("label", name)
	}
	delete(labels, name)
	return o.set("Labels", labels)
}

// AddEnvironment adds or replaces a variable.
func (o *OCI) AddEnvironment(name, value string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") || noZero(value) != nil {
		return fmt.Errorf("cannot add variable %q: that is none", name+"="+value)
	}
	env := o.process().Env
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == name {
			env[i] = name + "=" + value
			return o.set("Env", env)
		}
	}
	return o.set("Env", append(env, name+"="+value))
}

// RemoveEnvironment removes a variable.
func (o *OCI) RemoveEnvironment(name string) error {
	env := o.process().Env
	if err := remove(&env, "variable", name, func(e string) bool { k, _, _ := strings.Cut(e, "="); return k == name }); err != nil {
		return err
	}
	return o.set("Env", env)
}

// AddPort exposes a port, and keeps its name in an annotation.
func (o *OCI) AddPort(p Port) error {
	if p.SocketActivated {
		return &NoWordError{"OCI", "socket activation"}
	}
	if p.Name == "" {
		return errors.New("cannot add port: its name is empty")
	}
	if old, ok := o.Annotations[portAnnotation+p.Name]; ok {
		if err := o.unexpose(old); err != nil {
			return err
		}
	}
	ports := o.process().ExposedPorts
	if ports == nil {
		ports = map[string]struct{}{}
	}
	word := strconv.FormatUint(uint64(p.Port), 10)
	if p.Count > 1 {
		if p.Count > 65536-p.Port {
			return fmt.Errorf("cannot add port %q: %d ports from %d on are too many", p.Name, p.Count, p.Port)
		}
		word += "-" + strconv.FormatUint(uint64(p.Port+p.Count-1), 10)
	}
	word += "/" + p.Protocol
	ports[word] = struct{}{}
	o.Annotations[portAnnotation+p.Name] = word
	return o.set("ExposedPorts", ports)
}

func (o *OCI) unexpose(word string) error {
	ports := o.process().ExposedPorts
	delete(ports, word)
	return o.set("ExposedPorts", ports)
}

// RemovePort removes a port by its name, its number, or NUMBER/PROTOCOL.
func (o *OCI) RemovePort(name string) error {
	word := o.Annotations[portAnnotation+name]
	if word == "" {
		for p := range o.process().ExposedPorts {
			if number, _, _ := strings.Cut(p, "/"); p == name || number == name {
				word = p
			}
		}
	}
	if word == "" {
		return absent("port", name)
	}
	maps.DeleteFunc(o.Annotations, func(k, v string) bool { return strings.HasPrefix(k, portAnnotation) && v == word })
	return o.unexpose(word)
}

// AddMount adds a volume, and keeps its name in an annotation.
func (o *OCI) AddMount(m Mount) error {
	switch {
	case m.ReadOnly:
		return &NoWordError{"OCI", "read-only volumes"}
	case m.Name == "":
		return errors.New("cannot add mount: its name is empty")
	case !strings.HasPrefix(m.Path, "/") || noZero(m.Path) != nil:
		return fmt.Errorf("cannot add mount %q: %q is no absolute path", m.Name, m.Path)
	}
	volumes := o.process().Volumes
	if volumes == nil {
		volumes = map[string]struct{}{}
	}
	delete(volumes, o.Annotations[mountAnnotation+m.Name])
	volumes[m.Path] = struct{}{}
	o.Annotations[mountAnnotation+m.Name] = m.Path
	return o.set("Volumes", volumes)
}

// RemoveMount removes a volume by its name or path.
func (o *OCI) RemoveMount(name string) error {
	path := o.Annotations[mountAnnotation+name]
	volumes := o.process().Volumes
	if path == "" {
		if _, ok := volumes[name]; !ok {
			return absent("mount", name)
		}
		path = name
	}
	maps.DeleteFunc(o.Annotations, func(k, v string) bool { return strings.HasPrefix(k, mountAnnotation) && v == path })
	delete(volumes, path)
	return o.set("Volumes", volumes)
}

// AddIsolator is for ACIs.
func (o *OCI) AddIsolator(string, []byte) error { return &NoWordError{"OCI", "isolators"} }

// RemoveIsolator is for ACIs.
func (o *OCI) RemoveIsolator(string) error { return &NoWordError{"OCI", "isolators"} }

// AddDependency is for ACIs.
func (o *OCI) AddDependency(Dependency) error { return &NoWordError{"OCI", "dependencies"} }

// RemoveDependency is for ACIs.
func (o *OCI) RemoveDependency(string) error { return &NoWordError{"OCI", "dependencies"} }

// Environment is NAME=VALUE in the image's order.
func (o *OCI) Environment() []string { return o.process().Env }

// User is as the image has it.
func (o *OCI) User() (user, group string) {
	user, group, _ = strings.Cut(o.process().User, ":")
	return user, group
}

// WorkingDirectory is as the image has it.
func (o *OCI) WorkingDirectory() string { return o.process().WorkingDir }

// Command is what is run: entry point and command.
func (o *OCI) Command() []string {
	p := o.process()
	return slices.Concat(p.Entrypoint, p.Cmd)
}
