// SPDX-License-Identifier: Apache-2.0

//go:build e2e && failpoint

package crash

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// TestCrashNspawn: run of the flavor host dies at each of its own steps; those before
// are native's, too.
func TestCrashNspawn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Skip("needs systemd-nspawn")
	}
	s := story{only: "nspawn/"}
	tiny := "oci:" + layout + ":tiny"
	s.before = [][]string{{"fetch", tiny}}
	s.command = []string{"run", "--stage1-name=host", "--net=default", "--volume=v,kind=empty",
		tiny, "--name=a", "--memory=64M", "--mount=volume=v,target=/v", "--exec=/bin/sleep", "--", "0.1", "---", tiny, "--name=b", "--exec=/bin/true"}
	points := s.trace(t)
	for _, p := range []string{"journal", "laid", "machine", "booted", "started", "first-service", "given", "app-started", "app-ended", "before-kill", "machine-ended", "ended", "given-back"} {
		if !slices.Contains(points, "nspawn/"+p) {
			t.Errorf("nspawn/%s is not passed", p)
		}
	}
	for _, p := range points {
		t.Run(p, func(t *testing.T) { s.dieAt(t, p) })
	}
}
