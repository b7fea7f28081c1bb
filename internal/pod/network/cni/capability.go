// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rkt/rkt/internal/linux/netlink"
)

// The capability arguments that rkt gives, by the names of CONVENTIONS.md.
const (
	PortMappings = "portMappings"
	Bandwidth    = "bandwidth"
	IPs          = "ips"
	MAC          = "mac"
	Aliases      = "aliases"
)

// A PortMapping leads a port of the host into the pod.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"` // tcp, udp, sctp
	HostIP        string `json:"hostIP,omitempty"`
}

// Rates limit an interface. In bits per second, and bits at once.
type Rates struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// Capabilities are capability arguments: JSON by the capability's name.
type Capabilities map[string]json.RawMessage

// Set adds a capability argument.
func (c *Capabilities) Set(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", name, err)
	}
	if *c == nil {
		*c = Capabilities{}
	}
	(*c)[name] = text
	return nil
}

// ParseArgs reads the arguments of --net=NAME:KEY=VALUE;…. Capability arguments
// have the names and units of CONVENTIONS.md and are written
//
//	ips=10.0.0.5/24;ips=fd00::5/64   (each address with a key of its own)
//	mac=02:00:00:00:00:05
//	aliases=web;aliases=www
//	ingressRate=1000000;ingressBurst=80000;egressRate=…;egressBurst=…
//
// and everything else is for CNI_ARGS, as in IP=10.0.0.5.
func ParseArgs(words []string) (args [][2]string, c Capabilities, err error) {
	var ips, aliases []string
	var rates Rates
	mac, seen := "", map[string]bool{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, nil, fmt.Errorf("argument %q is not KEY=VALUE", word)
		}
		if strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == ';' || r == 0x7f }) {
			return nil, nil, fmt.Errorf("argument %q has a character that cannot be passed on", word)
		}
		several := key == IPs || key == Aliases
		if seen[key] && !several {
			return nil, nil, fmt.Errorf("argument %s is given twice", key)
		}
		seen[key] = true
		to := map[string]*uint64{"ingressRate": &rates.IngressRate, "ingressBurst": &rates.IngressBurst,
			"egressRate": &rates.EgressRate, "egressBurst": &rates.EgressBurst}[key]
		switch {
		case key == IPs:
			if err := checkIP(value); err != nil {
				return nil, nil, err
			}
			ips = append(ips, value)
		case key == Aliases:
			if value == "" {
				return nil, nil, fmt.Errorf("argument %s is empty", key)
			}
			aliases = append(aliases, value)
		case key == MAC:
			if hw, err := net.ParseMAC(value); err != nil || len(hw) != 6 {
				return nil, nil, fmt.Errorf("argument %q is not a hardware address", word)
			}
			mac = value
		case to != nil:
			if *to, err = strconv.ParseUint(value, 10, 64); err != nil || *to == 0 {
				return nil, nil, fmt.Errorf("argument %q is not a number of bits", word)
			}
		default:
			args = append(args, [2]string{key, value})
		}
	}
	if (rates.IngressRate == 0) != (rates.IngressBurst == 0) || (rates.EgressRate == 0) != (rates.EgressBurst == 0) {
		return nil, nil, fmt.Errorf("a rate and its burst want each other")
	}
	for _, one := range []struct {
		name  string
		given bool
		value any
	}{{IPs, ips != nil, ips}, {Aliases, aliases != nil, aliases}, {MAC, mac != "", mac}, {Bandwidth, rates != Rates{}, rates}} {
		if one.given {
			if err := c.Set(one.name, one.value); err != nil {
				return nil, nil, err
			}
		}
	}
	return args, c, nil
}

// limit asks for a limit of so many bytes a second, each way; 0 is none. In CNI's
// words what goes into the pod is ingress.
func (rec *Record) limit(bytes int64) error {
	if bytes == 0 {
		return nil
	}
	if _, ok := rec.Capabilities[Bandwidth]; ok {
		return errors.New("it is limited twice: by arguments of the network, and by the isolator resource/network-bandwidth")
	}
	if !rec.Network.Capable(Bandwidth) {
		return errors.New("it cannot enforce the isolator resource/network-bandwidth: no plugin of it has the capability bandwidth")
	}
	rate, burst := 8*uint64(bytes), min(8*uint64(netlink.Burst(uint64(bytes))), math.MaxUint32)
	return rec.Capabilities.Set(Bandwidth, Rates{IngressRate: rate, IngressBurst: burst, EgressRate: rate, EgressBurst: burst})
}

// checkIP accepts an address, with or without the length of its network.
func checkIP(s string) error {
	_, err := netip.ParseAddr(s)
	if strings.Contains(s, "/") {
		_, err = netip.ParsePrefix(s)
	}
	if err != nil {
		return fmt.Errorf("argument %q is not an address", IPs+"="+s)
	}
	return nil
}

// refuse names a capability argument that no plugin of the chain takes: passed
// over, it would be a promise not kept.
func (c Capabilities) refuse(n *Network) error {
	var none []string
	for name := range c {
		if !n.Capable(name) {
			none = append(none, name)
		}
	}
	if none == nil {
		return nil
	}
	slices.Sort(none)
	return fmt.Errorf("no plugin of it has the capability %s", strings.Join(none, ", "))
}
