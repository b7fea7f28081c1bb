// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/prepare"
	"github.com/spf13/pflag"
)

// registerRunOptions adds the flags of `run` that `run-prepared` has as well.
func registerRunOptions(fs *pflag.FlagSet, o *prepare.Options, net *netFlag, dns *dnsFlag) {
	net.o, dns.o = o, o
	f := each(fs, "net", "NETWORK,…", "the pod's networks, each NAME[:KEY=VALUE;…]: default and default-restricted, which know IP, IP6 and names=on, and what is configured (rkt net list); or all of them, none, or host; may be repeated", net.set)
	f.DefValue, f.NoOptDefVal = "default", "default"
	each(fs, "dns", "IP,…", "name servers of the pod, or host for the host's resolv.conf, or none for the image's own", dns.server)
	list := func(name, typ, usage string, to *[]string) {
		each(fs, name, typ, usage, func(s string) error {
			*to = append(*to, strings.Split(s, ",")...)
			return dns.settings(name)
		})
	}
	list("dns-search", "DOMAIN,…", "domains that the pod's resolver searches", &o.DNS.Search)
	list("dns-opt", "OPTION,…", "options of the pod's resolver", &o.DNS.Options)
	each(fs, "dns-domain", "DOMAIN", "the pod's own DNS domain", func(s string) error {
		o.DNS.Domain = s
		return dns.settings("dns-domain")
	})
	each(fs, "hosts-entry", "IP=NAME,…", "entries of the pod's /etc/hosts, or host for the host's file; may be repeated", func(s string) error {
		if s == "host" {
			if len(o.Hosts) > 0 {
				return errors.New("host does not go with entries")
			}
			o.HostsFromHost = true
			return nil
		}
		if o.HostsFromHost {
			return errors.New("entries do not go with host")
		}
		entries, err := pod.ParseHostsEntries(s)
		for _, e := range entries {
			o.Hosts = pod.AddHosts(o.Hosts, e)
		}
		return err
	})
	each(fs, "hostname", "NAME", "host name of the pod; rkt-UUID if it is not given", func(s string) error {
		o.Hostname = s
		return pod.ValidateHostname(s)
	})
	each(fs, "ipc", "MODE", "IPC namespace of the pod: auto and private are its own, parent is the host's", func(s string) error {
		switch s {
		case "auto":
			o.HostIPC, o.OwnIPC = false, false
		case "private":
			o.HostIPC, o.OwnIPC = false, true
		case "parent":
			o.HostIPC, o.OwnIPC = true, false
		default:
			return errors.New("want auto, private or parent")
		}
		return nil
	}).DefValue = "auto"
	fs.BoolVar(&o.Interactive, "interactive", false, "connect the app to this terminal; it takes a pod of one app")
	each(fs, "stop-timeout", "DURATION", "how long apps have to end after their stop signal, in whole seconds", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Second || d%time.Second != 0 {
			return errors.New("want a duration of whole seconds such as 30s")
		}
		o.StopSeconds = int(d / time.Second)
		return nil
	}).DefValue = "10s"
}

// netFlag is --net.
type netFlag struct{ o *prepare.Options }

func (n *netFlag) set(s string) (err error) {
	n.o.Networks, err = pod.AddNetworks(n.o.Networks, s)
	return err
}

// dnsFlag is --dns and its settings: addresses, or one of the words host and
// none.
type dnsFlag struct {
	o *prepare.Options
}

func (d *dnsFlag) server(s string) error {
	for _, word := range strings.Split(s, ",") {
		if word == "host" || word == "none" {
			if d.o.DNSMode != "" && d.o.DNSMode != word || !d.o.DNS.IsZero() {
				return errors.New(word + " does not go with anything else of DNS")
			}
			d.o.DNSMode = word
			continue
		}
		if _, err := netip.ParseAddr(word); err != nil {
			return fmt.Errorf("%q is not an IP address, host or none", word)
		}
		d.o.DNS.Servers = append(d.o.DNS.Servers, word)
		if err := d.settings("dns"); err != nil {
			return err
		}
	}
	return nil
}

// settings checks what has been set so far.
func (d *dnsFlag) settings(name string) error {
	if d.o.DNSMode != "" {
		return fmt.Errorf("cannot use --%s: it does not go with --dns=%s", name, d.o.DNSMode)
	}
	return d.o.DNS.Validate()
}

// envFlags are the pod-wide environments. A name may be given once on the
// command line and once in all files; the command line wins.
type envFlags struct {
	inherit  bool
	explicit []string
	file     []string
	names    [2]map[string]bool // of explicit and file
}

func (e *envFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&e.inherit, "inherit-env", false, "give apps rkt's own environment, below the image's")
	each(fs, "set-env", "NAME=VALUE", "set an environment variable of all apps; may be repeated", func(s string) error {
		return e.add(0, s)
	})
	each(fs, "set-env-file", "FILE", "set environment variables of all apps, one NAME=VALUE a line; # and ; begin comments", e.read)
}

func (e *envFlags) add(kind int, s string) error {
	if err := checkVariable(s); err != nil {
		return err
	}
	name, _, _ := strings.Cut(s, "=")
	if e.names[kind] == nil {
		e.names[kind] = map[string]bool{}
	}
	if e.names[kind][name] {
		return fmt.Errorf("%s is given twice", name)
	}
	e.names[kind][name] = true
	if kind == 0 {
		e.explicit = append(e.explicit, s)
	} else {
		e.file = append(e.file, s)
	}
	return nil
}

func (e *envFlags) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if err := e.add(1, line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// into writes the environments into a request, files first.
func (e *envFlags) into(r *prepare.Request) {
	r.SetEnv = append(e.file, e.explicit...)
	if e.inherit {
		// What is not NAME=VALUE cannot be given on.
		for _, e := range os.Environ() {
			if checkVariable(e) == nil {
				r.InheritEnv = append(r.InheritEnv, e)
			}
		}
	}
}
