// SPDX-License-Identifier: Apache-2.0

// Package pod is the noun of the second room: a pod's UUID and its manifest,
// apps, volumes and ports, with their parsing and validation. It does no I/O.
package pod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/plainjson"
)

// The kind and the version of the specification that rkt writes.
const (
	Kind        = "PodManifest"
	SpecVersion = "0.8.11"
)

// Annotations of an app in a pod manifest (RuntimeApp.Annotations) by which a
// manifest says what appc cannot. All values are text.
const (
	// AnnotationImage is the image's reference as the user would type it,
	// docker://…, oci:…, an ID. It goes before image.name and is used when
	// image.id is not given.
	AnnotationImage = "coreos.com/rkt/image"
	// AnnotationMerge "true": `app` does not replace the image's app but is laid
	// over it: fields that are left out come from the image, environment is
	// added to the image's, and exec is made from AnnotationCommand and
	// AnnotationArgs.
	AnnotationMerge = "coreos.com/rkt/merge"
	// AnnotationCommand and AnnotationArgs are JSON arrays of strings, in place
	// of the image's entry point and its default arguments. A command without
	// arguments drops the image's (Kubernetes, "Define a Command and
	// Arguments").
	AnnotationCommand = "coreos.com/rkt/command"
	AnnotationArgs    = "coreos.com/rkt/args"
)

// Annotations of a pod manifest.
const (
	AnnotationHostname = "coreos.com/rkt/hostname" // the pod's host name
	AnnotationNetwork  = "coreos.com/rkt/network"  // as in --net
	AnnotationHostIPC  = "coreos.com/rkt/host-ipc" // "true": the host's IPC namespace
	// AnnotationUsers gives the pod users and groups of its own, as
	// --private-users does: "pick", "FIRST:COUNT", or "no".
	AnnotationUsers       = "coreos.com/rkt/private-users"
	AnnotationDNS         = "coreos.com/rkt/dns"          // JSON of DNS
	AnnotationHosts       = "coreos.com/rkt/hosts"        // JSON of []HostsEntry
	AnnotationStopSeconds = "coreos.com/rkt/stop-seconds" // between stop signal and SIGKILL
	AnnotationPodName     = "coreos.com/rkt/kube-name"    // metadata.name of a Kubernetes Pod
	AnnotationNamespace   = "coreos.com/rkt/kube-namespace"
)

// Manifest is appc's PodManifest (0.8.11, "Pod Manifest Schema"), field for
// field. An image's ID may be sha256-… beside appc's sha512-….
type Manifest struct {
	ACVersion       string            `json:"acVersion"`
	ACKind          string            `json:"acKind"`
	Apps            []RuntimeApp      `json:"apps"`
	Volumes         []Volume          `json:"volumes"`
	Isolators       []image.Isolator  `json:"isolators"`
	Annotations     Pairs             `json:"annotations"`
	Ports           []ExposedPort     `json:"ports"`
	UserAnnotations map[string]string `json:"userAnnotations,omitempty"`
	UserLabels      map[string]string `json:"userLabels,omitempty"`
}

// RuntimeApp is one app of a pod.
type RuntimeApp struct {
	Name           string       `json:"name"`
	Image          RuntimeImage `json:"image"`
	App            *App         `json:"app,omitempty"`
	ReadOnlyRootFS bool         `json:"readOnlyRootFS,omitempty"`
	Mounts         []Mount      `json:"mounts,omitempty"`
	Annotations    Pairs        `json:"annotations,omitempty"`
}

// RuntimeImage says which image an app is made from. appc wants the ID; rkt
// also takes a name, see RuntimeApp.ImageReference.
type RuntimeImage struct {
	Name   string   `json:"name,omitempty"`
	ID     image.ID `json:"id,omitempty"`
	Labels Pairs    `json:"labels,omitempty"`
}

// App is appc's App object. A group of "" is the user's own, which appc has no
// word for.
type App struct {
	Exec              []string             `json:"exec"`
	EventHandlers     []image.EventHandler `json:"eventHandlers,omitempty"`
	User              string               `json:"user"`
	Group             string               `json:"group"`
	SupplementaryGIDs []int                `json:"supplementaryGIDs,omitempty"`
	WorkingDirectory  string               `json:"workingDirectory,omitempty"`
	Environment       Pairs                `json:"environment,omitempty"`
	MountPoints       []MountPoint         `json:"mountPoints,omitempty"`
	Ports             []image.Port         `json:"ports,omitempty"`
	Isolators         []image.Isolator     `json:"isolators,omitempty"`
	UserAnnotations   map[string]string    `json:"userAnnotations,omitempty"`
	UserLabels        map[string]string    `json:"userLabels,omitempty"`
}

