// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/linux/userns"
	"github.com/rkt/rkt/internal/pod"
)

// A property of a unit.
type property struct {
	Name  string
	Value dbus.Variant
}

// Scope has systemd make a scope for the pod, delegated, and move process, which is
// rkt's, and its children there, the caller excepted: the pod's cgroups are rkt's to
// divide then. The caller must be a child of process, in the same cgroup. stop is
// how long systemd waits when it stops the scope. Of an ordinary user that is the
// user's own systemd; without one the error is ErrNotHere.
//
// From a service it is ErrNotHere, too: what of the pod is in another unit would not
// be in the service's journal, in its limits, nor end with it.
func Scope(id pod.UUID, process int, stop time.Duration) error {
	fail := func(err error) error { return fmt.Errorf("cannot make a scope for pod %s: %w", id, err) }
	before, err := cgroup.Own()
	if err != nil {
		return fail(err)
	}
	b, slice, err := connectManager()
	if err != nil {
		return err
	}
	defer b.close()
	if marks, err := b.given(before, process); marks || err != nil {
		if err != nil {
			return fail(err)
		}
		return mark(before)
	}
	if strings.HasSuffix(cgroup.Unit(before), ".service") {
		return ErrNotHere
	}
	// The signal is systemd's whoever asks: its private socket carries all of them.
	signals := make(chan *dbus.Signal, 64)
	b.Signal(signals)
	pids, err := family(before, process)
	if err != nil {
		return fail(err)
	}
	name := MachineName(id) + ".scope"
	properties := []property{
		{"Description", dbus.MakeVariant("rkt pod " + string(id))},
		{"PIDs", dbus.MakeVariant(pids)},
		{"Slice", dbus.MakeVariant(slice)},
		{"Delegate", dbus.MakeVariant(true)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
		{"TimeoutStopUSec", dbus.MakeVariant(uint64(stop.Microseconds()))},
	}
	var job dbus.ObjectPath
	aux := []struct {
		Name       string
		Properties []property
	}{}
	if err := b.call(systemd, systemdPath, systemdMethod+"StartTransientUnit", 0, []any{name, "fail", properties, aux}, &job); err != nil {
		return fail(err)
	}
	if err := b.await(signals, job); err != nil {
		return fail(err)
	}
	// A child that was made meanwhile, while process was not moved yet.
	if pids, err = family(before, process); err != nil {
		return fail(err)
	}
	if len(pids) > 0 {
		if err := b.call(systemd, systemdPath, systemdMethod+"AttachProcessesToUnit", 0, []any{name, "", pids}); err != nil {
			return fail(err)
		}
	}
	if slice == userSlices {
		var at dbus.Variant
		if err := b.call(systemd, unitPath(name), propertiesGet, 0, []any{systemd + ".Scope", "ControlGroup"}, &at); err != nil {
			return fail(err)
		}
		dir, _ := at.Value().(string)
		return mark("/sys/fs/cgroup" + dir)
	}
	return nil
}

// given tells whether the cgroup dir, in which process is, is a user's to divide by
// the word of the user's systemd, and nobody else's are in it. The system's marks
// what it has given away.
func (b *bus) given(dir string, process int) (bool, error) {
	if b.system {
		return false, nil
	}
	path, name, kind, err := b.unit(process)
	if errors.Is(err, ErrNotHere) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var yes, at dbus.Variant
	for property, to := range map[string]*dbus.Variant{"Delegate": &yes, "ControlGroup": &at} {
		if err := b.call(systemd, string(path), propertiesGet, 0, []any{systemd + "." + kind, property}, to); err != nil {
			return false, fmt.Errorf("cannot look at unit %s: %w", name, err)
		}
	}
	if yes.Value() != true || "/sys/fs/cgroup"+fmt.Sprint(at.Value()) != dir {
		return false, nil
	}
	all, err := cgroup.Processes(dir)
	if err != nil {
		return false, err
	}
	ours, err := family(dir, process)
	return len(all) == len(ours)+1, err // and the caller
}

// mark marks a cgroup as given away, as the system's systemd does and a user's, of
// version 252 at least, does not.
func mark(dir string) error {
	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		return fmt.Errorf("cannot mark cgroup %s as delegated: %w", dir, err)
	}
	return nil
}

// unitPath is where a unit is on D-Bus: what is neither a letter nor a digit is
// written by its number.
func unitPath(name string) string {
	var p strings.Builder
	p.WriteString(systemdPath + "/unit/")
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			p.WriteByte(c)
		} else {
			fmt.Fprintf(&p, "_%02x", c)
		}
	}
	return p.String()
}

// family are process and its children, but for the caller, in the cgroup dir.
func family(dir string, process int) (list []uint32, err error) {
	pids, err := cgroup.Processes(dir)
	for _, pid := range pids {
		if pid != os.Getpid() && (pid == process || pidfd.Parent(pid) == process) {
			list = append(list, uint32(pid))
		}
	}
	return list, err
}

// await waits for a job's end.
func (b *bus) await(signals chan *dbus.Signal, job dbus.ObjectPath) error {
	for {
		select {
		case s, ok := <-signals:
			if !ok {
				return fmt.Errorf("systemd has closed the connection")
			}
			// Of what number, which job, of which unit, with what result.
			if s.Name != systemdMethod+"JobRemoved" || len(s.Body) < 4 || s.Body[1] != job {
				continue
			}
			if result, _ := s.Body[3].(string); result != "done" {
				return fmt.Errorf("systemd ended its job: %q", result)
			}
			return nil
		case <-b.ctx.Done():
			return fmt.Errorf("systemd has not done it within %s", patience)
		}
	}
}

// userSlices is where a user's pods belong.
const userSlices = "app.slice"

// connectManager connects to the caller's service manager, by its private socket,
// which needs no bus, and gives the slice where its pods belong.
func connectManager() (*bus, string, error) {
	uid, err := hostUID()
	if err != nil {
		return nil, "", err
	}
	if uid == 0 {
		b, err := dial("/run/systemd/private", uid)
		if b != nil {
			b.system = true
		}
		return b, "machine.slice", err
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		dir = "/run/user/" + strconv.Itoa(uid)
	}
	b, err := dial(filepath.Join(dir, "systemd", "private"), uid)
	return b, userSlices, err
}

// hostUID is who the caller is to the host: in a user namespace of an ordinary
// user's, that user.
func hostUID() (int, error) {
	uid := os.Geteuid()
	if userns.Initial() {
		return uid, nil
	}
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && uid >= inside && uid < inside+count {
			return outside + uid - inside, nil
		}
	}
	return 0, fmt.Errorf("cannot tell who user %d is on the host", uid)
}
