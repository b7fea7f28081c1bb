// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func TestSockets(t *testing.T) {
	web := image.Port{Name: "web", Protocol: "tcp", Port: 80, Count: 2}
	active := web
	active.SocketActivated = true
	for name, c := range map[string]struct {
		image image.Port
		flags []string
		want  contract.Socket
	}{
		"image":                  {active, nil, contract.Socket{Name: "web", Protocol: "tcp", Port: 80, Count: 2}},
		"image, port of a host":  {active, []string{"web:127.0.0.1:8080"}, contract.Socket{Name: "web", Protocol: "tcp", IP: "127.0.0.1", Port: 8080, Count: 2}},
		"command line":           {web, []string{"web:socket"}, contract.Socket{Name: "web", Protocol: "tcp", Port: 80, Count: 2}},
		"command line, new port": {image.Port{Name: "x", Protocol: "tcp", Port: 9}, []string{"dns:udp:53:socket"}, contract.Socket{Name: "dns", Protocol: "udp", Port: 53}},
	} {
		for _, net := range []string{"default", "host", "none"} {
			f := newFixture(t)
			f.rec.App.Ports = []image.Port{c.image}
			f.req.Options.Networks = []pod.NetworkRequest{{Name: net}}
			for _, flag := range c.flags {
				p, err := pod.ParsePort(flag)
				if err != nil {
					t.Fatal(err)
				}
				f.req.Ports = append(f.req.Ports, p)
			}
			_, doc, m := f.pod()
			if d := cmp.Diff([]contract.Socket{c.want}, doc.Apps[0].Sockets); d != "" || doc.Ports != nil {
				t.Errorf("%s, %s: %s, forwarded %v", name, net, d, doc.Ports)
			}
			last := m.Apps[0].App.Ports[len(m.Apps[0].App.Ports)-1]
			if !last.SocketActivated {
				t.Errorf("%s: the manifest does not say so: %+v", name, last)
			}
		}
	}
	f := newFixture(t)
	f.rec.App.Ports = []image.Port{{Name: "p", Protocol: "tcp", Port: 80, SocketActivated: true}, {Name: "q", Protocol: "tcp", Port: 80, SocketActivated: true}}
	f.refused(`"p" and "q"`, "same sockets")
	f = newFixture(t)
	f.req.Ports = []pod.ExposedPort{{Name: "nosuch", Socket: true}}
	f.refused(`no app has a port "nosuch"`)
	f = newFixture(t)
	f.rec.App.Ports = []image.Port{web}
	f.req.Ports = []pod.ExposedPort{{Name: "web", Socket: true, PodPort: &image.Port{Name: "web", Protocol: "udp", Port: 80}}}
	f.refused("is tcp 80, not udp 80")
	f = newFixture(t)
	f.rec.App.Ports = []image.Port{active}
	f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetContained}
	f.refused("socket-activation", `"web"`)
	f = newFixture(t)
	f.rec.App.Ports = []image.Port{active}
	f.req.Options.Decided = func(c *contract.Pod) error { return errors.New(c.Apps[0].Sockets[0].Name + " is refused") }
	f.refused("web is refused")
}
