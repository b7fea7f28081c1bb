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
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/rkt/rkt/internal/pod"
)

// How long somebody on the bus is waited for: patience bounds all that is said while
// a pod starts or lives, brief what its end waits for.
const (
	patience = 5 * time.Second
	brief    = 2 * time.Second
)

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
	system bool // the manager at the other end is the system's
}

// connect connects to the system's bus, for at most limit; without a bus it fails
// with ErrNotHere.
func connect(limit time.Duration) (*bus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	c, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		cancel()
		if errors.Is(err, os.ErrNotExist) {
			return nil, ErrNotHere
		}
		return nil, fmt.Errorf("cannot connect to the system's bus: %w", err)
	}
	return &bus{Conn: c, ctx: ctx, cancel: cancel}, nil
}

// dial connects to a manager's socket, as uid.
func dial(path string, uid int) (*bus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	fail := func(err error) (*bus, error) {
		cancel()
		return nil, fmt.Errorf("cannot connect to systemd: %w", err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		cancel()
		return nil, ErrNotHere
	}
	// A path may have what an address gives a meaning to.
	c, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(path), dbus.WithContext(ctx))
	if err != nil {
		return fail(err)
	}
	if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}); err != nil {
		c.Close()
		return fail(err)
	}
	b := &bus{Conn: c, ctx: ctx, cancel: cancel}
	if err := b.settle(); err != nil {
		c.Close()
		return fail(err)
	}
	return b, nil
}

// settle waits until the manager has seen the end of the authentication. What it
// reads together with that end stays in its buffer until it reads again (systemd
// 252, bus_socket_read_auth), so there is to be more to read.
func (b *bus) settle() error {
	pongs := make(chan *dbus.Call, 32) // of more than there can be
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		b.Object(systemd, systemdPath).GoWithContext(b.ctx, "org.freedesktop.DBus.Peer.Ping", 0, pongs)
		select {
		case pong := <-pongs:
			return pong.Err
		case <-time.After(pause):
		}
	}
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
	propertiesGet = "org.freedesktop.DBus.Properties.Get"

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
