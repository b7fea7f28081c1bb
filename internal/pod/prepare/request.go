// SPDX-License-Identifier: Apache-2.0

// Package prepare turns images and a user's wishes, or a pod manifest, into a
// prepared pod: a directory with the pod manifest and the document for stage1.
// It resolves everything that can be resolved without looking into a root, and
// refuses, naming flavor and feature, what the flavor cannot do.
package prepare

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/rkt/rkt/internal/hint"
	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/pod/cdi"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// Flavor is the stage1 a pod is prepared for.
type Flavor struct {
	Path     string // of its manifest, absolute
	Manifest contract.Manifest
	// Image is the one that it came from; "" for an installed one.
	Image image.ID
}

// need returns an *UnsupportedError unless the flavor has the feature.
func (f *Flavor) need(feature contract.Feature, what string) error {
	if slices.Contains(f.Manifest.Features, feature) {
		return nil
	}
	return &UnsupportedError{f.Manifest.Name, feature, what}
}

func (f *Flavor) has(feature contract.Feature) bool {
	return slices.Contains(f.Manifest.Features, feature)
}

// cover notes in a document that is decided what it asks for, and refuses what the
// flavor cannot do of it: a flavor may have changed since the pod was prepared.
// later: the network will be chosen when the pod is run.
func (f *Flavor) cover(c *contract.Pod, later bool) error {
	c.Features = c.Needs()
	if later {
		c.Features = slices.DeleteFunc(c.Features, func(f contract.Feature) bool {
			return f == contract.NetHost || f == contract.NetNone || f == contract.NetContained
		})
	}
	if lacks := c.Lacking(f.Manifest.Features); lacks != "" {
		return &UnsupportedError{f.Manifest.Name, lacks, "the pod"}
	}
	return nil
}

// UnsupportedError says that the flavor cannot do what was asked for.
type UnsupportedError struct {
	Flavor  string
	Feature contract.Feature
	What    string // what asked for it
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("flavor %q lacks the feature %q, which %s needs", e.Flavor, e.Feature, e.What)
}

// Request is all that decides how a pod is made. Lists are in the order given
// by the user.
type Request struct {
	DataDir string   // absolute
	UUID    pod.UUID // "" is a new one
	Flavor  Flavor

	// Durable: all that was written is on the disk when Pod returns, as
	// `rkt prepare` wants; `rkt run` does not pay for that.
	Durable bool
	// AllowUntrusted: images that nothing vouches for, --insecure-options=image.
	AllowUntrusted bool

	// Apps, or a pod manifest with one image for each of its apps. What a
	// manifest says goes before the fields below Images, which must be empty,
	// as must Options' fields that it may set in annotations be compatible.
	Apps     []AppRequest
	Manifest *pod.Manifest
	Images   []image.Record // for Manifest.Apps, found by RuntimeApp.ImageReference

	Volumes []pod.Volume
	Mounts  []pod.Mount // for all apps; an app's own on the same path wins
	Ports   []pod.ExposedPort
	// Isolators are the pod's own.
	Isolators []image.Isolator

	// PrivateUsers is as in pod.ParseUsers; "" is what the manifest says.
	PrivateUsers string

	// Environments as NAME=VALUE. From low to high: rkt's defaults, InheritEnv,
	// the image's, SetEnv (files first, then --set-env: the last of a name
	// counts), the app's own.
	InheritEnv []string
	SetEnv     []string

	NoOverlay       bool // --no-overlay: refused, every root is an overlay
	Annotations     pod.Pairs
	UserAnnotations map[string]string
	UserLabels      map[string]string

	Options Options

	// CDI gives what the devices of these qualified names need; nil: none is known.
	CDI func(names []string) (*cdi.Edits, error)

	// Laid, if not nil, is called when the document is decided and the apps'
	// writable directories are there, in the pod's directory dir, but not all is
	// written. It must not change the document.
	Laid func(doc *contract.Pod, dir string)

	// Warn is told what the user should know though the pod is prepared; one
	// line each, without a newline. nil: nobody is told.
	Warn func(string)
}

