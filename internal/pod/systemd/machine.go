// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/rkt/rkt/internal/linux/pidfd"
	"github.com/rkt/rkt/internal/pod"
)

// Register makes the pod known to machined, as a machine of that class
// ("container" or "vm") whose first process is leader. process is rkt's own, in
// whose unit the pod is.
//
// machined takes a machine and the unit that it is in for one: to terminate it is
// to stop the unit. So a pod is not registered, and the error is ErrNotHere, if
// others than it are in the unit, and if that is a user's session.
func Register(id pod.UUID, leader, process int, class string) error {
	b, err := connect(patience)
	if err != nil {
		return err
	}
	defer b.close()
	if own, err := b.ownUnit(id, process); err != nil || !own {
		if err == nil {
			err = ErrNotHere
		}
		return err
	}
	machine, err := hex.DecodeString(strings.ReplaceAll(string(id), "-", ""))
	if err != nil {
		return fmt.Errorf("cannot register pod %s: %w", id, err)
	}
	err = b.call(machined, machinedPath, machinedMethod+"RegisterMachine", 0,
		[]any{MachineName(id), machine, "rkt", class, uint32(leader), ""}, new(dbus.ObjectPath))
	if is(err, noService, noOwner) {
		return ErrNotHere // systemd-machined is not installed
	}
	if err != nil {
		return fmt.Errorf("cannot register pod %s with systemd-machined: %w", id, err)
	}
	return nil
}

// Unregister has machined forget the pod. One that it does not know is fine.
func Unregister(id pod.UUID) error {
	b, err := connect(brief)
	if err != nil {
		return err
	}
	defer b.close()
	err = b.call(machined, machinedPath, machinedMethod+"UnregisterMachine", dbus.FlagNoAutoStart, []any{MachineName(id)})
	if err != nil && !is(err, noService, noOwner, noMachine) {
		return fmt.Errorf("cannot have systemd-machined forget pod %s: %w", id, err)
	}
	return nil
}

// A unitProcess is one that systemd finds in a unit.
type unitProcess struct {
	Cgroup  string
	PID     uint32
	Command string
}

// ownUnit tells whether the unit that process is in has nobody but that, its
// children and the pod in it.
func (b *bus) ownUnit(id pod.UUID, process int) (bool, error) {
	path, name, kind, err := b.unit(process)
	if err != nil {
		return false, err
	}
	var cgroup dbus.Variant
	if err := b.call(systemd, string(path), propertiesGet, 0, []any{systemd + "." + kind, "ControlGroup"}, &cgroup); err != nil {
		return false, fmt.Errorf("cannot look at unit %s: %w", name, err)
	}
	if at, ok := cgroup.Value().(string); !ok || userSlice(at) {
		return false, nil
	}
	var all []unitProcess
	if err := b.call(systemd, systemdPath, systemdMethod+"GetUnitProcesses", 0, []any{name}, &all); err != nil {
		return false, fmt.Errorf("cannot look at unit %s: %w", name, err)
	}
	for _, p := range all {
		ours := int(p.PID) == process || pidfd.Parent(int(p.PID)) == process || strings.Contains(p.Cgroup+"/", "/rkt-"+string(id)+"/")
		if _, err := os.Stat("/proc/" + strconv.Itoa(int(p.PID))); !ours && err == nil {
			return false, nil
		}
	}
	return true, nil
}

// unit is that which a process is in, by its path on the bus and its name, and of
// what kind it is, in the words of interfaces.
func (b *bus) unit(process int) (path dbus.ObjectPath, name, kind string, err error) {
	err = b.call(systemd, systemdPath, systemdMethod+"GetUnitByPID", 0, []any{uint32(process)}, &path)
	if is(err, noUnit, noService, noOwner) {
		return "", "", "", ErrNotHere
	}
	var id dbus.Variant
	if err == nil {
		err = b.call(systemd, string(path), propertiesGet, 0, []any{systemd + ".Unit", "Id"}, &id)
	}
	if err != nil {
		return "", "", "", fmt.Errorf("cannot find the unit of process %d: %w", process, err)
	}
	name, _ = id.Value().(string)
	switch {
	case strings.HasSuffix(name, ".service"):
		return path, name, "Service", nil
	case strings.HasSuffix(name, ".scope"):
		return path, name, "Scope", nil
	}
	return "", "", "", ErrNotHere
}
