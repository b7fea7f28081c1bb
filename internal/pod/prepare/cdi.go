// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/pod/cdi"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// described puts what devices of the Container Device Interface need into the
// document. As with OCI runtimes, a later device's variable, node or mount takes
// the place of an earlier one's; a place that the user has given to something else
// is an error.
func (r *Request) described(c *contract.App, names []string) error {
	if r.CDI == nil {
		return fmt.Errorf("CDI device %q is not known here", names[0])
	}
	e, err := r.CDI(names)
	if err != nil {
		return err
	}
	env := slices.Clone(c.Environment)
	for _, v := range e.Env {
		name, _, _ := strings.Cut(v, "=")
		env = slices.DeleteFunc(env, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		env = append(env, v)
	}
	c.Environment = env
	var nodes []contract.Device
	for i := range e.Nodes {
		d, err := describedNode(&e.Nodes[i])
		if err != nil {
			return err
		}
		nodes = slices.DeleteFunc(nodes, func(o contract.Device) bool { return o.Target == d.Target })
		nodes = append(nodes, d)
	}
	c.Devices = append(c.Devices, nodes...)
	var mounts []contract.Mount
	for i := range e.Mounts {
		m, err := describedMount(&e.Mounts[i])
		if err != nil {
			return err
		}
		if slices.ContainsFunc(c.Mounts, func(o contract.Mount) bool { return samePath(o.Target, m.Target) }) {
			return fmt.Errorf("CDI device %q needs a mount on %q, where another volume is", names[0], m.Target)
		}
		mounts = slices.DeleteFunc(mounts, func(o contract.Mount) bool { return o.Target == m.Target })
		mounts = append(mounts, m)
	}
	c.Mounts = append(slices.Clone(c.Mounts), mounts...)
	slices.SortStableFunc(c.Mounts, func(x, y contract.Mount) int { return strings.Compare(x.Target, y.Target) })
	for _, g := range e.GIDs {
		if g != 0 && !slices.Contains(c.SupplementaryGIDs, int(g)) {
			c.SupplementaryGIDs = append(slices.Clone(c.SupplementaryGIDs), int(g))
		}
	}
	return nil
}

// describedNode is a node of the host's as it is, where the specification does not
// ask for another owner, mode or number.
func describedNode(n *cdi.Node) (d contract.Device, err error) {
	host := cmp.Or(n.HostPath, n.Path)
	for _, p := range []string{host, n.Path} {
		if !path.IsAbs(p) {
			return d, fmt.Errorf("path %q of a CDI device node is not absolute", p)
		}
	}
	d = contract.Device{Target: path.Clean(n.Path)}
	switch n.Permissions {
	case "":
		d.Access = "rwm"
	case "none":
	default:
		for _, l := range "rwm" {
			if strings.ContainsRune(n.Permissions, l) {
				d.Access += string(l)
			}
		}
	}
	kind := strings.Replace(n.Type, "u", "c", 1)
	complete := kind != "" && n.Major != 0
	var st unix.Stat_t
	err = unix.Stat(host, &st)
	there := err == nil && (st.Mode&unix.S_IFMT == unix.S_IFCHR || st.Mode&unix.S_IFMT == unix.S_IFBLK)
	hostKind := "c"
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		hostKind = "b"
	}
	if !complete {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return d, fmt.Errorf("device node %q does not exist on this host", host)
		case err != nil:
			return d, fmt.Errorf("device node %q: %w", host, err)
		case !there:
			return d, fmt.Errorf("%q is not a device node", host)
		case kind != "" && kind != hostKind:
			return d, fmt.Errorf("device node %q is of type %s on this host, and of type %s in the specification", host, hostKind, n.Type)
		}
	}
	major, minor := int(n.Major), int(n.Minor)
	node := contract.Node{}
	if there && (!complete || kind == hostKind && major == int(unix.Major(st.Rdev)) && minor == int(unix.Minor(st.Rdev))) {
		d.Source = filepath.Clean(host)
		if !complete && major != 0 {
			node.Major, node.Minor = &major, &minor
		}
	} else {
		mode := 0o666
		if there {
			mode = int(st.Mode & 0o777)
		}
		node = contract.Node{Type: kind, Major: &major, Minor: &minor, Mode: &mode}
	}
	if n.FileMode != nil {
		mode := int(*n.FileMode & 0o777)
		node.Mode = &mode
	}
	for _, o := range []struct {
		id *uint32
		to **int
	}{{n.UID, &node.UID}, {n.GID, &node.GID}} {
		if o.id != nil {
			id := int(*o.id)
			*o.to = &id
		}
	}
	if node != (contract.Node{}) {
		d.Node = &node
	}
	return d, nil
}

// describedMount reads the options of mount(8) that a bind can have here. No
// volume of a pod opens device nodes, asked for or not.
func describedMount(m *cdi.Mount) (c contract.Mount, err error) {
	if !path.IsAbs(m.HostPath) || !path.IsAbs(m.ContainerPath) {
		return c, fmt.Errorf("paths %q and %q of a CDI mount are not both absolute", m.HostPath, m.ContainerPath)
	}
	c = contract.Mount{Volume: "cdi:" + m.ContainerPath, Source: filepath.Clean(m.HostPath), Target: path.Clean(m.ContainerPath)}
	bind := len(m.Options) == 0
	for _, o := range m.Options {
		switch o {
		case "bind":
			bind = true
		case "rbind":
			bind, c.Recursive = true, true
		case "ro":
			c.ReadOnly = true
		case "rw":
			c.ReadOnly = false
		case "nosuid":
			c.NoSUID = true
		case "noexec":
			c.NoExec = true
		case "private", "rprivate":
			c.Private = true
		case "nodev", "suid", "exec", "slave", "rslave":
		default:
			return c, fmt.Errorf("option %q of the CDI mount on %q is not known", o, m.ContainerPath)
		}
	}
	if !bind && m.Type != "" && m.Type != "none" && m.Type != "bind" {
		return c, fmt.Errorf("the CDI mount on %q is of type %q, and rkt only binds what the host has", m.ContainerPath, m.Type)
	}
	if _, err := os.Stat(c.Source); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return c, fmt.Errorf("the CDI mount on %q needs %q, which does not exist on this host", m.ContainerPath, m.HostPath)
		}
		return c, fmt.Errorf("the CDI mount on %q: %w", m.ContainerPath, err)
	}
	return c, nil
}
