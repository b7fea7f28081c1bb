// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

const defaultStopSeconds = 10

// StopTime is how long apps have between their stop signal and SIGKILL: of a pod of
// the manifest m, or of one without, nil.
func (o Options) StopTime(m *pod.Manifest) (time.Duration, error) {
	var err error
	if m != nil {
		o, err = o.annotated(m)
	}
	return time.Duration(o.stopSeconds()) * time.Second, err
}

func (o Options) stopSeconds() int {
	if o.StopSeconds == 0 {
		return defaultStopSeconds
	}
	return o.StopSeconds
}

// annotated fills in from the pod manifest what o leaves open.
func (o Options) annotated(m *pod.Manifest) (Options, error) {
	get := m.Annotations.Get
	if v, ok := get(pod.AnnotationNetwork); ok && len(o.Networks) == 0 {
		var err error
		if o.Networks, err = pod.AddNetworks(nil, v); err != nil {
			return o, fmt.Errorf("annotation %q: %w", pod.AnnotationNetwork, err)
		}
	}
	if v, ok := get(pod.AnnotationHostname); ok && o.Hostname == "" {
		o.Hostname = v
	}
	if v, ok := get(pod.AnnotationHostIPC); ok {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return o, fmt.Errorf("annotation %q is neither true nor false", pod.AnnotationHostIPC)
		}
		o.HostIPC = o.HostIPC || on && !o.OwnIPC
	}
	if v, ok := get(pod.AnnotationStopSeconds); ok && o.StopSeconds == 0 {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return o, fmt.Errorf("annotation %q is not a number of seconds", pod.AnnotationStopSeconds)
		}
		o.StopSeconds = max(n, 1)
	}
	if v, ok := get(pod.AnnotationDNS); ok && o.DNS.IsZero() && o.DNSMode == "" {
		if v == "host" {
			o.DNSMode = v
		} else if err := json.Unmarshal([]byte(v), &o.DNS); err != nil {
			return o, fmt.Errorf("annotation %q: %w", pod.AnnotationDNS, err)
		}
	}
	if v, ok := get(pod.AnnotationHosts); ok && len(o.Hosts) == 0 && !o.HostsFromHost {
		if err := json.Unmarshal([]byte(v), &o.Hosts); err != nil {
			return o, fmt.Errorf("annotation %q: %w", pod.AnnotationHosts, err)
		}
	}
	return o, nil
}

// apply puts the options into the document, whose apps are complete.
func (o Options) apply(c *contract.Pod, m *pod.Manifest, f *Flavor) error {
	o, err := o.annotated(m)
	if err != nil {
		return err
	}
	if err := o.applyNetwork(c, m, f); err != nil {
		return err
	}
	c.Hostname = "rkt-" + c.UUID
	if o.Hostname != "" {
		if err := pod.ValidateHostname(o.Hostname); err != nil {
			return err
		}
		if err := f.need(contract.Hostname, "host name "+strconv.Quote(o.Hostname)); err != nil {
			return err
		}
		c.Hostname = o.Hostname
	}
	if c.HostIPC = o.HostIPC; c.HostIPC && o.OwnIPC {
		return errors.New("the pod cannot have both an IPC namespace of its own and the host's")
	}
	if c.HostIPC {
		if err := f.need(contract.HostIPC, "the host's IPC namespace"); err != nil {
			return err
		}
	}
	if err := checkSysctls(c); err != nil {
		return err
	}
	if err := checkUsers(c, m.Volumes); err != nil {
		return err
	}
	if err := o.applyDNS(c, f); err != nil {
		return err
	}
	if err := o.applyHosts(c, f); err != nil {
		return err
	}
	if err := o.applyInteractive(c, f); err != nil {
		return err
	}
	if err := o.applyNotify(c, m); err != nil {
		return err
	}
	if err := checkBandwidth(c, m, o.Insecure); err != nil {
		return err
	}
	c.Insecure = o.Insecure
	if err := o.confine(c, m, f); err != nil {
		return err
	}
	c.StopSeconds = o.stopSeconds()
	if o.Decided != nil {
		return o.Decided(c)
	}
	return nil
}

