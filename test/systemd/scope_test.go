// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package systemd

import (
	"regexp"
	"strings"
	"testing"
)

// TestScope: for a limited pod whose cgroup is not to be divided rkt asks for a
// scope, which it is in when it looks for the controllers; this host has none.
// A service's it leaves where it is.
func TestScope(t *testing.T) {
	s := booted.Session(t)
	id := tiny(s)
	limited := append([]string{}, rktRun...)
	limited = append(limited, "--memory=64M", id, "--exec=/bin/true")
	scope := regexp.MustCompile(`cgroup /sys/fs/cgroup/machine\.slice/(rkt-[0-9a-f-]{36}\.scope) has only `)
	for name, argv := range map[string][]string{
		"no unit":       limited,
		"another scope": append([]string{"systemd-run", "--quiet", "--scope", "--collect", "sh", "-c", `"$0" "$@"; exit $?`}, limited...),
	} {
		r := s.Run(argv...)
		m := scope.FindStringSubmatch(r.Stderr)
		if r.Status != 254 || m == nil {
			t.Errorf("%s: status %d, %s", name, r.Status, r.Stderr)
			continue
		}
		if out := s.Journal(m[1], "--output=cat"); !strings.Contains(out, "Started "+m[1]+" - rkt pod ") {
			t.Errorf("%s: the journal of %s:\n%s", name, m[1], out)
		}
	}
	r := s.Run(append([]string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--unit=limited"}, limited...)...)
	if r.Status != 254 || !strings.Contains(r.Stderr, "cgroup /sys/fs/cgroup/system.slice/limited.service has only ") {
		t.Errorf("in a service: status %d, %s", r.Status, r.Stderr)
	}
}
