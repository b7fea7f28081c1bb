// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/plainjson"
)

// readManifest passes over fields that are not known.
func readManifest(r *plainjson.Reader) (m Manifest) {
	for name := range r.Object() {
		switch name {
		case "acVersion":
			m.ACVersion = r.String()
		case "acKind":
			m.ACKind = r.String()
		case "apps":
			m.Apps = plainjson.List(r, readRuntimeApp)
		case "volumes":
			m.Volumes = plainjson.List(r, readVolume)
		case "isolators":
			m.Isolators = plainjson.List(r, image.ReadIsolator)
		case "annotations":
			m.Annotations = plainjson.List(r, readPair)
		case "ports":
			m.Ports = plainjson.List(r, readExposedPort)
		case "userAnnotations":
			m.UserAnnotations = r.StringMap()
		case "userLabels":
			m.UserLabels = r.StringMap()
		}
	}
	return m
}

func readRuntimeApp(r *plainjson.Reader) (a RuntimeApp) {
	for name := range r.Object() {
		switch name {
		case "name":
			a.Name = r.String()
		case "image":
			a.Image = readRuntimeImage(r)
		case "app":
			a.App = plainjson.Pointer(r, readApp)
		case "readOnlyRootFS":
			a.ReadOnlyRootFS = r.Bool()
		case "mounts":
			a.Mounts = plainjson.List(r, readMount)
		case "annotations":
			a.Annotations = plainjson.List(r, readPair)
		}
	}
	return a
}

func readRuntimeImage(r *plainjson.Reader) (i RuntimeImage) {
	for name := range r.Object() {
		switch name {
		case "name":
			i.Name = r.String()
		case "id":
			i.ID = image.ID(r.String())
		case "labels":
			i.Labels = plainjson.List(r, readPair)
		}
	}
	return i
}

func readApp(r *plainjson.Reader) (a App) {
	for name := range r.Object() {
		switch name {
		case "exec":
			a.Exec = r.Strings()
		case "eventHandlers":
			a.EventHandlers = plainjson.List(r, image.ReadEventHandler)
		case "user":
			a.User = r.String()
		case "group":
			a.Group = r.String()
		case "supplementaryGIDs":
			a.SupplementaryGIDs = r.Ints()
		case "workingDirectory":
			a.WorkingDirectory = r.String()
		case "environment":
			a.Environment = plainjson.List(r, readPair)
		case "mountPoints":
			a.MountPoints = plainjson.List(r, readMountPoint)
		case "ports":
			a.Ports = plainjson.List(r, image.ReadPort)
		case "isolators":
			a.Isolators = plainjson.List(r, image.ReadIsolator)
		case "userAnnotations":
			a.UserAnnotations = r.StringMap()
		case "userLabels":
			a.UserLabels = r.StringMap()
		}
	}
	return a
}

func readPair(r *plainjson.Reader) (p Pair) {
	for name := range r.Object() {
		switch name {
		case "name":
			p.Name = r.String()
		case "value":
			p.Value = r.String()
		}
	}
	return p
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
		}
	}
	return m
}

func readMount(r *plainjson.Reader) (m Mount) {
	for name := range r.Object() {
		switch name {
		case "volume":
			m.Volume = r.String()
		case "path":
			m.Path = r.String()
		case "appVolume":
			m.AppVolume = plainjson.Pointer(r, readVolume)
		}
	}
	return m
}

func readVolume(r *plainjson.Reader) (v Volume) {
	for name := range r.Object() {
		switch name {
		case "name":
			v.Name = r.String()
		case "kind":
			v.Kind = r.String()
		case "source":
			v.Source = r.String()
		case "readOnly":
			v.ReadOnly = plainjson.Pointer(r, (*plainjson.Reader).Bool)
		case "recursive":
			v.Recursive = plainjson.Pointer(r, (*plainjson.Reader).Bool)
		case "mode":
			v.Mode = r.String()
		case "uid":
			v.UID = plainjson.Pointer(r, (*plainjson.Reader).Int)
		case "gid":
			v.GID = plainjson.Pointer(r, (*plainjson.Reader).Int)
		}
	}
	return v
}

func readExposedPort(r *plainjson.Reader) (p ExposedPort) {
	for name := range r.Object() {
		switch name {
		case "name":
			p.Name = r.String()
		case "hostPort":
			p.HostPort = r.Uint()
		case "hostIP":
			p.HostIP = r.String()
		case "podPort":
			p.PodPort = plainjson.Pointer(r, image.ReadPort)
		}
	}
	return p
}
