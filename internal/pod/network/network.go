// SPDX-License-Identifier: Apache-2.0

// Package network attaches pods to networks and gives back what they held. It is
// linked by the program libexec/rkt/network only, which rkt starts while a pod's
// first process comes up, and whoever ends the pod starts again: so that the
// programs on every container's path need not know netlink or nftables.
//
// What a network is, a Driver knows: package builtin has the default networks,
// and a second Source may find others, in configuration files.
package network

import (
	"context"
	"errors"
	"os"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/lifecycle"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// ErrUnknown: a Source has no network of that name.
var ErrUnknown = errors.New("unknown network")

// A Source knows networks by name.
type Source interface {
	// Find returns the network's driver, or ErrUnknown; any other error means
	// that the network is there but cannot be used.
	Find(name string) (Driver, error)
	// Former returns a driver that can Del what it attached earlier, even if the
	// network is no longer known; ErrUnknown if it was not this source's.
	Former(contract.Attached) (Driver, error)
	// Names are all that Find knows, in the order of --net=all.
	Names() ([]string, error)
	// Collect gives back what belongs to no pod, and takes down what no pod
	// needs. alive tells whether a pod may still use what it holds. It may be
	// run at any time, and again.
	Collect(ctx context.Context, alive func(pod.UUID) bool) error
}

// A Keeper is a Source that keeps records of attachments in the pods'
// directories: what is kept there has to be given back, whatever else is known
// of the pod.
type Keeper interface {
	Kept(podDir string) ([]contract.Attached, error)
}

// Driver is one network.
type Driver interface {
	Traits() Traits
	// Add attaches the pod. On error nothing of it is left but what ends with
	// the pod's network namespace.
	Add(ctx context.Context, a *Attachment) (contract.Attached, error)
	// Del gives back what Add took, as far as it is there: after a crash it may
	// be all, a part, or nothing. It may be run again.
	Del(ctx context.Context, a *Attachment) error
}

// Traits are what the program needs to know to put networks together.
type Traits struct {
	Name         string // of the driver, as in contract.Attached
	DefaultRoute bool   // it would give the pod a default route
	Masquerade   bool   // what leaves it bears the host's address
	Forwards     bool   // Add forwards Attachment.Ports itself; else rkt's own rules do
}

// Attachment is one network of one pod.
type Attachment struct {
	UUID    pod.UUID
	DataDir string // absolute
	PodDir  string // absolute; a driver may keep files in PodDir/net
	Network contract.Network
	// NetNS is the pod's network namespace; nil when it is gone, on Del.
	NetNS *os.File
	// OwnDNS: the user has said what the pod's resolv.conf is.
	OwnDNS bool
	// DefaultRoute: no earlier network of the pod gave it one.
	DefaultRoute bool
	// Ports are those to forward, for a driver that does (Traits.Forwards).
	Ports []contract.Port
	// Bandwidth is how many bytes a second pass at most, each way; 0: as many as can.
	// A driver that cannot see to that fails.
	Bandwidth int64
	// Serve, if Add sets it, runs beside the pod until the context ends: it must be
	// able to do so without privileges.
	Serve func(context.Context)
	// Attached, on Del, is what Add returned; but for Driver empty if it did not
	// come that far.
	Attached contract.Attached
	// Warn is told what the user should know though it works.
	Warn func(format string, args ...any)
}

// Alive tells of a data directory's pods whether they run. What cannot be told
// counts as running. It asks once for each.
func Alive(dataDir string) func(pod.UUID) bool {
	known := map[pod.UUID]bool{}
	return func(id pod.UUID) bool {
		alive, asked := known[id]
		if !asked {
			alive = true
			p, err := lifecycle.Open(dataDir, string(id))
			if err == nil {
				var s lifecycle.State
				if s, err = p.State(); err == nil {
					alive = s == lifecycle.StateRunning
				}
			}
			if errors.Is(err, lifecycle.ErrNotFound) {
				alive = false
			}
			known[id] = alive
		}
		return alive
	}
}
