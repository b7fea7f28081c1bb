// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Supported asks a plugin which versions it speaks. One that does not know the
// question is from before there were any.
func (r *Runner) Supported(ctx context.Context, plugin string) ([]string, error) {
	all := Versions()
	stdin, err := json.Marshal(map[string]string{"cniVersion": all[len(all)-1]})
	if err != nil {
		return nil, err
	}
	// Plugins made with the first libraries want values for all parameters.
	out, err := r.run(ctx, call{command: "VERSION", plugin: plugin, stdin: stdin, netns: "dummy", ifName: "dummy", containerID: "dummy"})
	if err != nil {
		var pe *PluginError
		if errors.As(err, &pe) && pe.msg == "unknown CNI_COMMAND: VERSION" {
			return []string{"0.1.0"}, nil
		}
		return nil, err
	}
	var v struct {
		Supported []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(out, &v); err != nil || len(v.Supported) == 0 {
		return nil, &PluginError{Plugin: plugin, msg: fmt.Sprintf("asked for its versions it printed %q", plain(string(out)))}
	}
	return v.Supported, nil
}

// negotiate is the highest version that the configuration and all plugins of
// the network speak. Where the configuration names one alone, it is that.
func (r *Runner) negotiate(ctx context.Context, n *Network) (string, error) {
	possible := slices.Clone(n.Versions)
	asked := map[string]bool{}
	for _, p := range n.Plugins {
		if len(possible) == 1 {
			break
		}
		if asked[p.Type] {
			continue
		}
		asked[p.Type] = true
		supported, err := r.Supported(ctx, p.Type)
		if err != nil {
			return "", err
		}
		possible = slices.DeleteFunc(possible, func(v string) bool { return !slices.Contains(supported, v) })
		if len(possible) == 0 {
			return "", fmt.Errorf("plugin %q speaks none of the versions that are left of %q", p.Type, n.Versions)
		}
	}
	return possible[len(possible)-1], nil
}

// Status asks the plugins whether the network can be used now. Versions before
// 1.1.0 have no such question, and the answer is asked=false.
func (r *Runner) Status(ctx context.Context, n *Network) (asked bool, err error) {
	version, err := r.negotiate(ctx, n)
	if err != nil {
		return true, err
	}
	if !atLeast(version, "1.1.0") {
		return false, nil
	}
	return true, r.each(ctx, "STATUS", n, request{network: n.Name, version: version}, false)
}

// GC has the plugins collect whatever belongs to no attachment but those that
// are valid. Meanwhile no attachment to the network may be made or unmade (see
// Source.lock). Networks that say disableGC, are not rkt's alone, or speak a
// version before 1.1.0, are left alone: done=false.
func (r *Runner) GC(ctx context.Context, n *Network, valid []ValidAttachment) (done bool, err error) {
	if n.DisableGC || n.Foreign {
		return false, nil
	}
	version, err := r.negotiate(ctx, n)
	if err != nil || !atLeast(version, "1.1.0") {
		return false, err
	}
	req := request{network: n.Name, version: version, attachments: append([]ValidAttachment{}, valid...)}
	return true, r.each(ctx, "GC", n, req, true)
}

// each runs a command that is the network's, not an attachment's, for each
// plugin.
func (r *Runner) each(ctx context.Context, command string, n *Network, req request, goOn bool) error {
	var errs []error
	for i := range n.Plugins {
		stdin, err := req.encode(&n.Plugins[i])
		if err == nil {
			_, err = r.run(ctx, call{command: command, plugin: n.Plugins[i].Type, stdin: stdin})
		}
		if err != nil && !goOn {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
