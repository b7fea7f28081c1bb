// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/failpoint"
)

// Prepare completes a record for ADD: chooses the version, and refuses what
// would fail half way. No plugin runs but to tell its versions, and that only
// where the configuration leaves a choice.
func (r *Runner) Prepare(ctx context.Context, rec *Record) error {
	if err := rec.check(); err != nil {
		return err
	}
	if rec.NetNS == "" {
		return errors.New("there is no network namespace")
	}
	for _, p := range rec.Network.Plugins {
		if _, err := r.find(p.Type); err != nil {
			return err
		}
	}
	if err := rec.Capabilities.refuse(rec.Network); err != nil {
		return err
	}
	version, err := r.negotiate(ctx, rec.Network)
	rec.Version = version
	return err
}

// Add runs ADD for each plugin of the network. If one fails, each that ran, the
// one that failed included, is undone by DEL, the last one first; if that fails,
// too, there is a *LeftError among the errors.
func (r *Runner) Add(ctx context.Context, rec *Record) (*Result, error) {
	rec.Result = nil
	for i := range rec.Network.Plugins {
		out, err := r.add(ctx, rec, &rec.Network.Plugins[i])
		if err != nil {
			return nil, r.undo(ctx, rec, i+1, err)
		}
		failpoint.Hit("cni/plugin-ran")
		rec.Result = out
		if err := rec.note(); err != nil {
			return nil, r.undo(ctx, rec, i+1, err)
		}
		failpoint.Hit("cni/plugin-added")
	}
	res, err := rec.Outcome()
	if err == nil {
		err = rec.granted(res)
	}
	if err != nil {
		return nil, r.undo(ctx, rec, len(rec.Network.Plugins), err)
	}
	return res, nil
}

// undo runs DEL for the first count plugins, and returns err with what else went
// wrong. The user's ^C does not keep it from that.
func (r *Runner) undo(ctx context.Context, rec *Record, count int, err error) error {
	if left := r.unmake(context.WithoutCancel(ctx), rec, count, rec.NetNS); left != nil {
		err = errors.Join(err, &LeftError{left})
	}
	return err
}

// granted refuses a result without an address that was asked for. Plugins are
// told to pass over arguments that they do not know (see environment), and some
// pass over those that they should.
func (rec *Record) granted(res *Result) error {
	mac, ips := res.Of(rec.IfName)
	var asked []string
	if raw, ok := rec.Capabilities[IPs]; ok {
		if err := json.Unmarshal(raw, &asked); err != nil {
			return fmt.Errorf("%s: %w", IPs, err)
		}
	}
	for _, kv := range rec.Args {
		switch {
		case kv[0] == "IP" && checkIP(kv[1]) == nil:
			asked = append(asked, kv[1])
		case kv[0] == "MAC" && mac != "" && !strings.EqualFold(kv[1], mac):
			return fmt.Errorf("the interface has the hardware address %s, not %s as asked for", mac, kv[1])
		}
	}
	for _, want := range asked {
		bare, _, _ := strings.Cut(want, "/")
		addr, err := netip.ParseAddr(bare)
		if err != nil {
			return fmt.Errorf("%q is not an address", want)
		}
		if !slices.ContainsFunc(ips, func(ip IP) bool { return ip.Address.Addr() == addr.Unmap() }) {
			return fmt.Errorf("no plugin gave the pod the address %s", bare)
		}
	}
	if raw, ok := rec.Capabilities[MAC]; ok && mac != "" {
		var want string
		if json.Unmarshal(raw, &want) == nil && !strings.EqualFold(want, mac) {
			return fmt.Errorf("the interface has the hardware address %s, not %s as asked for", mac, want)
		}
	}
	return nil
}

// A LeftError says that something of an attachment is left: DEL must come
// again.
type LeftError struct{ err error }

func (e *LeftError) Error() string { return "cannot undo what was done: " + e.err.Error() }

// Unwrap gives the cause.
func (e *LeftError) Unwrap() error { return e.err }

// add runs one plugin and returns its result in the record's version.
func (r *Runner) add(ctx context.Context, rec *Record, p *Plugin) (json.RawMessage, error) {
	out, err := r.command(ctx, "ADD", rec, p, rec.NetNS, rec.Result)
	if err != nil {
		return nil, err
	}
	res, version, err := DecodeResult(out, rec.Version)
	if err != nil {
		return nil, &PluginError{Plugin: p.Type, msg: "it printed no result: " + plain(err.Error())}
	}
	if version == rec.Version {
		return withVersion(out, version)
	}
	if out, err = res.Encode(rec.Version); err != nil {
		return nil, &PluginError{Plugin: p.Type, msg: fmt.Sprintf("asked in version %s it answered in %s: %v", rec.Version, version, err)}
	}
	return out, nil
}

