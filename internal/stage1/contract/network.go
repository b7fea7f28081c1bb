// SPDX-License-Identifier: Apache-2.0

package contract

import "github.com/rkt/rkt/internal/plainjson"

// The modes of Pod.Network.
const (
	NetworkHost      = "host"      // the host's network namespace
	NetworkNone      = "none"      // one of the pod's own, with nothing but loopback
	NetworkContained = "contained" // one of the pod's own, attached to Pod.Networks
)

// Network is one network that the pod is to be attached to. What stands behind
// the name is looked up when the pod starts, by the program libexec/rkt/network.
type Network struct {
	Name   string   `json:"name"`
	IfName string   `json:"ifName"`         // in the pod: eth0, eth1 …
	Args   []string `json:"args,omitempty"` // NAME=VALUE, as in --net=default:IP=10.0.0.1
}

// Port is one port, or a row of them, of the host that leads into the pod.
type Port struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`         // tcp, udp, sctp
	HostIP   string `json:"hostIP,omitempty"` // "": every address of the host
	HostPort int    `json:"hostPort"`
	PodPort  int    `json:"podPort"`
	Count    int    `json:"count,omitempty"` // so many in a row; 0 is 1
}

// Socket is one port, or a row of them, whose sockets the caller of rkt opens: by
// the port's name, or by where they are bound.
type Socket struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`     // tcp, udp, sctp
	IP       string `json:"ip,omitempty"` // "": any
	Port     int    `json:"port"`
	Count    int    `json:"count,omitempty"` // so many in a row; 0 is 1
}

// NetworkFile, in the pod directory, is what the pod was given of networks: a
// NetworkState. The program libexec/rkt/network alone writes it.
const NetworkFile = "network.json"

// NetworkState is the content of NetworkFile.
type NetworkState struct {
	// Released: all is given back; what is told of is history.
	Released bool       `json:"released,omitempty"`
	Networks []Attached `json:"networks"`
	// Ports are forwarded by rkt's own rules (as opposed to a driver's).
	Ports []Port `json:"ports,omitempty"`
}

// Attached is one network that the pod is attached to, by the names that rkt's
// JSON has for it.
type Attached struct {
	NetName    string `json:"netName"`
	NetConf    string `json:"netConf"`    // path of its configuration; "" if built in
	PluginPath string `json:"pluginPath"` // of its (first) plugin; "" if built in
	IfName     string `json:"ifName"`
	IP         string `json:"ip"`   // version 4, without prefix; "" for none
	Args       string `json:"args"` // "IP=…;IP6=…"
	Mask       string `json:"mask"` // of IP, dotted
	IP6        string `json:"ip6,omitempty"`
	Prefix6    int    `json:"prefix6,omitempty"` // length of IP6's
	MAC        string `json:"mac,omitempty"`
	HostIfName string `json:"hostIfName,omitempty"`
	Gateway    string `json:"gateway,omitempty"`  // version 4
	Gateway6   string `json:"gateway6,omitempty"` // version 6
	// Resolv is what the network says for resolv.conf(5), for pods that say
	// nothing themselves; "" for nothing.
	Resolv string `json:"resolv,omitempty"`
	// Driver is who made it and must unmake it: "builtin", "cni".
	Driver string `json:"driver"`
	// State is the driver's own text.
	State string `json:"state,omitempty"`
}

func (n *Network) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(n.Name)
	w.Key("ifName").String(n.IfName)
	w.OptStrings("args", n.Args)
	w.End('}')
}

func readNetwork(r *plainjson.Reader) (n Network) {
	for name := range r.Object() {
		switch name {
		case "name":
			n.Name = r.String()
		case "ifName":
			n.IfName = r.String()
		case "args":
			n.Args = r.Strings()
		}
	}
	return n
}

func (p *Port) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(p.Name)
	w.Key("protocol").String(p.Protocol)
	w.OptString("hostIP", p.HostIP)
	w.Key("hostPort").Int(int64(p.HostPort))
	w.Key("podPort").Int(int64(p.PodPort))
	if p.Count != 0 {
		w.Key("count").Int(int64(p.Count))
	}
	w.End('}')
}

func readPort(r *plainjson.Reader) (p Port) {
	for name := range r.Object() {
		switch name {
		case "name":
			p.Name = r.String()
		case "protocol":
			p.Protocol = r.String()
		case "hostIP":
			p.HostIP = r.String()
		case "hostPort":
			p.HostPort = r.Int()
		case "podPort":
			p.PodPort = r.Int()
		case "count":
			p.Count = r.Int()
		}
	}
	return p
}

