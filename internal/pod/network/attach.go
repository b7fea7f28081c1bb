// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/failpoint"
	"github.com/rkt/rkt/internal/linux/atomicfile"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/network/forward"
	"github.com/rkt/rkt/internal/pod/network/lease"
	"github.com/rkt/rkt/internal/pod/network/rules"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Host is a data directory and the networks that its pods may have.
type Host struct {
	DataDir string // absolute
	// Sources in the order in which a network is looked for.
	Sources []Source
	// Rules are the built-in networks, as the rules see them.
	Rules func() []rules.Network
	Warn  func(format string, args ...any)
}

// Dir is where leases and ports are noted.
func (h *Host) Dir() string { return filepath.Join(h.DataDir, "networks") }

// DataDir is the data directory of a pod's directory: pods/PHASE/UUID.
func DataDir(podDir string) string {
	return filepath.Dir(filepath.Dir(filepath.Dir(podDir)))
}

// find looks a network up.
func (h *Host) find(name string) (Driver, error) {
	for _, s := range h.Sources {
		d, err := s.Find(name)
		if !errors.Is(err, ErrUnknown) {
			return d, err
		}
	}
	return nil, ErrUnknown
}

// expand gives the pod's networks, with --net=all put in its place, and their
// drivers.
func (h *Host) expand(doc *contract.Pod) (list []contract.Network, drivers []Driver, err error) {
	list = doc.Networks
	if len(list) == 1 && list[0].Name == "all" {
		list = nil
		for _, s := range h.Sources {
			names, err := s.Names()
			if err != nil {
				return nil, nil, err
			}
			for _, n := range names {
				if !named(list, n) {
					list = append(list, contract.Network{Name: n, IfName: "eth" + strconv.Itoa(len(list))})
				}
			}
		}
	}
	var unknown []string
	for _, n := range list {
		d, err := h.find(n.Name)
		switch {
		case errors.Is(err, ErrUnknown):
			unknown = append(unknown, strconv.Quote(n.Name))
		case err != nil:
			return nil, nil, fmt.Errorf("network %q: %w", n.Name, err)
		}
		drivers = append(drivers, d)
	}
	if unknown != nil {
		return nil, nil, fmt.Errorf("networks not found: %s", strings.Join(unknown, ", "))
	}
	return list, drivers, nil
}

func named(list []contract.Network, name string) bool {
	for _, n := range list {
		if n.Name == name {
			return true
		}
	}
	return false
}

// Attach gives a pod its networks and ports, and writes contract.NetworkFile. On
// error nothing is left but what ends with the network namespace. serve is what
// is to run beside the pod.
func (h *Host) Attach(ctx context.Context, podDir string, doc *contract.Pod, ns *os.File) (serve []func(context.Context), err error) {
	list, drivers, err := h.expand(doc)
	if err != nil {
		return nil, err
	}
	uuid := pod.UUID(doc.UUID)
	at := gate(drivers)
	var done []*Attachment
	state := &contract.NetworkState{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.undo(context.WithoutCancel(ctx), uuid, drivers, done))
		}
	}()
	route := true
	for i, n := range list {
		a := &Attachment{UUID: uuid, DataDir: h.DataDir, PodDir: podDir, Network: n, NetNS: ns, DefaultRoute: route, Warn: h.Warn, Bandwidth: doc.NetworkBandwidth,
			OwnDNS: doc.Resolv != nil || doc.NoNetworkDNS}
		if i == at && drivers[i].Traits().Forwards {
			a.Ports = doc.Ports
		}
		a.Attached, err = drivers[i].Add(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", n.Name, err)
		}
		if a.Serve != nil {
			serve = append(serve, a.Serve)
		}
		done = append(done, a)
		state.Networks = append(state.Networks, a.Attached)
		route = route && !drivers[i].Traits().DefaultRoute
	}
	if len(doc.Ports) > 0 && !drivers[at].Traits().Forwards {
		if err := h.forward(uuid, doc.Ports, state.Networks[at]); err != nil {
			return nil, fmt.Errorf("network %q: %w", list[at].Name, err)
		}
		state.Ports = doc.Ports
	}
	failpoint.Hit("network/before-state")
	return serve, writeState(podDir, state)
}

// gate is the index of the network that ports lead through: the first that
// masquerades, as rkt always did, else the last.
func gate(drivers []Driver) int {
	for i, d := range drivers {
		if d.Traits().Masquerade {
			return i
		}
	}
	return len(drivers) - 1
}

func (h *Host) forward(uuid pod.UUID, ports []contract.Port, through contract.Attached) error {
	l, err := lease.Open(h.Dir())
	if err != nil {
		return err
	}
	defer l.Close()
	return forward.Add(l, rules.Table(h.DataDir), forward.Request{UUID: uuid, Ports: ports, Attached: through,
		Alive: Alive(h.DataDir), Networks: h.Rules})
}

func (h *Host) undo(ctx context.Context, uuid pod.UUID, drivers []Driver, done []*Attachment) error {
	var errs []error
	if len(done) == len(drivers) {
		c, err := h.unforward(uuid)
		if errs = append(errs, err); c != nil {
			errs = append(errs, c.Close())
		}
	}
	for i := len(done) - 1; i >= 0; i-- {
		errs = append(errs, drivers[i].Del(ctx, done[i]))
	}
	return errors.Join(errs...)
}

