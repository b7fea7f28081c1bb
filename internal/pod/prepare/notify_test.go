// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"slices"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/pod"
)

// TestNotify: an app speaks if its image or the command line says so, the latter
// first, and only where somebody listens.
func TestNotify(t *testing.T) {
	for name, c := range map[string]struct {
		image, app string
		listens    bool
		speaks     bool
	}{
		"nobody says so": {listens: true},
		"the image":      {image: "true", listens: true, speaks: true},
		"the line":       {app: "true", listens: true, speaks: true},
		"not after all":  {image: "false", app: "false", listens: true},
		"nobody listens": {image: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if c.image != "" {
				f.app().Image.Annotations = map[string]string{annotationNotify: c.image}
			}
			if c.app != "" {
				f.app().Annotations = pod.Pairs{{Name: annotationNotify, Value: c.app}}
			}
			f.app().Environment = []string{"NOTIFY_SOCKET=/elsewhere"}
			f.req.Options.Notify = c.listens
			_, doc, _ := f.pod()
			a := doc.Apps[0]
			i := slices.IndexFunc(a.Environment, func(e string) bool { return strings.HasPrefix(e, "NOTIFY_SOCKET=") })
			if want := map[bool]string{true: "NOTIFY_SOCKET=/dev/notify-0", false: "NOTIFY_SOCKET=/elsewhere"}[c.speaks]; a.Environment[i] != want {
				t.Errorf("environment %q", a.Environment)
			}
			if (a.Notify != "") != c.speaks || doc.Notify != c.listens {
				t.Errorf("notify %q of the app, %v of the pod", a.Notify, doc.Notify)
			}
		})
	}
	f := newFixture(t)
	f.req.Options.Notify, f.req.Options.Watchdog = true, "1000000"
	f.refused("the service manager's watchdog would hear of no app")
	f = newFixture(t)
	f.app().Annotations = pod.Pairs{{Name: annotationNotify, Value: "perhaps"}}
	f.refused("is neither true nor false")
}