func (s *Socket) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(s.Name)
	w.Key("protocol").String(s.Protocol)
	w.OptString("ip", s.IP)
	w.Key("port").Int(int64(s.Port))
	if s.Count != 0 {
		w.Key("count").Int(int64(s.Count))
	}
	w.End('}')
}

func readSocket(r *plainjson.Reader) (s Socket) {
	for name := range r.Object() {
		switch name {
		case "name":
			s.Name = r.String()
		case "protocol":
			s.Protocol = r.String()
		case "ip":
			s.IP = r.String()
		case "port":
			s.Port = r.Int()
		case "count":
			s.Count = r.Int()
		}
	}
	return s
}

// Encode is the state as it is stored, but for a newline at the end.
func (s *NetworkState) Encode() []byte {
	w := plainjson.NewWriter(1 << 10)
	w.Begin('{')
	w.OptBool("released", s.Released)
	plainjson.Each(w.Key("networks"), s.Networks, (*Attached).write)
	plainjson.OptEach(w, "ports", s.Ports, (*Port).write)
	w.End('}')
	b, _ := w.Bytes() // as for Pod
	return b
}

// DecodeNetworkState reads NetworkFile's content; unknown fields are passed over.
func DecodeNetworkState(b []byte) (*NetworkState, error) {
	s := new(NetworkState)
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "released":
			s.Released = r.Bool()
		case "networks":
			s.Networks = plainjson.List(r, readAttached)
		case "ports":
			s.Ports = plainjson.List(r, readPort)
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return s, nil
}

func (a *Attached) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("netName").String(a.NetName)
	w.Key("netConf").String(a.NetConf)
	w.Key("pluginPath").String(a.PluginPath)
	w.Key("ifName").String(a.IfName)
	w.Key("ip").String(a.IP)
	w.Key("args").String(a.Args)
	w.Key("mask").String(a.Mask)
	w.OptString("ip6", a.IP6)
	if a.Prefix6 != 0 {
		w.Key("prefix6").Int(int64(a.Prefix6))
	}
	w.OptString("mac", a.MAC)
	w.OptString("hostIfName", a.HostIfName)
	w.OptString("gateway", a.Gateway)
	w.OptString("gateway6", a.Gateway6)
	w.OptString("resolv", a.Resolv)
	w.Key("driver").String(a.Driver)
	w.OptString("state", a.State)
	w.End('}')
}

func readAttached(r *plainjson.Reader) (a Attached) {
	for name := range r.Object() {
		switch name {
		case "netName":
			a.NetName = r.String()
		case "netConf":
			a.NetConf = r.String()
		case "pluginPath":
			a.PluginPath = r.String()
		case "ifName":
			a.IfName = r.String()
		case "ip":
			a.IP = r.String()
		case "args":
			a.Args = r.String()
		case "mask":
			a.Mask = r.String()
		case "ip6":
			a.IP6 = r.String()
		case "prefix6":
			a.Prefix6 = r.Int()
		case "mac":
			a.MAC = r.String()
		case "hostIfName":
			a.HostIfName = r.String()
		case "gateway":
			a.Gateway = r.String()
		case "gateway6":
			a.Gateway6 = r.String()
		case "resolv":
			a.Resolv = r.String()
		case "driver":
			a.Driver = r.String()
		case "state":
			a.State = r.String()
		}
	}
	return a
}

// NetworkRelease is the argument of EnvNetwork's program.
const NetworkRelease = "del"

// NetworkDone is what that program writes to descriptor 3 when it is done; any
// other text says why it is not. To the verb add it may say more, on lines of
// their own: NetworkStays, or nothing, and then what networks want in the pod's
// resolv.conf.
const NetworkDone = "done"

// NetworkAdd begins the packet by which stage0 tells that program of a pod that
// has a network namespace now; its directory's absolute path follows. Its lock
// and its network namespace come with it as descriptors.
const NetworkAdd = "pod "

// NetworkStays: the program that attached the pod has work as long as the pod
// lives. It ends when its socket does, which `run` inherits (EnvNetworkFD) and
// may use to have the pod's networks given back: it sends NetworkRelease and
// reads NetworkDone.
const NetworkStays = "stays"
