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

// checkBandwidth refuses a limit of the network that could not be kept.
func checkBandwidth(c *contract.Pod, insecure contract.Insecure) error {
	if c.NetworkBandwidth == 0 {
		return nil
	}
	if c.Network == contract.NetworkHost {
		return fmt.Errorf("isolator %q cannot be enforced with --net=host: the pod's network is the host's", pod.IsolatorNetworkBandwidth)
	}
	for i := range c.Apps {
		if insecure.Capabilities || slices.Contains(c.Apps[i].Capabilities, "CAP_NET_ADMIN") {
			return fmt.Errorf("isolator %q cannot be enforced: app %q has CAP_NET_ADMIN, with which it could lift the limit", pod.IsolatorNetworkBandwidth, c.Apps[i].Name)
		}
	}
	return nil
}
