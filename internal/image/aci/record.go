// SPDX-License-Identifier: Apache-2.0

package aci

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rkt/rkt/internal/image"
)

// Media types of an ACI's two blobs in the store.
const (
	MediaType         = "application/vnd.appc.aci" // the file, compressed as it came
	ManifestMediaType = "application/vnd.appc.image-manifest+json"
)

// dockerRepository is the annotation by which docker2aci marks what it made.
const dockerRepository ACIdentifier = "appc.io/docker/repository"

// Record makes the record of an ACI: manifest is the digest of the manifest's
// blob, l the ACI's file and tree; l.DiffID, the SHA-512 of the tar, becomes the
// ID. Names, Trust and Imported are left to the caller, and so are the layers of
// the images that this one depends on.
func (m *ImageManifest) Record(manifest image.Digest, l image.Layer) (image.Record, error) {
	if l.DiffID.Algorithm() != "sha512" {
		return image.Record{}, fmt.Errorf("cannot use image %q: its ID must be a SHA-512, not %q", m.Name, l.DiffID)
	}
	if l.MediaType == "" {
		l.MediaType = MediaType
	}
	r := image.Record{
		ID:          l.DiffID.ID(),
		Format:      image.ACI,
		Name:        string(m.Name),
		Manifest:    manifest,
		MediaType:   ManifestMediaType,
		Layers:      []image.Layer{l},
		Labels:      map[string]string{},
		Annotations: map[string]string{},
	}
	for _, x := range m.Labels {
		r.Labels[string(x.Name)] = x.Value
	}
	for _, x := range m.Annotations {
		r.Annotations[string(x.Name)] = x.Value
	}
	if m.App != nil {
		r.App = m.app()
	}
	return r, nil
}

func (m *ImageManifest) app() *image.App {
	from := m.App
	_, wasDocker := m.Annotations.Get(dockerRepository)
	a := &image.App{
		Name:              string(m.Name),
		User:              from.User,
		Group:             from.Group,
		SupplementaryGIDs: from.SupplementaryGIDs,
		WorkingDir:        from.WorkingDirectory,
		UserAnnotations:   from.UserAnnotations,
		UserLabels:        from.UserLabels,
	}
	a.Entrypoint, a.Cmd = m.command()
	for _, e := range from.Environment {
		a.Environment = append(a.Environment, e.Name+"="+e.Value)
	}
	for _, p := range from.MountPoints {
		a.Mounts = append(a.Mounts, image.MountPoint{Name: string(p.Name), Path: p.Path, ReadOnly: p.ReadOnly, KeepContent: wasDocker})
	}
	for _, p := range from.Ports {
		a.Ports = append(a.Ports, image.Port{Name: string(p.Name), Protocol: p.Protocol, Port: p.Port, Count: p.Count, SocketActivated: p.SocketActivated})
	}
	for _, i := range from.Isolators {
		a.Isolators = append(a.Isolators, image.Isolator{Name: string(i.Name), Value: i.Value})
	}
	for _, h := range from.EventHandlers {
		a.EventHandlers = append(a.EventHandlers, image.EventHandler(h))
	}
	return a
}

// command is exec, split again into entry point and command if docker2aci says
// that it put it together from those.
func (m *ImageManifest) command() (entrypoint, cmd []string) {
	ep, ok1 := m.Annotations.Get("appc.io/docker/entrypoint")
	c, ok2 := m.Annotations.Get("appc.io/docker/cmd")
	if !ok1 && !ok2 {
		return m.App.Exec, nil
	}
	read := func(s string, ok bool) (words []string, good bool) {
		return words, !ok || json.Unmarshal([]byte(s), &words) == nil
	}
	entrypoint, ok1 = read(ep, ok1)
	cmd, ok2 = read(c, ok2)
	if !ok1 || !ok2 || !slices.Equal(slices.Concat(entrypoint, cmd), m.App.Exec) {
		return m.App.Exec, nil
	}
	return entrypoint, cmd
}

// CheckPlatform refuses an image whose labels "os" and "arch", in appc's words,
// are another machine's; what is not said fits. It is for the moment when the
// image is to run: storing and inspecting others is fine.
func CheckPlatform(labels map[string]string) error {
	here := hostArches()
	os, arch := labels["os"], labels["arch"]
	if os != "" && os != "linux" || arch != "" && !slices.Contains(here, arch) {
		return fmt.Errorf("cannot run image: it is for %s, this machine is linux/%s", strings.Trim(os+"/"+arch, "/"), here[0])
	}
	return nil
}
