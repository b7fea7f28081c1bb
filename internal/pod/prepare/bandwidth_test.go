// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"slices"
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
)

func TestNetworkBandwidth(t *testing.T) {
	limit := func(text string) image.Isolator {
		i, err := pod.ResourceIsolator(pod.IsolatorNetworkBandwidth, text)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	for name, c := range map[string]struct {
		image, app, pod string
		want            int64
	}{
		"none":                      {"", "", "", 0},
		"the image's":               {"1M", "", "", 1e6},
		"the command line's":        {"1M", "2M", "", 2e6},
		"the pod's":                 {"", "", "3M", 3e6},
		"the lesser of app and pod": {"", "2M", "3M", 2e6},
		"the lesser of pod and app": {"4M", "", "3M", 3e6},
	} {
		f := newFixture(t)
		if c.image != "" {
			f.rec.App.Isolators = []image.Isolator{limit(c.image)}
		}
		if c.app != "" {
			f.app().Isolators = []image.Isolator{limit(c.app)}
		}
		if c.pod != "" {
			f.req.Isolators = []image.Isolator{limit(c.pod)}
		}
		if _, doc, _ := f.pod(); doc.NetworkBandwidth != c.want {
			t.Errorf("%s: %d, want %d", name, doc.NetworkBandwidth, c.want)
		}
	}
	f := newFixture(t)
	f.req.Isolators = []image.Isolator{limit("1M")}
	f.req.Options.Networks = []pod.NetworkRequest{{Name: "host"}}
	f.refused("resource/network-bandwidth", "--net=host")
	f = newFixture(t)
	f.req.Isolators = []image.Isolator{limit("1M")}
	f.app().CapsRetain = []string{"CAP_NET_ADMIN"}
	f.refused("resource/network-bandwidth", "CAP_NET_ADMIN")
	f = newFixture(t)
	f.req.Isolators = []image.Isolator{limit("1M")}
	f.app().CapsRetain = []string{"CAP_NET_RAW"}
	f.refused("resource/network-bandwidth", "CAP_NET_RAW")
	for _, remove := range [][]string{nil, {"CAP_KILL"}} {
		f = newFixture(t)
		f.app().CapsRemove = remove
		f.req.Isolators = []image.Isolator{limit("1M")}
		_, doc, _ := f.pod()
		if have := doc.Apps[0].Capabilities; len(have) != len(pod.DefaultCapabilities())-1-len(remove) || slices.Contains(have, "CAP_NET_RAW") {
			t.Errorf("without %v: %v", remove, have)
		}
	}
	f = newFixture(t)
	f.req.Isolators = []image.Isolator{limit("1M")}
	f.req.Options.Insecure.Capabilities = true
	f.refused("resource/network-bandwidth", "CAP_NET_ADMIN")
	f = newFixture(t)
	f.app().Isolators = []image.Isolator{limit("1M")}
	other := *f.app()
	other.Name = "other"
	f.req.Apps = append(f.req.Apps, other)
	f.refused("resource/network-bandwidth", "share the pod's network")
}