func (o *Options) applyDNS(c *contract.Pod, f *Flavor) error {
	c.Resolv, c.NoNetworkDNS = nil, o.DNSMode == "none"
	if err := o.DNS.Validate(); err != nil {
		return err
	}
	var text string
	switch {
	case o.DNSMode != "" && o.DNSMode != "host" && o.DNSMode != "none":
		return fmt.Errorf("DNS mode %q is not known", o.DNSMode)
	case o.DNSMode != "" && !o.DNS.IsZero():
		return fmt.Errorf("--dns=%s does not go with other DNS options", o.DNSMode)
	case o.DNSMode == "host":
		b, err := readSmall("/etc/resolv.conf")
		if err != nil {
			return err
		}
		text = b
	case o.DNS.IsZero():
		return nil
	default:
		text = resolvConf(&o.DNS)
	}
	if err := f.need(contract.DNS, "--dns"); err != nil {
		return err
	}
	c.Resolv = &text
	return nil
}

// resolvConf is resolv.conf(5).
func resolvConf(d *pod.DNS) string {
	var b strings.Builder
	b.WriteString("# Written by rkt.\n\n")
	line := func(key string, values ...string) {
		if len(values) > 0 {
			b.WriteString(key + " " + strings.Join(values, " ") + "\n")
		}
	}
	line("search", d.Search...)
	for _, s := range d.Servers {
		line("nameserver", s)
	}
	line("options", d.Options...)
	if d.Domain != "" {
		line("domain", d.Domain)
	}
	return b.String()
}

func (o *Options) applyHosts(c *contract.Pod, f *Flavor) error {
	c.Hosts, c.HostsIfMissing = nil, false
	for i := range o.Hosts {
		if err := o.Hosts[i].Validate(); err != nil {
			return fmt.Errorf("hosts entry: %w", err)
		}
	}
	var text string
	switch {
	case o.HostsFromHost && len(o.Hosts) > 0:
		return errors.New("--hosts-entry=host does not go with other entries")
	case o.HostsFromHost:
		b, err := readSmall("/etc/hosts")
		if err != nil {
			return err
		}
		text = b
	case len(o.Hosts) > 0:
		text = hostsFile(c.Hostname, o.Hosts)
	case f.has(contract.DNS):
		// Not asked for: a file for images that have none.
		text = hostsFile(c.Hostname, nil)
		c.HostsIfMissing = true
	default:
		return nil
	}
	if err := f.need(contract.DNS, "--hosts-entry"); err != nil {
		return err
	}
	c.Hosts = &text
	return nil
}

// hostsFile is hosts(5): what every machine has, the pod's own name, entries.
func hostsFile(hostname string, entries []pod.HostsEntry) string {
	lines := []pod.HostsEntry{
		{IP: "127.0.0.1", Names: []string{"localhost", "localhost.localdomain", hostname}},
		{IP: "::1", Names: []string{"localhost", "ip6-localhost", "ip6-loopback"}},
		{IP: "ff02::1", Names: []string{"ip6-allnodes"}},
		{IP: "ff02::2", Names: []string{"ip6-allrouters"}},
	}
	for _, e := range entries {
		lines = pod.AddHosts(lines, pod.HostsEntry{IP: e.IP, Names: slices.Clone(e.Names)})
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.IP + "\t" + strings.Join(l.Names, " ") + "\n")
	}
	return b.String()
}

func (o *Options) applyInteractive(c *contract.Pod, f *Flavor) error {
	if c.Interactive = o.Interactive; !c.Interactive {
		return nil
	}
	if len(c.Apps) != 1 {
		return fmt.Errorf("an interactive pod has one app, this one has %d", len(c.Apps))
	}
	if err := f.need(contract.Interactive, "--interactive"); err != nil {
		return err
	}
	a := &c.Apps[0]
	if o.Term != "" && !slices.ContainsFunc(a.Environment, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		a.Environment = append(a.Environment, "TERM="+o.Term)
	}
	return nil
}

// readSmall reads a file of the host's that goes into the document.
func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%q is larger than %d bytes", path, most)
	}
	return string(b), err
}
