// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// IsolatorDevices is rkt's own: the host's devices that an app may use,
// {"devices": […], "rules": […]}. Only a pod manifest and the command line have
// it, never an image.
const IsolatorDevices = "os/linux/devices"

// Device is one that an app may use: a node of the host's, or all nodes below a
// directory; or what the host's administrator has described by the Container
// Device Interface under a qualified name. Either Source or CDI is set.
type Device struct {
	Source string `json:"source,omitempty"`
	Target string `json:"target,omitempty"` // "" is Source
	Access string `json:"access,omitempty"` // of r, w and m; "" is rwm
	CDI    string `json:"cdi,omitempty"`    // "vendor.com/class=name"
}

// Devices are what IsolatorDevices says.
type Devices struct {
	Devices []Device `json:"devices,omitempty"`
	// Rules allow devices by number, as "c 189:* rwm".
	Rules []string `json:"rules,omitempty"`
}

// ParseDevice reads the value of --device: /dev/X[:/dev/Y][:rwm], or
// vendor.com/class=name.
func ParseDevice(s string) (d Device, err error) {
	if !strings.HasPrefix(s, "/") {
		d.CDI = s
		return d, d.validate()
	}
	f := strings.Split(s, ":")
	d.Source = f[0]
	switch {
	case len(f) == 2 && strings.HasPrefix(f[1], "/"):
		d.Target = f[1]
	case len(f) == 2:
		d.Access = f[1]
	case len(f) == 3:
		d.Target, d.Access = f[1], f[2]
	case len(f) > 3:
		return d, fmt.Errorf("%q is not /dev/X[:/dev/Y][:rwm]", s)
	}
	if len(f) > 1 && (f[len(f)-1] == "" || f[1] == "") {
		return d, fmt.Errorf("%q is not /dev/X[:/dev/Y][:rwm]", s)
	}
	return d, d.validate()
}

func (d *Device) validate() error {
	if d.CDI != "" {
		if d.Source != "" || d.Target != "" || d.Access != "" {
			return fmt.Errorf("device %q has a source, a target or an access beside its qualified name", d.CDI)
		}
		kind, name, ok := strings.Cut(d.CDI, "=")
		vendor, class, slash := strings.Cut(kind, "/")
		if !ok || !slash || vendor == "" || class == "" || name == "" || strings.ContainsAny(d.CDI, " \t\n,") {
			return fmt.Errorf("device %q is neither an absolute path nor of the form vendor.com/class=name", d.CDI)
		}
		return nil
	}
	for _, p := range []string{d.Source, d.Target} {
		if p != "" && (!path.IsAbs(p) || strings.ContainsAny(p, "\x00\n")) {
			return fmt.Errorf("path %q of a device is not absolute", p)
		}
	}
	if d.Source == "" {
		return errors.New("a device has neither a source nor a qualified name")
	}
	for i, c := range d.Access {
		if !strings.ContainsRune("rwm", c) || strings.ContainsRune(d.Access[:i], c) {
			return fmt.Errorf("access %q of a device is not made of r, w and m", d.Access)
		}
	}
	return nil
}

// AddDevices lays devices into the isolator of them in the list, if there is one
// already.
func AddDevices(list []image.Isolator, more Devices) ([]image.Isolator, error) {
	all := Devices{}
	for _, i := range list {
		if i.Name == IsolatorDevices {
			if err := strict(i.Value, &all); err != nil {
				return nil, err
			}
		}
	}
	all.Devices, all.Rules = append(all.Devices, more.Devices...), append(all.Rules, more.Rules...)
	list = slices.DeleteFunc(slices.Clone(list), func(i image.Isolator) bool { return i.Name == IsolatorDevices })
	return append(list, image.Isolator{Name: IsolatorDevices, Value: mustJSON(all)}), nil
}

func (is *Isolation) addDevices(v image.Raw) error {
	is.Devices = new(Devices)
	if err := strict(v, is.Devices); err != nil {
		return err
	}
	for i := range is.Devices.Devices {
		if err := is.Devices.Devices[i].validate(); err != nil {
			return err
		}
	}
	return nil
}
