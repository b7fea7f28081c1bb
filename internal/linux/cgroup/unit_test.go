// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"strings"
	"testing"
)

func TestUnit(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/sys/fs/cgroup/rkt-1": "",
		"/sys/fs/cgroup/system.slice/web.service/rkt-1":                               "web.service",
		"/sys/fs/cgroup/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope": "run-1.scope",
	} {
		if got := Unit(path); got != want {
			t.Errorf("%s is in %q, want %q", path, got, want)
		}
	}
}

// TestRemedy: a scope cannot be had for a service.
func TestRemedy(t *testing.T) {
	for path, want := range map[string]string{"/s.slice/web.service": "in the unit web.service", "/s.slice/session-1.scope": "--scope", "/": "--scope"} {
		if got := remedy(path); !strings.Contains(got, want) {
			t.Errorf("%s: %q", path, got)
		}
	}
}
