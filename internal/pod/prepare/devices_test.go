// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/linux/cgroup"
	"github.com/rkt/rkt/internal/linux/devcgroup"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

func devices(t *testing.T, d pod.Devices) image.Isolator {
	t.Helper()
	list, err := pod.AddDevices(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// TestImageGrantsNoDevices: an image that names devices of the host is refused,
// unless the command line names others in their place.
func TestImageGrantsNoDevices(t *testing.T) {
	greedy := devices(t, pod.Devices{Devices: []pod.Device{{Source: "/dev/null"}}})
	f := newFixture(t)
	f.rec.App.Isolators = []image.Isolator{greedy}
	f.app().Image = f.rec
	f.refused("the image asks for devices of the host")
	f = newFixture(t)
	f.rec.App.Isolators = []image.Isolator{greedy}
	f.app().Image = f.rec
	f.app().Isolators = []image.Isolator{devices(t, pod.Devices{Devices: []pod.Device{{Source: "/dev/zero", Access: "r"}}})}
	if _, c, _ := f.pod(); len(c.Apps[0].Devices) != 1 || c.Apps[0].Devices[0] != (contract.Device{Source: "/dev/zero", Target: "/dev/zero", Access: "r"}) {
		t.Errorf("devices %+v", c.Apps[0].Devices)
	}
}

func TestDevicesFeature(t *testing.T) {
	f := newFixture(t)
	f.req.Flavor.Manifest.Features = []contract.Feature{contract.NetNone}
	f.app().Isolators = []image.Isolator{devices(t, pod.Devices{Rules: []string{"c 1:3 r"}})}
	f.refused(`"all"`, string(contract.Devices))
}

// TestConfine: a pod is confined to its devices for a reason, and else pays
// nothing.
func TestConfine(t *testing.T) {
	for _, c := range []struct {
		app      contract.App
		insecure bool
		want     string
	}{
		{contract.App{}, false, ""},
		{contract.App{Capabilities: []string{"CAP_MKNOD"}}, false, ""},
		{contract.App{Capabilities: []string{"CAP_SYS_ADMIN"}}, false, "CAP_SYS_ADMIN"},
		{contract.App{Capabilities: []string{"CAP_SYS_ADMIN"}}, true, ""},
		{contract.App{Capabilities: []string{"CAP_SYS_ADMIN"}, DeviceRules: []string{"c 1:3 r", "a *:* rwm"}}, false, ""},
		{contract.App{DeviceRules: []string{"c 1:3 r"}}, true, "has devices"},
		{contract.App{Devices: []contract.Device{{}}}, false, "has devices"},
		{contract.App{Mounts: []contract.Mount{{Volume: "v", Source: "/dev/null"}}}, false, ""},
		{contract.App{Mounts: []contract.Mount{{Volume: "v", Source: "/dev/null", ReadOnly: true}}}, false, `"v"`},
		{contract.App{Mounts: []contract.Mount{{Volume: "v", Source: "/etc", ReadOnly: true}}}, false, ""},
	} {
		doc := &contract.Pod{Apps: []contract.App{{Name: "other"}, c.app}, Insecure: contract.Insecure{Capabilities: c.insecure}}
		why := confine(doc)
		if (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("%+v: %q, want %q", c.app, why, c.want)
		}
		err := placeCgroup(doc, nil)
		_, homeless := cgroup.Homes([]string{devcgroup.Controller})
		if err != nil || doc.ConfineDevices != (c.want != "") || (doc.Controllers[devcgroup.Controller] != "") != (c.want != "" && homeless == nil) {
			t.Errorf("%+v: confined %v, controllers %v, %v", c.app, doc.ConfineDevices, doc.Controllers, err)
		}
		if !slices.Contains(doc.CgroupDirs(), doc.Controllers[devcgroup.Controller]) && doc.Controllers[devcgroup.Controller] != "" {
			t.Errorf("nobody will remove %q", doc.Controllers)
		}
	}
}
