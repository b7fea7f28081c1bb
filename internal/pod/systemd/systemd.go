// SPDX-License-Identifier: Apache-2.0

// Package systemd asks systemd and systemd-machined for what only they can do for
// a pod: to know it as a machine, and to give it a scope. It talks to them on the
// system's D-Bus (org.freedesktop.systemd1(5), org.freedesktop.machine1(5)), and
// is linked by libexec/rkt/systemd only.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/rkt/rkt/internal/pod"
)

// patience bounds all that is said to the bus for one pod.
const patience = 5 * time.Second

// ErrNotHere says that there is nobody to ask, or that the pod is not to be known
// to them. It is no fault.
var ErrNotHere = errors.New("not for systemd")

// errors of others, by their names on the bus.
const (
	noService = "org.freedesktop.DBus.Error.ServiceUnknown"
	noOwner   = "org.freedesktop.DBus.Error.NameHasNoOwner"
	noUnit    = "org.freedesktop.systemd1.NoUnitForPID"
	noMachine = "org.freedesktop.machine1.NoSuchMachine"
)

// is tells whether err has one of those names.
func is(err error, names ...string) bool {
	e := dbus.Error{}
	if !errors.As(err, &e) {
		return false
	}
	for _, name := range names {
		if e.Name == name {
			return true
		}
	}
	return false
}

// bus is a connection, with a time by which all has to be done.
type bus struct {
	*dbus.Conn
	ctx    context.Context
	cancel func()
}

// connect connects to the system's bus; without one it fails with ErrNotHere.
func connect() (*bus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		cancel()
		if errors.Is(err, os.ErrNotExist) {
			return nil, ErrNotHere
		}
		return nil, fmt.Errorf("cannot connect to the system's bus: %w", err)
	}
	return &bus{c, ctx, cancel}, nil
}

func (b *bus) close() {
	b.Conn.Close()
	b.cancel()
}

// call calls a method and stores what it returns; flags as in D-Bus.
func (b *bus) call(service, path, method string, flags dbus.Flags, args []any, results ...any) error {
	return b.Object(service, dbus.ObjectPath(path)).CallWithContext(b.ctx, method, flags, args...).Store(results...)
}

const (
	systemd       = "org.freedesktop.systemd1"
	systemdPath   = "/org/freedesktop/systemd1"
	systemdMethod = systemd + ".Manager."

	machined       = "org.freedesktop.machine1"
	machinedPath   = "/org/freedesktop/machine1"
	machinedMethod = machined + ".Manager."
)

// MachineName is what the pod is called by machined.
func MachineName(id pod.UUID) string { return "rkt-" + string(id) }

// userSlice tells whether a unit's cgroup is somebody's session, as by
// user-0.slice.
func userSlice(cgroup string) bool {
	for part := range strings.SplitSeq(cgroup, "/") {
		if strings.HasPrefix(part, "user-") && strings.HasSuffix(part, ".slice") {
			return true
		}
	}
	return false
}
