// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"fmt"
	"slices"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// activate makes those of the apps' ports socket-activated that the command line
// wants so (--port=NAME:socket), and returns the others of the command line.
func (r *Request) activate(apps []*app) (forwarded []pod.ExposedPort, err error) {
	for _, e := range r.Ports {
		if !e.Socket {
			forwarded = append(forwarded, e)
			continue
		}
		var found []*image.Port
		var names []string
		for _, a := range apps {
			for i := range a.App.Ports {
				names = append(names, a.App.Ports[i].Name)
				if a.App.Ports[i].Name == e.Name {
					found = append(found, &a.App.Ports[i])
				}
			}
		}
		of := e.PodPort
		switch {
		case len(found) > 1:
			return nil, fmt.Errorf("port %q is of several apps", e.Name)
		case len(found) == 1 && of != nil && (found[0].Port != of.Port || found[0].Protocol != of.Protocol):
			return nil, fmt.Errorf("port %q of the image is %s %d, not %s %d", e.Name, found[0].Protocol, found[0].Port, of.Protocol, of.Port)
		case len(found) == 1:
			found[0].SocketActivated = true
		case of == nil:
			return nil, hint.Wrap(fmt.Errorf("no app has a port %q", e.Name),
				fmt.Sprintf("the apps have %q; others are named with protocol and number: --port=%s:tcp:80:socket", names, e.Name))
		case len(apps) > 1:
			return nil, fmt.Errorf("port %q could be any app's: of several, one must have it in its image", e.Name)
		default:
			p := *of
			p.SocketActivated = true
			apps[0].App.Ports = append(apps[0].App.Ports, p)
		}
	}
	return forwarded, nil
}

// applySockets puts the sockets that apps want of the caller into the document,
// and returns those of the manifest's ports that are to be forwarded. A port of
// the host that leads to a socket-activated one says where its socket is.
func applySockets(c *contract.Pod, m *pod.Manifest, f *Flavor) (forwarded []pod.ExposedPort, err error) {
	where := map[string]pod.ExposedPort{}
	for _, e := range m.Ports {
		to, err := podPort(m, e)
		switch {
		case err == nil && to.SocketActivated && e.PodPort != nil:
			return nil, fmt.Errorf("port %q: its podPort cannot be socket-activated, only a port of an app", e.Name)
		case err == nil && to.SocketActivated:
			where[e.Name] = e
		default:
			forwarded = append(forwarded, e)
		}
	}
	var all []contract.Socket
	for i := range c.Apps {
		a := &c.Apps[i]
		a.Sockets = nil
		for _, p := range m.Apps[i].App.Ports {
			if !p.SocketActivated {
				continue
			}
			if err := f.need(contract.Sockets, fmt.Sprintf("socket-activated port %q", p.Name)); err != nil {
				return nil, fmt.Errorf("app %q: %w", a.Name, err)
			}
			s := contract.Socket{Name: p.Name, Protocol: p.Protocol, Port: int(p.Port)}
			if p.Count > 1 {
				s.Count = int(p.Count)
			}
			if e, ok := where[p.Name]; ok {
				s.IP, s.Port = e.HostIP, int(e.HostPort)
				if s.Port+max(s.Count, 1)-1 > 65535 {
					return nil, fmt.Errorf("port %q: %d ports from %d on are too many", p.Name, s.Count, s.Port)
				}
			}
			if j := slices.IndexFunc(all, func(o contract.Socket) bool { return sameSocket(&s, &o) }); j >= 0 {
				return nil, fmt.Errorf("socket-activated ports %q and %q (of app %q) want the same sockets", all[j].Name, s.Name, a.Name)
			}
			a.Sockets, all = append(a.Sockets, s), append(all, s)
		}
	}
	return forwarded, nil
}

func sameSocket(a, b *contract.Socket) bool {
	if a.Name == b.Name {
		return true
	}
	return a.Protocol == b.Protocol && (a.IP == "" || b.IP == "" || a.IP == b.IP) &&
		a.Port < b.Port+max(b.Count, 1) && b.Port < a.Port+max(a.Count, 1)
}
