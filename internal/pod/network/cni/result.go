// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// maxEntries bounds each list of a result.
const maxEntries = 1024

// A Result is what a network gave: the specification's section 5, in one form
// for all its versions.
type Result struct {
	Interfaces []Interface
	IPs        []IP
	Routes     []Route
	DNS        DNS
}

// An Interface of the pod, or one on the host that belongs to it.
type Interface struct {
	Name       string `json:"name"`
	MAC        string `json:"mac,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Sandbox    string `json:"sandbox,omitempty"` // "": on the host
	SocketPath string `json:"socketPath,omitempty"`
	PCIID      string `json:"pciID,omitempty"`
}

// An IP is an address, its network's length and the way out of that.
type IP struct {
	Address   netip.Prefix
	Gateway   netip.Addr // may be missing
	Interface int        // index into Interfaces; -1: not said
}

// A Route of the pod.
type Route struct {
	Destination                  netip.Prefix
	Gateway                      netip.Addr // may be missing
	MTU, AdvertisedMSS, Priority int
	Table, Scope                 *int
}

// DNS is what a network says for resolv.conf.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

func (d *DNS) isZero() bool {
	return len(d.Nameservers) == 0 && d.Domain == "" && len(d.Search) == 0 && len(d.Options) == 0
}

// addr and prefix are addresses as plugins spell them: "" and null are none.
type addr struct{ netip.Addr }

func (a *addr) UnmarshalText(text []byte) (err error) {
	if len(text) > 0 {
		a.Addr, err = netip.ParseAddr(string(text))
		if err == nil && a.Zone() != "" {
			err = fmt.Errorf("address %q has a zone", text)
		}
		a.Addr = a.Unmap()
	}
	return err
}

type prefix struct{ netip.Prefix }

func (p *prefix) UnmarshalText(text []byte) (err error) {
	p.Prefix, err = netip.ParsePrefix(string(text))
	if a := p.Addr(); err == nil && a.Is4In6() {
		if p.Bits() < 96 {
			return fmt.Errorf("address %q is neither version 4 nor 6", text)
		}
		p.Prefix = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return err
}

// The forms on the wire. Pointers where null must not pass for an entry.
type (
	wireIP struct {
		Version   string  `json:"version,omitempty"` // 0.3.0 to 0.4.0 only
		Interface *int    `json:"interface,omitempty"`
		Address   *prefix `json:"address"`
		Gateway   *addr   `json:"gateway,omitempty"`
	}
	wireRoute struct {
		Dst      *prefix `json:"dst"`
		GW       *addr   `json:"gw,omitempty"`
		MTU      int     `json:"mtu,omitempty"`
		AdvMSS   int     `json:"advmss,omitempty"`
		Priority int     `json:"priority,omitempty"`
		Table    *int    `json:"table,omitempty"`
		Scope    *int    `json:"scope,omitempty"`
	}
	wireResult struct {
		Version    string       `json:"cniVersion"`
		Interfaces []*Interface `json:"interfaces,omitempty"`
		IPs        []*wireIP    `json:"ips,omitempty"`
		Routes     []*wireRoute `json:"routes,omitempty"`
		DNS        *DNS         `json:"dns,omitempty"`
	}
	oldIP struct {
		IP      *prefix      `json:"ip"`
		Gateway *addr        `json:"gateway,omitempty"`
		Routes  []*wireRoute `json:"routes,omitempty"`
	}
	oldResult struct { // 0.1.0 and 0.2.0
		Version string `json:"cniVersion"`
		IP4     *oldIP `json:"ip4,omitempty"`
		IP6     *oldIP `json:"ip6,omitempty"`
		DNS     *DNS   `json:"dns,omitempty"`
	}
)

// DecodeResult reads what a plugin printed when it was asked in version asked.
// A result that names no version is in the one asked for, whatever the
// specification says: that is what plugins mean by it. It returns the version
// found, too.
func DecodeResult(text []byte, asked string) (*Result, string, error) {
	keys, err := object(text)
	if err != nil {
		return nil, "", err
	}
	version := ""
	if raw, ok := keys["cniVersion"]; ok {
		if err := json.Unmarshal(raw, &version); err != nil {
			return nil, "", errors.New("cniVersion is not a string")
		}
	}
	if version == "" {
		version = asked
	}
	if err := known(version); err != nil {
		return nil, "", err
	}
	r := new(Result)
	if atLeast(version, "0.3.0") {
		err = r.decode(text)
	} else {
		err = r.decodeOld(text)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, "", err
	}
	return r, version, nil
}

func (r *Result) decode(text []byte) error {
	var w wireResult
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	for i, in := range w.Interfaces {
		if in == nil {
			return fmt.Errorf("interfaces[%d] is null", i)
		}
		r.Interfaces = append(r.Interfaces, *in)
	}
	for i, ip := range w.IPs {
		if ip == nil || ip.Address == nil {
			return fmt.Errorf("ips[%d] has no address", i)
		}
		to := IP{Address: ip.Address.Prefix, Interface: -1}
		if ip.Gateway != nil {
			to.Gateway = ip.Gateway.Addr
		}
		if ip.Interface != nil {
			if to.Interface = *ip.Interface; to.Interface < 0 || to.Interface >= len(r.Interfaces) {
				return fmt.Errorf("ips[%d] belongs to interface %d, which is not in the list", i, to.Interface)
			}
		}
		r.IPs = append(r.IPs, to)
	}
	if w.DNS != nil {
		r.DNS = *w.DNS
	}
	return r.addRoutes(w.Routes)
}

func (r *Result) decodeOld(text []byte) error {
	var w oldResult
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	for i, ip := range []*oldIP{w.IP4, w.IP6} {
		if ip == nil {
			continue
		}
		name := []string{"ip4", "ip6"}[i]
		if ip.IP == nil {
			return fmt.Errorf("%s has no address", name)
		}
		if ip.IP.Addr().Is4() != (i == 0) {
			return fmt.Errorf("%s is %s", name, ip.IP)
		}
		to := IP{Address: ip.IP.Prefix, Interface: -1}
		if ip.Gateway != nil {
			to.Gateway = ip.Gateway.Addr
		}
		r.IPs = append(r.IPs, to)
		if err := r.addRoutes(ip.Routes); err != nil {
			return err
		}
	}
	if w.DNS != nil {
		r.DNS = *w.DNS
	}
	return nil
}

func (r *Result) addRoutes(list []*wireRoute) error {
	for i, route := range list {
		if route == nil || route.Dst == nil {
			return fmt.Errorf("routes[%d] has no destination", i)
		}
		to := Route{Destination: route.Dst.Prefix, MTU: route.MTU, AdvertisedMSS: route.AdvMSS, Priority: route.Priority,
			Table: route.Table, Scope: route.Scope}
		if route.GW != nil {
			to.Gateway = route.GW.Addr
		}
		r.Routes = append(r.Routes, to)
	}
	return nil
}

// check refuses what must not get into messages, files and calls of others.
func (r *Result) check() error {
	if max(len(r.Interfaces), len(r.IPs), len(r.Routes), len(r.DNS.Nameservers), len(r.DNS.Search), len(r.DNS.Options)) > maxEntries {
		return fmt.Errorf("it has a list of more than %d entries", maxEntries)
	}
	for _, in := range r.Interfaces {
		if in.Name != "" && !validInterface(in.Name) {
			return fmt.Errorf("interface %q cannot be one", in.Name)
		}
		if _, err := net.ParseMAC(in.MAC); in.MAC != "" && err != nil {
			return fmt.Errorf("interface %q has the hardware address %q", in.Name, in.MAC)
		}
	}
	for _, s := range r.DNS.Nameservers {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("name server %q is not an address", s)
		}
	}
	for _, s := range append(append([]string{r.DNS.Domain}, r.DNS.Search...), r.DNS.Options...) {
		if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return fmt.Errorf("%q cannot stand in a resolv.conf", s)
		}
	}
	return nil
}

// Encode is the result in a version of the specification. Versions before 0.3.0
// hold one address of each family and no interface: more than that is left out,
// as the specification's own library does, and none at all is an error.
func (r *Result) Encode(version string) ([]byte, error) {
	var dns *DNS
	if !r.DNS.isZero() {
		dns = &r.DNS
	}
	if !atLeast(version, "0.3.0") {
		return r.encodeOld(version, dns)
	}
	w := wireResult{Version: version, DNS: dns, Routes: r.wireRoutes(atLeast(version, "1.1.0"), func(Route) bool { return true })}
	for _, in := range r.Interfaces {
		if !atLeast(version, "1.1.0") {
			in = Interface{Name: in.Name, MAC: in.MAC, Sandbox: in.Sandbox}
		}
		w.Interfaces = append(w.Interfaces, &in)
	}
	for _, ip := range r.IPs {
		to := &wireIP{Address: &prefix{ip.Address}}
		if ip.Gateway.IsValid() {
			to.Gateway = &addr{ip.Gateway}
		}
		if ip.Interface >= 0 {
			to.Interface = &ip.Interface
		}
		if !atLeast(version, "1.0.0") {
			to.Version = "6"
			if ip.Address.Addr().Is4() {
				to.Version = "4"
			}
		}
		w.IPs = append(w.IPs, to)
	}
	return json.Marshal(w)
}

func (r *Result) encodeOld(version string, dns *DNS) ([]byte, error) {
	w := oldResult{Version: version, DNS: dns}
	for _, ip := range r.IPs {
		is4 := ip.Address.Addr().Is4()
		to := &w.IP6
		if is4 {
			to = &w.IP4
		}
		if *to != nil {
			continue
		}
		*to = &oldIP{IP: &prefix{ip.Address}, Routes: r.wireRoutes(false, func(route Route) bool { return route.Destination.Addr().Is4() == is4 })}
		if ip.Gateway.IsValid() {
			(*to).Gateway = &addr{ip.Gateway}
		}
	}
	if w.IP4 == nil && w.IP6 == nil {
		return nil, fmt.Errorf("a result without addresses has no form in version %s", version)
	}
	return json.Marshal(w)
}

func (r *Result) wireRoutes(attributes bool, want func(Route) bool) []*wireRoute {
	var list []*wireRoute
	for _, route := range r.Routes {
		if !want(route) {
			continue
		}
		to := &wireRoute{Dst: &prefix{route.Destination}}
		if route.Gateway.IsValid() {
			to.GW = &addr{route.Gateway}
		}
		if attributes {
			to.MTU, to.AdvMSS, to.Priority, to.Table, to.Scope = route.MTU, route.AdvertisedMSS, route.Priority, route.Table, route.Scope
		}
		list = append(list, to)
	}
	return list
}

// Of returns the hardware address and the addresses of the pod's interface of
// that name. An address of which no interface is told counts: versions before
// 0.3.0 tell of none.
func (r *Result) Of(ifName string) (mac string, ips []IP) {
	for _, in := range r.Interfaces {
		if in.Name == ifName && in.Sandbox != "" {
			mac = in.MAC
		}
	}
	for _, ip := range r.IPs {
		if ip.Interface < 0 || r.Interfaces[ip.Interface].Name == ifName && r.Interfaces[ip.Interface].Sandbox != "" {
			ips = append(ips, ip)
		}
	}
	return mac, ips
}
