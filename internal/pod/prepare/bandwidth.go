// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"fmt"
	"slices"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// limitBandwidth puts a limit of the network into the document, of which the
// pod's own is there. That of an only app is the pod's; of several none can have
// one, for they share the pod's interfaces.
func limitBandwidth(c *contract.Pod, apps []*app) error {
	for _, a := range apps {
		if !slices.ContainsFunc(a.App.Isolators, func(i image.Isolator) bool { return i.Name == pod.IsolatorNetworkBandwidth }) {
			continue
		}
		is, err := pod.Isolate(a.App.Isolators)
		if err != nil {
			return fmt.Errorf("app %q: %w", a.Name, err)
		}
		if len(apps) > 1 {
			return hint.Wrap(fmt.Errorf("app %q: isolator %q cannot be enforced for one app of several: they share the pod's network", a.Name, pod.IsolatorNetworkBandwidth),
				"limit the pod: --network-bandwidth before any image, or the pod manifest's own isolators")
		}
		if c.NetworkBandwidth == 0 || is.NetworkBandwidth < c.NetworkBandwidth {
			c.NetworkBandwidth = is.NetworkBandwidth
		}
	}
	return nil
}

// named tells whether the app's retain set has the capability: neither the default
// set nor what a remove set leaves of it was asked for.
func named(m *pod.Manifest, app, capability string) bool {
	for _, a := range m.Apps {
		if a.Name != app {
			continue
		}
		retained := func(i image.Isolator) bool { return i.Name == pod.IsolatorCapsRetain }
		if !slices.ContainsFunc(a.App.Isolators, retained) {
			return false
		}
		is, err := pod.Isolate(a.App.Isolators)
		return err == nil && slices.Contains(is.Capabilities, capability)
	}
	return false
}

// checkBandwidth refuses a limit of the network that could not be kept, and takes
// CAP_NET_RAW from apps that have it by default.
func checkBandwidth(c *contract.Pod, m *pod.Manifest, insecure contract.Insecure) error {
	if c.NetworkBandwidth == 0 {
		return nil
	}
	if c.Network == contract.NetworkHost {
		return fmt.Errorf("isolator %q cannot be enforced with --net=host: the pod's network is the host's", pod.IsolatorNetworkBandwidth)
	}
	for i := range c.Apps {
		if named(m, c.Apps[i].Name, "CAP_NET_RAW") || slices.Contains(c.Apps[i].Ambient, "CAP_NET_RAW") {
			return fmt.Errorf("isolator %q cannot be enforced: app %q has CAP_NET_RAW, with which it could send past the queue", pod.IsolatorNetworkBandwidth, c.Apps[i].Name)
		}
		if insecure.Capabilities || slices.Contains(c.Apps[i].Capabilities, "CAP_NET_ADMIN") {
			return fmt.Errorf("isolator %q cannot be enforced: app %q has CAP_NET_ADMIN, with which it could lift the limit", pod.IsolatorNetworkBandwidth, c.Apps[i].Name)
		}
		// Packet sockets can go past the queue (packet(7), PACKET_QDISC_BYPASS).
		have := c.Apps[i].Capabilities
		if have == nil {
			have = pod.DefaultCapabilities()
		}
		c.Apps[i].Capabilities = slices.DeleteFunc(slices.Clone(have), func(s string) bool { return s == "CAP_NET_RAW" })
	}
	return nil
}
