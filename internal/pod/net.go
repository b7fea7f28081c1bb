// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"strings"
)

// NetworkRequest is one network of --net: NAME[:KEY=VALUE[;KEY=VALUE…]].
type NetworkRequest struct {
	Name string
	Args []string // KEY=VALUE
}

// Networks with a meaning of their own, which stand alone and take no
// arguments; and the one a pod has if nobody says anything.
const (
	NetHost    = "host" // the host's own
	NetNone    = "none" // only loopback
	NetAll     = "all"  // every network there is
	NetDefault = "default"
	// NetRestricted reaches the host and its like only.
	NetRestricted = "default-restricted"
)

// maxNetworks bounds how many networks one pod is attached to.
const maxNetworks = 64

// AddNetworks appends what one value of --net asks for: names with commas
// between them. The first colon of each ends its name, so that an argument may
// be an IPv6 address.
func AddNetworks(list []NetworkRequest, s string) ([]NetworkRequest, error) {
	for _, word := range strings.Split(s, ",") {
		n, err := parseNetwork(word)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if o.Name == n.Name {
				return nil, fmt.Errorf("network %q is given twice", n.Name)
			}
		}
		if list = append(list, n); len(list) > maxNetworks {
			return nil, fmt.Errorf("a pod has at most %d networks", maxNetworks)
		}
	}
	if len(list) > 1 {
		for _, n := range list {
			if alone(n.Name) {
				return nil, fmt.Errorf("network %q does not go with others", n.Name)
			}
		}
	}
	return list, nil
}

func alone(name string) bool { return name == NetHost || name == NetNone || name == NetAll }

func parseNetwork(s string) (n NetworkRequest, err error) {
	name, args, has := strings.Cut(s, ":")
	n.Name = name
	if err := validNetworkName(name); err != nil {
		return n, err
	}
	if !has {
		return n, nil
	}
	if alone(name) {
		return n, fmt.Errorf("network %q takes no arguments", name)
	}
	for _, a := range strings.Split(args, ";") {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" || value == "" {
			return n, fmt.Errorf("network %q: argument %q is not KEY=VALUE", name, a)
		}
		for _, o := range n.Args {
			if strings.HasPrefix(o, key+"=") && key != "ips" && key != "aliases" { // those are lists
				return n, fmt.Errorf("network %q: argument %s is given twice", name, key)
			}
		}
		if strings.IndexFunc(a, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
			return n, fmt.Errorf("network %q: argument %q has white space", name, a)
		}
		n.Args = append(n.Args, a)
	}
	return n, nil
}

// validNetworkName is CNI's rule for names (CNI 1.1, "Network configuration
// format"), which also keeps them from being paths.
func validNetworkName(s string) error {
	if s == "" {
		return errors.New("a network's name is empty")
	}
	for i := range len(s) {
		c := s[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !plain && (i == 0 || c != '-' && c != '_' && c != '.') || i > 63 {
			return fmt.Errorf("%q is not a network's name: letters, digits, - _ and . after the first, 64 at most", s)
		}
	}
	return nil
}
