// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/plainjson"
)

// write makes the same text as encoding/json.
func (m *Manifest) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("acVersion").String(m.ACVersion)
	w.Key("acKind").String(m.ACKind)
	plainjson.Each(w.Key("apps"), m.Apps, (*RuntimeApp).write)
	plainjson.Each(w.Key("volumes"), m.Volumes, (*Volume).write)
	plainjson.Each(w.Key("isolators"), m.Isolators, (*image.Isolator).WriteJSON)
	plainjson.Each(w.Key("annotations"), m.Annotations, (*Pair).write)
	plainjson.Each(w.Key("ports"), m.Ports, (*ExposedPort).write)
	w.OptStringMap("userAnnotations", m.UserAnnotations)
	w.OptStringMap("userLabels", m.UserLabels)
	w.End('}')
}

func (a *RuntimeApp) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(a.Name)
	w.Key("image").Begin('{')
	w.OptString("name", a.Image.Name)
	w.OptString("id", string(a.Image.ID))
	plainjson.OptEach(w, "labels", a.Image.Labels, (*Pair).write)
	w.End('}')
	if a.App != nil {
		a.App.write(w.Key("app"))
	}
	w.OptBool("readOnlyRootFS", a.ReadOnlyRootFS)
	plainjson.OptEach(w, "mounts", a.Mounts, (*Mount).write)
	plainjson.OptEach(w, "annotations", a.Annotations, (*Pair).write)
	w.End('}')
}

func (a *App) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("exec").Strings(a.Exec)
	plainjson.OptEach(w, "eventHandlers", a.EventHandlers, (*image.EventHandler).WriteJSON)
	w.Key("user").String(a.User)
	w.Key("group").String(a.Group)
	w.OptInts("supplementaryGIDs", a.SupplementaryGIDs)
	w.OptString("workingDirectory", a.WorkingDirectory)
	plainjson.OptEach(w, "environment", a.Environment, (*Pair).write)
	plainjson.OptEach(w, "mountPoints", a.MountPoints, (*MountPoint).write)
	plainjson.OptEach(w, "ports", a.Ports, (*image.Port).WriteJSON)
	plainjson.OptEach(w, "isolators", a.Isolators, (*image.Isolator).WriteJSON)
	w.OptStringMap("userAnnotations", a.UserAnnotations)
	w.OptStringMap("userLabels", a.UserLabels)
	w.End('}')
}

func (p *Pair) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(p.Name)
	w.Key("value").String(p.Value)
	w.End('}')
}

func (m *MountPoint) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(m.Name)
	w.Key("path").String(m.Path)
	w.OptBool("readOnly", m.ReadOnly)
	w.End('}')
}

func (m *Mount) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("volume").String(m.Volume)
	w.Key("path").String(m.Path)
	if m.AppVolume != nil {
		m.AppVolume.write(w.Key("appVolume"))
	}
	w.End('}')
}

func (v *Volume) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(v.Name)
	w.Key("kind").String(v.Kind)
	w.OptString("source", v.Source)
	if v.ReadOnly != nil {
		w.Key("readOnly").Bool(*v.ReadOnly)
	}
	if v.Recursive != nil {
		w.Key("recursive").Bool(*v.Recursive)
	}
	w.OptString("mode", v.Mode)
	if v.UID != nil {
		w.Key("uid").Int(int64(*v.UID))
	}
	if v.GID != nil {
		w.Key("gid").Int(int64(*v.GID))
	}
	w.End('}')
}

func (p *ExposedPort) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(p.Name)
	w.Key("hostPort").Uint(uint64(p.HostPort))
	w.OptString("hostIP", p.HostIP)
	if p.PodPort != nil {
		p.PodPort.WriteJSON(w.Key("podPort"))
	}
	w.End('}')
}