// AppRequest is one app as the command line describes it. What is empty comes
// from the image.
type AppRequest struct {
	Image     image.Record
	Reference string // canonical, for the manifest; may be ""

	Name string
	Exec string   // replaces the image's entry point and its arguments
	Args []string // after the entry point or Exec, in place of the image's arguments

	User, Group       string
	SupplementaryGIDs []int
	WorkingDir        string
	Environment       []string // NAME=VALUE
	Mounts            []pod.Mount
	ReadOnlyRootFS    bool

	// Each replaces the image's isolators of its kind.
	CapsRetain, CapsRemove []string // not both
	Seccomp                *pod.Seccomp
	NoNewPrivs             *bool
	OOMScoreAdj            *int
	// Isolators each replace the image's of the same name.
	Isolators []image.Isolator

	Annotations     pod.Pairs // added to the image's, never over them
	UserAnnotations map[string]string
	UserLabels      map[string]string

	Stdin, Stdout, Stderr contract.Stream
}

// UserNetwork is what an ordinary user has for networks in place of rkt's own.
type UserNetwork struct {
	// Program is the path of pasta or slirp4netns; "" if there is none, and Lack
	// says why.
	Program string
	Lack    error
	// Warn is told that a pod has no network though none was asked for.
	Warn func(string)
}

// Options are what may still be chosen when a prepared pod is run. A field left
// at zero is what the pod manifest's annotations say, else the default.
type Options struct {
	// Networks are those of --net; empty is the network "default".
	Networks []pod.NetworkRequest
	// NetworkConfig are absolute directories with configurations of networks;
	// what an earlier one has goes before what a later one has.
	NetworkConfig []string
	// NetworkShared and NetworkPlugins are as in contract.Pod.
	NetworkShared, NetworkPlugins []string
	// User, if not nil, is what an ordinary user has for networks.
	User *UserNetwork
	// Later: the networks will be chosen when the pod is run.
	Later bool

	Hostname string // the default is rkt-<uuid>
	HostIPC  bool
	OwnIPC   bool // an IPC namespace of the pod's own, whatever the manifest says

	DNS     pod.DNS // over what DNSMode says
	DNSMode string  // "": the image's own file; "host": the host's; "none": the image's

	Hosts         []pod.HostsEntry
	HostsFromHost bool // the host's file; not with Hosts

	Interactive bool
	Term        string // TERM of an interactive app

	// Notify: whoever starts the pod waits to be told that it is ready (Type=notify).
	// Watchdog is how often, in microseconds, it then wants to hear of it, "" for
	// never (WatchdogSec=).
	Notify   bool
	Watchdog string

	Insecure    contract.Insecure
	StopSeconds int // the default is 10

	// Scope, if not nil, moves this process into a cgroup that is its own to divide,
	// or leaves it where it is. The document is decided but for its cgroups.
	Scope func(*contract.Pod) error

	// Decided, if not nil, is asked of the document when that is decided and
	// nothing is written yet; its error is the refusal of the pod.
	Decided func(*contract.Pod) error
}

func (r *Request) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf(format, args...))
	}
}

// check looks at what needs no image.
func (r *Request) check() error {
	if !filepath.IsAbs(r.DataDir) {
		return fmt.Errorf("data directory %q is not absolute", r.DataDir)
	}
	if !filepath.IsAbs(r.Flavor.Path) {
		return fmt.Errorf("path %q of the flavor's manifest is not absolute", r.Flavor.Path)
	}
	if r.NoOverlay {
		return hint.Wrap(fmt.Errorf("flavor %q cannot make a root without overlay", r.Flavor.Manifest.Name),
			"leave --no-overlay out")
	}
	if r.Manifest != nil {
		if len(r.Apps)+len(r.Volumes)+len(r.Mounts)+len(r.Ports)+len(r.Isolators)+len(r.InheritEnv)+len(r.SetEnv)+
			len(r.Annotations)+len(r.UserAnnotations)+len(r.UserLabels) > 0 {
			return errors.New("a pod manifest does not go with images, volumes, mounts, ports, isolators, environment or annotations beside it")
		}
		if len(r.Images) != len(r.Manifest.Apps) {
			return fmt.Errorf("%d images for %d apps of the pod manifest", len(r.Images), len(r.Manifest.Apps))
		}
		return r.Manifest.Validate()
	}
	if len(r.Apps) == 0 {
		return errors.New("no image is given")
	}
	return nil
}
