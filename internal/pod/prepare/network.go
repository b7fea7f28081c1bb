// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"fmt"
	"strconv"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// NetworkMode is what the pod's network namespace will be, as far as the options
// alone tell: contract.NetworkHost and so on.
func (o *Options) NetworkMode() string {
	if len(o.Networks) == 1 {
		switch o.Networks[0].Name {
		case pod.NetHost:
			return contract.NetworkHost
		case pod.NetNone:
			return contract.NetworkNone
		}
	}
	if len(o.Networks) == 0 && o.User != nil && o.User.Program == "" {
		return contract.NetworkNone
	}
	return contract.NetworkContained
}

// applyNetwork puts networks and ports into the document.
func (o *Options) applyNetwork(c *contract.Pod, m *pod.Manifest, f *Flavor) error {
	c.Network, c.Networks, c.Ports = o.NetworkMode(), nil, nil
	c.NetworkConfig, c.NetworkShared, c.NetworkPlugins, c.NetworkProgram = nil, nil, nil, ""
	ports, err := applySockets(c, m, f)
	if err != nil {
		return err
	}
	if o.Later && len(o.Networks) == 0 && !f.has(contract.NetContained) {
		c.Network = contract.NetworkNone
		return nil
	}
	list := o.Networks
	if len(list) == 0 {
		list = []pod.NetworkRequest{{Name: pod.NetDefault}}
	}
	if o.User != nil {
		if err := o.userNetwork(c, m, list); err != nil || c.Network == contract.NetworkNone && len(o.Networks) == 0 {
			return err
		}
	}
	feature := map[string]contract.Feature{contract.NetworkHost: contract.NetHost, contract.NetworkNone: contract.NetNone,
		contract.NetworkContained: contract.NetContained}[c.Network]
	if err := f.need(feature, "--net="+list[0].Name); err != nil {
		if len(o.Networks) == 0 && f.has(contract.NetHost) {
			return hint.Wrap(err, "--net=host gives the pod the host's network")
		}
		return err
	}
	if c.Network != contract.NetworkContained {
		if len(ports) > 0 && !o.Later {
			return hint.Wrap(fmt.Errorf("port %q cannot be forwarded with --net=%s", ports[0].Name, list[0].Name),
				"with --net=host an app's ports are the host's: leave --port out")
		}
		return nil
	}
	for i, n := range list {
		c.Networks = append(c.Networks, contract.Network{Name: n.Name, IfName: "eth" + strconv.Itoa(i), Args: n.Args})
	}
	c.NetworkConfig, c.NetworkShared, c.NetworkPlugins = o.NetworkConfig, o.NetworkShared, o.NetworkPlugins
	return applyPorts(c, m, ports, f)
}

// userNetwork refuses networks that an ordinary user cannot have.
func (o *Options) userNetwork(c *contract.Pod, m *pod.Manifest, list []pod.NetworkRequest) error {
	const install = "install pasta (Debian's package passt) or slirp4netns, and see that you may open /dev/net/tun; or give --net=none, or --net=host"
	for _, n := range list {
		switch {
		case n.Name == pod.NetHost || n.Name == pod.NetNone:
		case n.Name != pod.NetDefault || len(list) > 1:
			return hint.Wrap(fmt.Errorf("network %q needs root", n.Name), "an ordinary user's pod has the network default alone, none or host")
		case len(n.Args) > 0:
			return fmt.Errorf("network %q of an ordinary user takes no arguments such as %q", n.Name, n.Args[0])
		case o.User.Program != "":
			c.NetworkProgram = o.User.Program
		case len(o.Networks) > 0:
			return hint.Wrap(fmt.Errorf("network %q: %w", n.Name, o.User.Lack), install)
		case len(m.Ports) > 0 && !o.Later:
			return hint.Wrap(fmt.Errorf("port %q cannot be forwarded: %w", m.Ports[0].Name, o.User.Lack), install)
		case !o.Later && o.User.Warn != nil:
			o.User.Warn(fmt.Sprintf("the pod has no network but loopback: %v", o.User.Lack))
		}
	}
	for _, p := range m.Ports {
		if c.NetworkProgram != "" && p.PodPort != nil && p.PodPort.Protocol == "sctp" {
			return fmt.Errorf("port %q: SCTP cannot be forwarded without root", p.Name)
		}
	}
	return nil
}

// applyPorts finds for each port of the host the app's port of that name.
func applyPorts(c *contract.Pod, m *pod.Manifest, ports []pod.ExposedPort, f *Flavor) error {
	if len(ports) == 0 {
		return nil
	}
	if err := f.need(contract.Ports, "--port"); err != nil {
		return err
	}
	for _, e := range ports {
		to, err := podPort(m, e)
		if err != nil {
			return err
		}
		p := contract.Port{Name: e.Name, Protocol: to.Protocol, HostIP: e.HostIP, HostPort: int(e.HostPort), PodPort: int(to.Port)}
		if to.Count > 1 {
			p.Count = int(to.Count)
		}
		if int(e.HostPort)+max(p.Count, 1)-1 > 65535 {
			return fmt.Errorf("port %q: %d ports from %d on are too many", e.Name, p.Count, e.HostPort)
		}
		c.Ports = append(c.Ports, p)
	}
	return nil
}

// podPort is the port that e leads to.
func podPort(m *pod.Manifest, e pod.ExposedPort) (image.Port, error) {
	if e.PodPort != nil {
		return *e.PodPort, nil
	}
	var found *image.Port
	var in string
	var names []string
	for i := range m.Apps {
		a := &m.Apps[i]
		if a.App == nil {
			continue
		}
		for j := range a.App.Ports {
			p := &a.App.Ports[j]
			names = append(names, p.Name)
			if p.Name != e.Name {
				continue
			}
			if found != nil {
				return image.Port{}, fmt.Errorf("port %q is of two apps, %q and %q", e.Name, in, a.Name)
			}
			found, in = p, a.Name
		}
	}
	if found == nil {
		err := fmt.Errorf("no app has a port %q", e.Name)
		if names == nil {
			err = hint.Wrap(err, fmt.Sprintf("say which it is: --port=%s:tcp:80:%d", e.Name, e.HostPort))
		} else {
			err = hint.Wrap(err, fmt.Sprintf("the apps have %q; others are named with protocol and number: --port=%s:tcp:80:%d", names, e.Name, e.HostPort))
		}
		return image.Port{}, err
	}
	return *found, nil
}
