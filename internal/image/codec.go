// SPDX-License-Identifier: Apache-2.0

package image

import "github.com/rkt/rkt/internal/plainjson"

// Encode is the record as the store keeps it, but for a newline at the end: the
// same text that encoding/json makes. An error says that an isolator's value is
// not JSON, or that the year of import has not four digits.
func (rec *Record) Encode() ([]byte, error) {
	w := plainjson.NewWriter(2 << 10)
	w.Begin('{')
	w.Key("id").String(string(rec.ID))
	w.Key("format").String(string(rec.Format))
	w.OptString("name", rec.Name)
	w.Key("names").Strings(rec.Names)
	w.OptString("trust", string(rec.Trust))
	plainjson.OptEach(w, "signedBy", rec.SignedBy, (*Signer).write)
	plainjson.OptEach(w, "needs", rec.Needs, (*Need).write)
	w.Key("manifest").String(string(rec.Manifest))
	w.Key("mediaType").String(rec.MediaType)
	w.Key("imported").Time(rec.Imported)
	plainjson.Each(w.Key("layers"), rec.Layers, (*Layer).write)
	plainjson.OptEach(w, "parts", rec.Parts, (*Layer).write)
	if rec.App != nil {
		rec.App.write(w.Key("app"))
	}
	w.OptStringMap("labels", rec.Labels)
	w.OptStringMap("annotations", rec.Annotations)
	w.End('}')
	return w.Bytes()
}

func (s *Signer) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("kind").String(s.Kind)
	w.Key("key").String(s.Key)
	w.Key("name").String(s.Name)
	w.OptString("tag", s.Tag)
	w.End('}')
}

func (n *Need) write(w *plainjson.Writer) {
	w.Begin('{')
	plainjson.Each(w.Key("signedBy"), n.SignedBy, (*Signer).write)
	w.End('}')
}

func (l *Layer) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("blob").String(string(l.Blob))
	w.Key("mediaType").String(l.MediaType)
	w.Key("size").Int(l.Size)
	w.Key("diffID").String(string(l.DiffID))
	w.Key("treeSize").Int(l.TreeSize)
	w.End('}')
}

func (a *App) write(w *plainjson.Writer) {
	w.Begin('{')
	w.OptString("name", a.Name)
	w.OptStrings("entrypoint", a.Entrypoint)
	w.OptStrings("cmd", a.Cmd)
	w.OptString("user", a.User)
	w.OptString("group", a.Group)
	w.OptInts("supplementaryGIDs", a.SupplementaryGIDs)
	w.OptString("workingDir", a.WorkingDir)
	w.OptStrings("environment", a.Environment)
	plainjson.OptEach(w, "mounts", a.Mounts, (*MountPoint).write)
	plainjson.OptEach(w, "ports", a.Ports, (*Port).WriteJSON)
	plainjson.OptEach(w, "isolators", a.Isolators, (*Isolator).WriteJSON)
	w.OptString("stopSignal", a.StopSignal)
	plainjson.OptEach(w, "eventHandlers", a.EventHandlers, (*EventHandler).WriteJSON)
	w.OptStringMap("userAnnotations", a.UserAnnotations)
	w.OptStringMap("userLabels", a.UserLabels)
	w.End('}')
}

func (m *MountPoint) write(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(m.Name)
	w.Key("path").String(m.Path)
	w.OptBool("readOnly", m.ReadOnly)
	w.OptBool("keepContent", m.KeepContent)
	w.End('}')
}

// WriteJSON is for documents that an image's ports are copied to.
func (p *Port) WriteJSON(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(p.Name)
	w.Key("protocol").String(p.Protocol)
	w.Key("port").Uint(uint64(p.Port))
	if p.Count != 0 {
		w.Key("count").Uint(uint64(p.Count))
	}
	w.OptBool("socketActivated", p.SocketActivated)
	w.End('}')
}

// WriteJSON is for documents that an image's isolators are copied to.
func (i *Isolator) WriteJSON(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(i.Name)
	if len(i.Value) > 0 {
		w.Key("value").Raw(i.Value)
	}
	w.End('}')
}

// WriteJSON is for documents that an image's event handlers are copied to.
func (h *EventHandler) WriteJSON(w *plainjson.Writer) {
	w.Begin('{')
	w.Key("name").String(h.Name)
	w.Key("exec").Strings(h.Exec)
	w.End('}')
}

