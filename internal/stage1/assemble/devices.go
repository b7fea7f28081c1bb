// SPDX-License-Identifier: Apache-2.0

package assemble

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/linux/mount"
	"github.com/rkt/rkt/internal/linux/safepath"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// device is a detached mount of a device node, and the rule that lets it be
// opened.
type device struct {
	mount int
	rule  devcgroup.Rule
}

// openDevices opens, or makes on the shelf, the app's device nodes, in the
// document's order.
func (s *shelf) openDevices(app *contract.App) ([]device, error) {
	list := make([]device, 0, len(app.Devices))
	for i := range app.Devices {
		d, err := s.openDevice(&app.Devices[i], app.Name+".device-"+strconv.Itoa(i))
		if err != nil {
			closeDevices(list)
			return nil, fmt.Errorf("cannot give app %q device %q: %w", app.Name, app.Devices[i].Target, err)
		}
		list = append(list, d)
	}
	return list, nil
}

func closeDevices(list []device) {
	for _, d := range list {
		unix.Close(d.mount)
	}
}

// openDevice takes a detached copy of the node. The copy is read-only: the device
// can be written to all the same, but the node keeps its mode and owner. Numbers
// come from what was opened, not from what stage0 saw when the pod was prepared.
func (s *shelf) openDevice(d *contract.Device, name string) (_ device, err error) {
	var a devcgroup.Access
	if d.Access != "" {
		if a, err = devcgroup.ParseAccess(d.Access); err != nil {
			return device{}, err
		}
	}
	var st unix.Stat_t
	fd := -1
	if d.Source != "" {
		if fd, err = unix.Open(d.Source, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return device{}, &os.PathError{Op: "open", Path: d.Source, Err: err}
		}
		defer func() { unix.Close(fd) }()
		if err := unix.Fstat(fd, &st); err != nil {
			return device{}, os.NewSyscallError("fstat", err)
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
			return device{}, fmt.Errorf("%s is not a device node", d.Source)
		}
	}
	if d.Node != nil {
		if err := asked(d.Node, &st); err != nil {
			return device{}, err
		}
		made, err := s.makeNode(name, &st)
		if err != nil {
			return device{}, err
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		fd = made
	}
	m, err := mount.Clone(fd, "", false)
	if err != nil {
		return device{}, err
	}
	if err := mount.SetAttr(m, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, unix.MOUNT_ATTR_NODEV, false); err != nil {
		unix.Close(m)
		return device{}, err
	}
	return device{m, devcgroup.Of(&st, a)}, nil
}

// asked changes what a node is to be like.
func asked(n *contract.Node, st *unix.Stat_t) error {
	major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
	for _, f := range []struct {
		n  *int
		to *uint32
	}{{n.Major, &major}, {n.Minor, &minor}, {n.UID, &st.Uid}, {n.GID, &st.Gid}} {
		if f.n != nil {
			*f.to = uint32(*f.n)
		}
	}
	st.Rdev = unix.Mkdev(major, minor)
	switch n.Type {
	case "c":
		st.Mode = st.Mode&^unix.S_IFMT | unix.S_IFCHR
	case "b":
		st.Mode = st.Mode&^unix.S_IFMT | unix.S_IFBLK
	case "":
	default:
		return fmt.Errorf("type %q of a device is neither c nor b", n.Type)
	}
	if n.Mode != nil {
		st.Mode = st.Mode&unix.S_IFMT | uint32(*n.Mode)&0o777
	}
	return nil
}

// makeNode makes a device node on the shelf, whose own mount opens none.
func (s *shelf) makeNode(name string, st *unix.Stat_t) (int, error) {
	if err := unix.Mknodat(s.fd, name, st.Mode, int(st.Rdev)); err != nil {
		return -1, os.NewSyscallError("mknodat", err)
	}
	if err := unix.Fchownat(s.fd, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, os.NewSyscallError("fchownat", err)
	}
	fd, err := unix.Openat(s.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("openat", err)
}

// attachDevices puts the nodes at their places, after the volumes.
func attachDevices(root int, app *contract.App, devices []device) error {
	for i := range app.Devices {
		if err := attachDevice(root, app.Devices[i].Target, devices[i].mount); err != nil {
			return fmt.Errorf("cannot put device at %s: %w", app.Devices[i].Target, err)
		}
	}
	return nil
}

func attachDevice(root int, target string, m int) error {
	target = filepath.Clean("/" + target)
	for _, own := range []string{"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"} {
		if target == own || (own == "/proc" || own == "/dev/pts") && strings.HasPrefix(target, own+"/") {
			return errors.New("this place is the pod's own")
		}
	}
	at, err := safepath.CreateInRoot(root, target, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if _, err := ownPlace(root, at); err != nil {
		return err
	}
	return mount.Attach(m, at)
}

// byProgram: devices are confined by a program at the pod's version 2 cgroup, for
// want of version 1's controller.
func byProgram(doc *contract.Pod) bool {
	return doc.ConfineDevices && doc.Controllers[devcgroup.Controller] == ""
}

// confineDevices says which devices the pod's processes may open. It holds at the
// pod's cgroup, which is out of reach for an app with CAP_SYS_ADMIN, whose cgroup
// namespace begins below; of several apps each has its own part of that.
func confineDevices(doc *contract.Pod, apps []*app) error {
	if !doc.ConfineDevices {
		return nil
	}
	lists := make([][]devcgroup.Rule, len(apps))
	for i, a := range apps {
		var err error
		if lists[i], err = a.deviceRules(); err != nil {
			return fmt.Errorf("cannot confine devices of app %q: %w", a.Name, err)
		}
	}
	dir, set := doc.Cgroup, devcgroup.Attach
	if !byProgram(doc) {
		dir, set = doc.Controllers[devcgroup.Controller], devcgroup.Write1
		if err := cgroup.Create(dir); err != nil {
			return err
		}
	}
	if err := set(dir, devcgroup.Union(lists...)); err != nil {
		return err
	}
	failpoint.Hit("assemble/devices")
	for i, a := range apps {
		own := dir + "/" + a.Name
		if !byProgram(doc) { // from here on it has what the pod has
			if err := cgroup.Create(own); err != nil {
				return err
			}
		}
		if len(apps) > 1 {
			if err := set(own, lists[i]); err != nil {
				return fmt.Errorf("app %q: %w", a.Name, err)
			}
		}
	}
	return nil
}

// deviceRules are what the app may open.
func (a *app) deviceRules() ([]devcgroup.Rule, error) {
	rules := devcgroup.Default()
	for _, d := range a.devices {
		if d.rule.Access != 0 {
			rules = append(rules, d.rule)
		}
	}
	for _, v := range a.volumes {
		if v.rule.Access != 0 {
			rules = append(rules, v.rule)
		}
	}
	for _, text := range a.DeviceRules {
		r, err := devcgroup.ParseRule(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return devcgroup.Union(rules), nil
}