// MountPoint is a place where an app expects a volume of the same name.
type MountPoint struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Mount puts a volume into an app at a path, whatever the image says.
type Mount struct {
	Volume    string  `json:"volume"`
	Path      string  `json:"path"`
	AppVolume *Volume `json:"appVolume,omitempty"` // this app's alone
}

// ExposedPort forwards a port of the host to an app's port of that name.
type ExposedPort struct {
	Name     string      `json:"name"`
	HostPort uint        `json:"hostPort"`
	HostIP   string      `json:"hostIP,omitempty"`
	PodPort  *image.Port `json:"podPort,omitempty"`
	// Socket: nothing is forwarded, the port is to be a socket of the caller's. In
	// a manifest it is the app's port that says so; this is for command lines.
	Socket bool `json:"-"`
}

// Pair is appc's {"name": …, "value": …}, as in labels, annotations and
// environments.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Pairs keeps the order they were given in.
type Pairs []Pair

// Get returns the value of the first pair of that name.
func (p Pairs) Get(name string) (value string, ok bool) {
	for _, e := range p {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

// Set replaces the value of name, in its place, or appends it.
func (p *Pairs) Set(name, value string) {
	for i := range *p {
		if (*p)[i].Name == name {
			(*p)[i].Value = value
			return
		}
	}
	*p = append(*p, Pair{name, value})
}

// ImageReference is how to find the image of an app: its ID, the reference in
// AnnotationImage, or its appc name with its labels.
func (a *RuntimeApp) ImageReference() string {
	if a.Image.ID != "" {
		return string(a.Image.ID)
	}
	if r, ok := a.Annotations.Get(AnnotationImage); ok {
		return r
	}
	s := a.Image.Name
	if v, ok := a.Image.Labels.Get("version"); ok && s != "" {
		s += ":" + v
	}
	for _, l := range a.Image.Labels {
		if l.Name != "version" && s != "" {
			s += "," + l.Name + "=" + l.Value
		}
	}
	return s
}

// MaxManifestSize is the most that ParseManifest reads.
const MaxManifestSize = 4 << 20

// ParseManifest reads a pod manifest that a user wrote, and validates it. A
// field that the specification does not know is an error: it would be dropped.
func ParseManifest(r io.Reader) (*Manifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxManifestSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read pod manifest: %w", err)
	}
	if len(b) > MaxManifestSize {
		return nil, fmt.Errorf("cannot read pod manifest: larger than %d bytes", MaxManifestSize)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("cannot parse pod manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("cannot parse pod manifest: something follows it")
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeManifest reads a manifest that rkt itself stored. It is lenient, so
// that an older rkt can list a newer one's pods.
func DecodeManifest(b []byte) (*Manifest, error) {
	r := plainjson.NewReader(b)
	m := readManifest(r)
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("cannot parse pod manifest: %w", err)
	}
	if m.ACKind != Kind {
		return nil, fmt.Errorf("cannot parse pod manifest: acKind is %q, not %q", m.ACKind, Kind)
	}
	return &m, nil
}

// Encode is the manifest as it is stored: one line of JSON. Lists that are
// empty are written as [], as appc's own tools do.
func (m *Manifest) Encode() ([]byte, error) {
	c := *m
	c.ACKind = Kind
	if c.ACVersion == "" {
		c.ACVersion = SpecVersion
	}
	if c.Apps == nil {
		c.Apps = []RuntimeApp{}
	}
	if c.Volumes == nil {
		c.Volumes = []Volume{}
	}
	if c.Isolators == nil {
		c.Isolators = []image.Isolator{}
	}
	if c.Annotations == nil {
		c.Annotations = Pairs{}
	}
	if c.Ports == nil {
		c.Ports = []ExposedPort{}
	}
	w := plainjson.NewWriter(4 << 10)
	c.write(w)
	b, err := w.Bytes()
	if err != nil {
		return nil, fmt.Errorf("cannot encode pod manifest: %w", err)
	}
	return append(b, '\n'), nil
}
