// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"github.com/rkt/rkt/internal/plainjson"
)

// ErrClosed is a Write to a stream that nobody takes any more.
var ErrClosed = errors.New("the stream is closed")

// A Machine is what the guest is told of itself.
type Machine struct {
	// Pod is the pod's document as it is in the guest (contract.Pod).
	Pod string `json:"pod"`
	// Time is nanoseconds since the epoch.
	Time int64 `json:"time"`
	// Logs: the share has a directory for the apps' logs.
	Logs bool `json:"logs,omitempty"`
	// Disks: the apps' roots are on disks (Disk), and nothing is shared.
	Disks bool `json:"disks,omitempty"`
	// Interfaces are those of the pod's network, whose hardware addresses tell
	// which is which.
	Interfaces []Interface `json:"interfaces,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
}

// An Interface is one of the guest's network interfaces.
type Interface struct {
	MAC       string   `json:"mac"` // as 02:00:00:00:00:01
	Name      string   `json:"name"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"` // with prefix lengths
}

// A Route is an entry of the guest's main routing table.
type Route struct {
	Interface   string `json:"interface"`
	Destination string `json:"destination"`
	Gateway     string `json:"gateway,omitempty"`
	Source      string `json:"source,omitempty"`
	Metric      int    `json:"metric,omitempty"`
}

// A Process is what the guest is to run: the pod itself, or a command beside one of
// its apps.
type Process struct {
	// App is whose command; "" runs the pod.
	App  string   `json:"app,omitempty"`
	Argv []string `json:"argv,omitempty"`
	// Terminal: its streams are one terminal, of this type and size.
	Terminal bool   `json:"terminal,omitempty"`
	Term     string `json:"term,omitempty"`
	Rows     int    `json:"rows,omitempty"`
	Columns  int    `json:"columns,omitempty"`
	// Stdin: there is something to be read from stream 0.
	Stdin bool `json:"stdin,omitempty"`
}

// A Greeting is what the guest says first. Times are nanoseconds since its kernel
// was started.
type Greeting struct {
	Version int   `json:"version"`
	Kernel  int64 `json:"kernel"`  // when its init began
	Modules int64 `json:"modules"` // when modules were loaded
	Port    int64 `json:"port"`    // when it could speak
}

// Encode is the document as a frame's payload.
func (m *Machine) Encode() []byte {
	w := plainjson.NewWriter(len(m.Pod) + 1<<10)
	w.Begin('{')
	w.Key("pod").String(m.Pod)
	w.Key("time").Int(m.Time)
	w.OptBool("logs", m.Logs)
	w.OptBool("disks", m.Disks)
	plainjson.OptEach(w, "interfaces", m.Interfaces, func(i *Interface, w *plainjson.Writer) {
		w.Begin('{')
		w.Key("mac").String(i.MAC)
		w.Key("name").String(i.Name)
		w.Key("mtu").Int(int64(i.MTU))
		w.Key("addresses").Strings(i.Addresses)
		w.End('}')
	})
	plainjson.OptEach(w, "routes", m.Routes, func(r *Route, w *plainjson.Writer) {
		w.Begin('{')
		w.Key("interface").String(r.Interface)
		w.Key("destination").String(r.Destination)
		w.OptString("gateway", r.Gateway)
		w.OptString("source", r.Source)
		optInt(w, "metric", r.Metric)
		w.End('}')
	})
	w.End('}')
	b, _ := w.Bytes() // no Raw and no Time in it: no error
	return b
}

// DecodeMachine reads what Encode makes.
func DecodeMachine(b []byte) (m Machine, err error) {
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "pod":
			m.Pod = r.String()
		case "time":
			m.Time = r.Int64()
		case "logs":
			m.Logs = r.Bool()
		case "disks":
			m.Disks = r.Bool()
		case "interfaces":
			m.Interfaces = plainjson.List(r, readInterface)
		case "routes":
			m.Routes = plainjson.List(r, readRoute)
		}
	}
	return m, r.End()
}

func readInterface(r *plainjson.Reader) (i Interface) {
	for name := range r.Object() {
		switch name {
		case "mac":
			i.MAC = r.String()
		case "name":
			i.Name = r.String()
		case "mtu":
			i.MTU = r.Int()
		case "addresses":
			i.Addresses = r.Strings()
		}
	}
	return i
}

func readRoute(r *plainjson.Reader) (t Route) {
	for name := range r.Object() {
		switch name {
		case "interface":
			t.Interface = r.String()
		case "destination":
			t.Destination = r.String()
		case "gateway":
			t.Gateway = r.String()
		case "source":
			t.Source = r.String()
		case "metric":
			t.Metric = r.Int()
		}
	}
	return t
}

// Encode is the document as a frame's payload.
func (p *Process) Encode() []byte {
	w := plainjson.NewWriter(1 << 10)
	w.Begin('{')
	w.OptString("app", p.App)
	w.OptStrings("argv", p.Argv)
	w.OptBool("terminal", p.Terminal)
	w.OptString("term", p.Term)
	optInt(w, "rows", p.Rows)
	optInt(w, "columns", p.Columns)
	w.OptBool("stdin", p.Stdin)
	w.End('}')
	b, _ := w.Bytes() // as for Machine
	return b
}

// DecodeProcess reads what Encode makes.
func DecodeProcess(b []byte) (p Process, err error) {
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "app":
			p.App = r.String()
		case "argv":
			p.Argv = r.Strings()
		case "terminal":
			p.Terminal = r.Bool()
		case "term":
			p.Term = r.String()
		case "rows":
			p.Rows = r.Int()
		case "columns":
			p.Columns = r.Int()
		case "stdin":
			p.Stdin = r.Bool()
		}
	}
	return p, r.End()
}

// Encode is the document as a frame's payload.
func (g *Greeting) Encode() []byte {
	w := plainjson.NewWriter(128)
	w.Begin('{')
	w.Key("version").Int(int64(g.Version))
	w.Key("kernel").Int(g.Kernel)
	w.Key("modules").Int(g.Modules)
	w.Key("port").Int(g.Port)
	w.End('}')
	b, _ := w.Bytes() // as for Machine
	return b
}

// DecodeGreeting reads what Encode makes.
func DecodeGreeting(b []byte) (g Greeting, err error) {
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "version":
			g.Version = r.Int()
		case "kernel":
			g.Kernel = r.Int64()
		case "modules":
			g.Modules = r.Int64()
		case "port":
			g.Port = r.Int64()
		}
	}
	return g, r.End()
}

func optInt(w *plainjson.Writer, name string, n int) {
	if n != 0 {
		w.Key(name).Int(int64(n))
	}
}
