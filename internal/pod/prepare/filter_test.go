// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"testing"

	"github.com/rkt/rkt/internal/image"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestSeccompProfile: a profile stands in for the image's set, and is tried for
// the capabilities that the app gets.
func TestSeccompProfile(t *testing.T) {
	f := newFixture(t)
	f.rec.App.Isolators = []image.Isolator{(&pod.Seccomp{Names: []string{"reboot"}}).Isolator()}
	f.app().Seccomp = &pod.Seccomp{Profile: image.Raw(`{ "defaultAction": "SCMP_ACT_ALLOW" }`)}
	_, c, m := f.pod()
	if s := c.Apps[0].Seccomp; s.Mode != contract.SeccompProfile || s.Profile != `{"defaultAction":"SCMP_ACT_ALLOW"}` {
		t.Errorf("%+v", s)
	}
	l := m.Apps[0].App.Isolators
	if len(l) != 1 || l[0].Name != pod.IsolatorSeccompProfile {
		t.Errorf("manifest's isolators %+v", l)
	}

	// An image's own.
	f = newFixture(t)
	f.rec.App.Isolators = l
	if _, c, _ = f.pod(); c.Apps[0].Seccomp.Mode != contract.SeccompProfile {
		t.Errorf("%+v", c.Apps[0].Seccomp)
	}

	of := func(text string) *fixture {
		f := newFixture(t)
		f.app().Seccomp = &pod.Seccomp{Profile: image.Raw(text)}
		return f
	}
	of(`{"defaultAction":"SCMP_ACT_ERRNO"}`).refused("does not allow execve")
	of(`{"defaultAction":"SCMP_ACT_NOTIFY"}`).refused(`isolator "os/linux/seccomp-profile": action SCMP_ACT_NOTIFY`)
	admin := `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["execve"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}`
	of(admin).refused("does not allow execve")
	f = of(admin)
	f.app().CapsRetain = []string{"CAP_SYS_ADMIN"}
	f.pod()
}
