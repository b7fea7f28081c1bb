// SPDX-License-Identifier: Apache-2.0

package contract

import "github.com/rkt/rkt/internal/plainjson"

// Device is a device node in an app's root.
type Device struct {
	// Source is the absolute host path of the node, or "" with a Node that has all
	// of Type, Major and Minor.
	Source string `json:"source,omitempty"`
	Target string `json:"target"` // resolved inside the app's root
	Access string `json:"access"` // of the letters r, w and m; "" is none
	// Node asks for a node of the app's own; nil shows Source itself, with its
	// owner and mode, which the app cannot change.
	Node *Node `json:"node,omitempty"`
}

// Node is how a device node is made. What is nil or "" is as at Source.
type Node struct {
	Type  string `json:"type,omitempty"` // "c" or "b"
	Major *int   `json:"major,omitempty"`
	Minor *int   `json:"minor,omitempty"`
	Mode  *int   `json:"mode,omitempty"` // permissions
	UID   *int   `json:"uid,omitempty"`
	GID   *int   `json:"gid,omitempty"`
}

func optPointer(w *plainjson.Writer, name string, n *int) {
	if n != nil {
		w.Key(name).Int(int64(*n))
	}
}

func (d *Device) write(w *plainjson.Writer) {
	w.Begin('{')
	w.OptString("source", d.Source)
	w.Key("target").String(d.Target)
	w.Key("access").String(d.Access)
	if n := d.Node; n != nil {
		w.Key("node").Begin('{')
		w.OptString("type", n.Type)
		optPointer(w, "major", n.Major)
		optPointer(w, "minor", n.Minor)
		optPointer(w, "mode", n.Mode)
		optPointer(w, "uid", n.UID)
		optPointer(w, "gid", n.GID)
		w.End('}')
	}
	w.End('}')
}

func readDevice(r *plainjson.Reader) (d Device) {
	for name := range r.Object() {
		switch name {
		case "source":
			d.Source = r.String()
		case "target":
			d.Target = r.String()
		case "access":
			d.Access = r.String()
		case "node":
			d.Node = plainjson.Pointer(r, readNode)
		}
	}
	return d
}

func readNode(r *plainjson.Reader) (n Node) {
	integer := func() *int { return plainjson.Pointer(r, (*plainjson.Reader).Int) }
	for name := range r.Object() {
		switch name {
		case "type":
			n.Type = r.String()
		case "major":
			n.Major = integer()
		case "minor":
			n.Minor = integer()
		case "mode":
			n.Mode = integer()
		case "uid":
			n.UID = integer()
		case "gid":
			n.GID = integer()
		}
	}
	return n
}