// closer is what takes its time to be closed.
type closer interface{ Close() error }

func (h *Host) unforward(uuid pod.UUID) (closer, error) {
	l, err := lease.Open(h.Dir())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	c, err := forward.Del(l, rules.Table(h.DataDir), uuid)
	if c == nil {
		return nil, err
	}
	return c, err
}

// Release gives back what a pod that has ended held, and notes that it did. last
// is to be closed when nobody waits any more; it may be nil. It may be run again.
func (h *Host) Release(ctx context.Context, podDir string, doc *contract.Pod) (last closer, err error) {
	uuid := pod.UUID(doc.UUID)
	state, err := ReadState(podDir)
	if errors.Is(err, fs.ErrNotExist) {
		return h.releaseUnknown(ctx, podDir, doc)
	}
	if err != nil {
		return nil, err
	}
	if state.Released {
		return nil, nil
	}
	if len(state.Ports) > 0 {
		if last, err = h.unforward(uuid); err != nil {
			return last, err
		}
	}
	if err := h.releaseAll(ctx, podDir, doc, state.Networks); err != nil {
		return last, err
	}
	failpoint.Hit("network/released")
	state.Released = true
	return last, writeState(podDir, state)
}

// releaseAll gives back attachments, the last one first.
func (h *Host) releaseAll(ctx context.Context, podDir string, doc *contract.Pod, list []contract.Attached) error {
	var errs []error
	for i := len(list) - 1; i >= 0; i-- {
		attached := list[i]
		a := &Attachment{UUID: pod.UUID(doc.UUID), DataDir: h.DataDir, PodDir: podDir, Attached: attached, Warn: h.Warn,
			Network: contract.Network{Name: attached.NetName, IfName: attached.IfName, Args: args(attached.Args)}}
		d, err := h.former(attached)
		if err == nil {
			if i == gateOf(h, list) {
				a.Ports = doc.Ports
			}
			err = d.Del(ctx, a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("network %q: %w", attached.NetName, err))
		}
	}
	return errors.Join(errs...)
}

// kept are the attachments of which sources have records.
func (h *Host) kept(podDir string) (list []contract.Attached, err error) {
	for _, s := range h.Sources {
		k, ok := s.(Keeper)
		if !ok {
			continue
		}
		some, err := k.Kept(podDir)
		if err != nil {
			return nil, err
		}
		for _, a := range some {
			if !slices.ContainsFunc(list, func(o contract.Attached) bool { return o.IfName == a.IfName }) {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

func gateOf(h *Host, list []contract.Attached) int {
	var drivers []Driver
	for _, a := range list {
		d, err := h.former(a)
		if err != nil {
			return -1
		}
		drivers = append(drivers, d)
	}
	return gate(drivers)
}

func (h *Host) former(a contract.Attached) (Driver, error) {
	for _, s := range h.Sources {
		if d, err := s.Former(a); !errors.Is(err, ErrUnknown) {
			return d, err
		}
	}
	return nil, fmt.Errorf("nothing is known of driver %q", a.Driver)
}

func args(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ";")
}

// releaseUnknown is for a pod that died while it was attached: what it may hold
// is looked for.
func (h *Host) releaseUnknown(ctx context.Context, podDir string, doc *contract.Pod) (last closer, err error) {
	uuid := pod.UUID(doc.UUID)
	if len(doc.Ports) > 0 && doc.NetworkProgram == "" {
		if last, err = h.unforward(uuid); err != nil {
			return last, err
		}
	}
	kept, err := h.kept(podDir)
	if err == nil {
		err = h.releaseAll(ctx, podDir, doc, kept)
	}
	if err != nil {
		return last, err
	}
	list, drivers, err := h.expand(doc)
	if err != nil {
		return last, nil //nolint:nilerr // a network that is not known was not attached either
	}
	var errs []error
	for i, n := range list {
		a := &Attachment{UUID: uuid, DataDir: h.DataDir, PodDir: podDir, Network: n, Warn: h.Warn}
		if err := drivers[i].Del(ctx, a); err != nil {
			errs = append(errs, fmt.Errorf("network %q: %w", n.Name, err))
		}
	}
	if errs != nil {
		return last, errors.Join(errs...)
	}
	return last, writeState(podDir, &contract.NetworkState{Released: true})
}

// Collect gives back what belongs to no pod, and takes down what none needs.
func (h *Host) Collect(ctx context.Context) error {
	alive := Alive(h.DataDir)
	var errs []error
	for _, s := range h.Sources {
		errs = append(errs, s.Collect(ctx, alive))
	}
	return errors.Join(errs...)
}

// maxState bounds what is read of contract.NetworkFile.
const maxState = 1 << 20

// ReadState reads contract.NetworkFile in a pod's directory.
func ReadState(podDir string) (*contract.NetworkState, error) {
	b, err := os.ReadFile(filepath.Join(podDir, contract.NetworkFile))
	if err == nil && len(b) > maxState {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's networks: %w", err)
	}
	s, err := contract.DecodeNetworkState(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pod's networks: %w", err)
	}
	return s, nil
}

func writeState(podDir string, s *contract.NetworkState) error {
	b := append(s.Encode(), '\n')
	if err := atomicfile.WriteFast(filepath.Join(podDir, contract.NetworkFile), b, 0o644); err != nil {
		return fmt.Errorf("cannot note the pod's networks: %w", err)
	}
	return nil
}
