// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// maxDevices bounds the device nodes of one app: /dev itself has fewer.
const maxDevices = 1024

// refuseGrants: an image may ask for less than an app has by default, and for
// capabilities, but it does not choose among the host's devices. by are isolators
// that stand in for those of the same name.
func refuseGrants(list, by []image.Isolator) error {
	named := func(i image.Isolator) bool { return i.Name == pod.IsolatorDevices }
	if slices.ContainsFunc(list, named) && !slices.ContainsFunc(by, named) {
		return hint.Wrap(fmt.Errorf("the image asks for devices of the host (isolator %q)", pod.IsolatorDevices),
			"name those it may have with --device")
	}
	return nil
}

// devices puts what the isolator says into the document.
func (r *Request) devices(c *contract.App, d *pod.Devices) error {
	if d == nil {
		return nil
	}
	for _, text := range d.Rules {
		if _, err := devcgroup.ParseRule(text); err != nil {
			return err
		}
	}
	c.DeviceRules = d.Rules
	var named []string
	for i := range d.Devices {
		if name := d.Devices[i].CDI; name != "" {
			named = append(named, name)
			continue
		}
		nodes, err := hostDevice(&d.Devices[i])
		if err != nil {
			return err
		}
		c.Devices = append(c.Devices, nodes...)
	}
	if named != nil {
		if err := r.described(c, named); err != nil {
			return err
		}
	}
	if len(c.Devices) > maxDevices {
		return fmt.Errorf("%d device nodes are more than the %d that an app may have", len(c.Devices), maxDevices)
	}
	targets := map[string]bool{}
	for i := range c.Devices {
		t := path.Clean(c.Devices[i].Target)
		if targets[t] {
			return fmt.Errorf("multiple devices at %q", t)
		}
		targets[t] = true
	}
	return nil
}

// hostDevice is a node of the host's, or those below a directory.
func hostDevice(d *pod.Device) ([]contract.Device, error) {
	target, access := d.Target, d.Access
	if target == "" {
		target = d.Source
	}
	if access == "" {
		access = "rwm"
	}
	source := filepath.Clean(d.Source)
	// A link such as /dev/cdrom leads to what is meant; the app sees a node.
	info, err := os.Stat(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("device %q does not exist on this host", d.Source)
	}
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", d.Source, err)
	}
	switch {
	case info.Mode()&fs.ModeDevice != 0:
		return []contract.Device{{Source: source, Target: path.Clean(target), Access: access}}, nil
	case !info.IsDir():
		return nil, fmt.Errorf("%q is neither a device node nor a directory of them", d.Source)
	}
	var list []contract.Device
	err = filepath.WalkDir(source, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Type()&fs.ModeDevice != 0 {
			list = append(list, contract.Device{Source: p, Target: path.Join(target, strings.TrimPrefix(p, source)), Access: access})
		}
		if len(list) > maxDevices {
			return fmt.Errorf("more than %d device nodes", maxDevices)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", d.Source, err)
	}
	if list == nil {
		return nil, fmt.Errorf("directory %q has no device nodes", d.Source)
	}
	return list, nil
}

// confine decides whether the pod's devices must be confined by its cgroup, and
// says why: if something was said of devices, or if an app could get around what
// else keeps it from opening others. Those are mounts on which no device can be
// opened, and who may mount (CAP_SYS_ADMIN) makes another.
func confine(c *contract.Pod) (why string) {
	for i := range c.Apps {
		a := &c.Apps[i]
		if slices.ContainsFunc(a.DeviceRules, func(s string) bool { r, _ := devcgroup.ParseRule(s); return r == devcgroup.All() }) {
			continue // everything is allowed
		}
		switch {
		case a.Devices != nil || a.DeviceRules != nil:
			return fmt.Sprintf("app %q has devices of the host", a.Name)
		case !c.Insecure.Capabilities && slices.Contains(a.Capabilities, "CAP_SYS_ADMIN"):
			return fmt.Sprintf("app %q may have CAP_SYS_ADMIN", a.Name)
		}
		for j := range a.Mounts {
			if m := &a.Mounts[j]; m.ReadOnly && isDevice(m.Source) {
				return fmt.Sprintf("volume %q is a device and read-only", m.Volume)
			}
		}
	}
	return ""
}

func isDevice(path string) bool {
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == unix.S_IFCHR || kind == unix.S_IFBLK
}

// placeDevices finds where devices are confined: the directory of this process's
// cgroup in version 1's hierarchy of them; "" for the pod's cgroup of version 2,
// or if they are not to be.
func placeDevices(c *contract.Pod) (string, error) {
	why := confine(c)
	if c.ConfineDevices = why != ""; why == "" {
		return "", nil
	}
	homes, err := cgroup.Homes([]string{devcgroup.Controller})
	if err == nil {
		return homes[devcgroup.Controller], nil
	}
	if c.Cgroup == "" {
		return "", hint.Wrap(fmt.Errorf("cannot confine the pod to its devices: %s, and there is neither a cgroup of version 2 nor version 1's controller %q", why, devcgroup.Controller),
			`to let the app use every device: --device-cgroup-rule="a *:* rwm"`)
	}
	return "", nil
}