// DecodeRecord reads a record. Fields that are not known are passed over.
func DecodeRecord(b []byte) (Record, error) {
	var rec Record
	r := plainjson.NewReader(b)
	for name := range r.Object() {
		switch name {
		case "id":
			rec.ID = ID(r.String())
		case "format":
			rec.Format = Format(r.String())
		case "name":
			rec.Name = r.String()
		case "names":
			rec.Names = r.Strings()
		case "trust":
			rec.Trust = Trust(r.String())
		case "signedBy":
			rec.SignedBy = plainjson.List(r, readSigner)
		case "needs":
			rec.Needs = plainjson.List(r, readNeed)
		case "manifest":
			rec.Manifest = Digest(r.String())
		case "mediaType":
			rec.MediaType = r.String()
		case "imported":
			rec.Imported = r.Time()
		case "layers":
			rec.Layers = plainjson.List(r, readLayer)
		case "parts":
			rec.Parts = plainjson.List(r, readLayer)
		case "app":
			rec.App = plainjson.Pointer(r, readApp)
		case "labels":
			rec.Labels = r.StringMap()
		case "annotations":
			rec.Annotations = r.StringMap()
		}
	}
	if err := r.End(); err != nil {
		return Record{}, err
	}
	return rec, nil
}

func readSigner(r *plainjson.Reader) (s Signer) {
	for name := range r.Object() {
		switch name {
		case "kind":
			s.Kind = r.String()
		case "key":
			s.Key = r.String()
		case "name":
			s.Name = r.String()
		case "tag":
			s.Tag = r.String()
		}
	}
	return s
}

func readNeed(r *plainjson.Reader) (n Need) {
	for name := range r.Object() {
		if name == "signedBy" {
			n.SignedBy = plainjson.List(r, readSigner)
		}
	}
	return n
}

func readLayer(r *plainjson.Reader) (l Layer) {
	for name := range r.Object() {
		switch name {
		case "blob":
			l.Blob = Digest(r.String())
		case "mediaType":
			l.MediaType = r.String()
		case "size":
			l.Size = r.Int64()
		case "diffID":
			l.DiffID = Digest(r.String())
		case "treeSize":
			l.TreeSize = r.Int64()
		}
	}
	return l
}

func readApp(r *plainjson.Reader) (a App) {
	for name := range r.Object() {
		switch name {
		case "name":
			a.Name = r.String()
		case "entrypoint":
			a.Entrypoint = r.Strings()
		case "cmd":
			a.Cmd = r.Strings()
		case "user":
			a.User = r.String()
		case "group":
			a.Group = r.String()
		case "supplementaryGIDs":
			a.SupplementaryGIDs = r.Ints()
		case "workingDir":
			a.WorkingDir = r.String()
		case "environment":
			a.Environment = r.Strings()
		case "mounts":
			a.Mounts = plainjson.List(r, readMountPoint)
		case "ports":
			a.Ports = plainjson.List(r, ReadPort)
		case "isolators":
			a.Isolators = plainjson.List(r, ReadIsolator)
		case "stopSignal":
			a.StopSignal = r.String()
		case "eventHandlers":
			a.EventHandlers = plainjson.List(r, ReadEventHandler)
		case "userAnnotations":
			a.UserAnnotations = r.StringMap()
		case "userLabels":
			a.UserLabels = r.StringMap()
		}
	}
	return a
}

func readMountPoint(r *plainjson.Reader) (m MountPoint) {
	for name := range r.Object() {
		switch name {
		case "name":
			m.Name = r.String()
		case "path":
			m.Path = r.String()
		case "readOnly":
			m.ReadOnly = r.Bool()
		case "keepContent":
			m.KeepContent = r.Bool()
		}
	}
	return m
}

// ReadPort reads what Port.WriteJSON writes.
func ReadPort(r *plainjson.Reader) (p Port) {
	for name := range r.Object() {
		switch name {
		case "name":
			p.Name = r.String()
		case "protocol":
			p.Protocol = r.String()
		case "port":
			p.Port = r.Uint()
		case "count":
			p.Count = r.Uint()
		case "socketActivated":
			p.SocketActivated = r.Bool()
		}
	}
	return p
}

// ReadIsolator reads what Isolator.WriteJSON writes.
func ReadIsolator(r *plainjson.Reader) (i Isolator) {
	for name := range r.Object() {
		switch name {
		case "name":
			i.Name = r.String()
		case "value":
			i.Value = r.Raw()
		}
	}
	return i
}

// ReadEventHandler reads what EventHandler.WriteJSON writes.
func ReadEventHandler(r *plainjson.Reader) (h EventHandler) {
	for name := range r.Object() {
		switch name {
		case "name":
			h.Name = r.String()
		case "exec":
			h.Exec = r.Strings()
		}
	}
	return h
}