// withVersion is a result with its version in it. Beyond that it stays as the
// plugin printed it: what rkt does not know in it may be for the next plugin.
func withVersion(text []byte, version string) (json.RawMessage, error) {
	keys, err := object(text)
	if err != nil {
		return nil, err
	}
	if keys["cniVersion"], err = json.Marshal(version); err != nil {
		return nil, err
	}
	return json.Marshal(keys)
}

// Del runs DEL for each plugin of the network, the last one first; netns is the
// namespace's path now, "" if it is gone. It goes on where a plugin fails, so
// that one that is broken does not keep the others from giving back what they
// hold; the caller keeps the record then, and comes again.
func (r *Runner) Del(ctx context.Context, rec *Record, netns string) error {
	return r.unmake(ctx, rec, len(rec.Network.Plugins), netns)
}

// unmake runs DEL for the first count plugins, the last one first.
//
// A plugin that has given back is not asked again when another fails: it should
// not mind, but some do. ptp, given an interface, insists on rules for it. The one
// whose DEL was cut short may have done it already; if it fails, it is asked again
// without a namespace, when there is nothing else that it could do than to agree.
func (r *Runner) unmake(ctx context.Context, rec *Record, count int, netns string) error {
	previous, err := rec.moved(netns)
	if err != nil {
		return err
	}
	if !atLeast(rec.Version, "0.4.0") {
		previous = nil // DEL had none before
	}
	var errs []error
	r = r.withPath(rec.Path)
	begun := rec.Deleting
	for i := count - 1; i >= 0; i-- {
		if slices.Contains(rec.Deleted, i) {
			continue
		}
		rec.Deleting = i + 1
		if err := rec.note(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		p := &rec.Network.Plugins[i]
		_, err := r.command(ctx, "DEL", rec, p, netns, previous)
		if err != nil && begun == i+1 && netns != "" {
			if _, again := r.command(ctx, "DEL", rec, p, "", previous); again == nil {
				err = nil
			}
		}
		if err != nil {
			errs = append(errs, err)
		} else {
			rec.Deleted = append(rec.Deleted, i)
		}
		failpoint.Hit("cni/plugin-deleted")
	}
	if errs != nil {
		rec.Deleting = 0 // it came to its end
		errs = append(errs, rec.note())
	}
	return errors.Join(errs...)
}

// ErrNoCheck says that a network cannot be checked.
var ErrNoCheck = errors.New("its version of CNI has no CHECK (that came with 0.4.0)")

// Check runs CHECK for each plugin. A network that says disableCheck is never
// checked, and always good.
func (r *Runner) Check(ctx context.Context, rec *Record, netns string) error {
	switch {
	case rec.Network.DisableCheck:
		return nil
	case !atLeast(rec.Version, "0.4.0"):
		return ErrNoCheck
	case rec.Result == nil:
		return errors.New("the pod was never attached to it")
	}
	previous, err := rec.moved(netns)
	if err != nil {
		return err
	}
	r = r.withPath(rec.Path)
	for i := range rec.Network.Plugins {
		if _, err := r.command(ctx, "CHECK", rec, &rec.Network.Plugins[i], netns, previous); err != nil {
			return err
		}
	}
	return nil
}

// withPath is the runner that looks for plugins where ADD found them, and only
// then where it would find them today.
func (r *Runner) withPath(path []string) *Runner {
	other := *r
	other.Path = slices.Clone(path)
	for _, dir := range r.Path {
		if !slices.Contains(other.Path, dir) {
			other.Path = append(other.Path, dir)
		}
	}
	return &other
}

// command runs one plugin for an attachment.
func (r *Runner) command(ctx context.Context, command string, rec *Record, p *Plugin, netns string, previous json.RawMessage) ([]byte, error) {
	req := request{network: rec.Network.Name, version: rec.Version, previous: previous, capabilities: rec.Capabilities}
	stdin, err := req.encode(p)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: cannot encode its configuration: %w", p.Type, err)
	}
	return r.run(ctx, call{command: command, plugin: p.Type, stdin: stdin, containerID: rec.ContainerID, netns: netns,
		ifName: rec.IfName, args: rec.Args})
}
