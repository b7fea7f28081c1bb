// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	forward4 = "/proc/sys/net/ipv4/ip_forward"
	conf6    = "/proc/sys/net/ipv6/conf"
)

// hasIPv6 reports whether interfaces of this network namespace get IPv6.
func hasIPv6() bool {
	b, err := os.ReadFile(conf6 + "/default/disable_ipv6")
	return err == nil && strings.TrimSpace(string(b)) == "0"
}

// forwarding sees to it that the host forwards packets, which is the only
// setting of the host's own that pods need. It is switched on if it is off, and
// the user is told.
func (n *Networks) forwarding(v6 bool) error {
	on, err := is(forward4, "0")
	if err == nil && on {
		if err = set(forward4, "1"); err == nil {
			n.Warn("switched the forwarding of IPv4 on for pods (sysctl net.ipv4.ip_forward)")
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make this host forward for its pods: %w", err)
	}
	if !v6 {
		return nil
	}
	off, err := is(conf6+"/all/forwarding", "0")
	if err == nil && off {
		// A router does not listen to other routers unless told so: what this host
		// has learned from them would expire (accept_ra in the kernel's
		// ip-sysctl.rst).
		if err = keepAdvertisements(); err == nil {
			if err = set(conf6+"/all/forwarding", "1"); err == nil {
				n.Warn("switched the forwarding of IPv6 on for pods (sysctl net.ipv6.conf.all.forwarding)")
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make this host forward IPv6 for its pods: %w", err)
	}
	return nil
}

// keepAdvertisements lets interfaces that heed router advertisements do so while
// the host forwards.
func keepAdvertisements() error {
	files, err := filepath.Glob(conf6 + "/*/accept_ra")
	if err != nil {
		return err
	}
	for _, f := range files {
		if filepath.Base(filepath.Dir(f)) == "all" {
			continue
		}
		if one, err := is(f, "1"); err == nil && one {
			if err := set(f, "2"); err != nil {
				return err
			}
		}
	}
	return nil
}

func is(path, value string) (bool, error) {
	b, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(b)) == value, err
}

func set(path, value string) error { return os.WriteFile(path, []byte(value), 0) }
