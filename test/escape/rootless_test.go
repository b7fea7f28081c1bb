// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package escape

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rkt/rkt/test/layout"
	"github.com/rkt/rkt/test/rkt"
)

// TestEscapeRootless: the attempts of the table fail in an ordinary user's pods, too,
// whether the user has one id or many. That they are real ones, TestEscape shows.
func TestEscapeRootless(t *testing.T) {
	w := newWorld(t)
	ref := hostileRef(t, layout.Config{}, nil)
	dir, _, _ := strings.Cut(strings.TrimPrefix(ref, "oci:"), ":")
	for _, args := range [][]string{{"chmod", "-R", "a+rX", dir}, {"chmod", "a+x", filepath.Dir(dir)}} {
		must(t, exec.Command(args[0], args[1:]...).Run())
	}
	for _, v := range []struct{ name, setup, network string }{{"one id", rkt.NoSubIDs, "none"}, {"subordinate ids", rkt.SubIDs, "host"}} {
		t.Run(v.name, func(t *testing.T) {
			h := host(t)
			h.ByUser(v.setup)
			image := h.Must("fetch", "--full", ref).Out()
			for _, r := range attempts {
				if r.hostNet && v.network == "host" {
					continue
				}
				t.Run(r.name, func(t *testing.T) {
					got := inPod(t, h.For(t), image, w.fill(flags{pod: []string{"--net=" + v.network}}.and(r.with)), w.words(r.try)...)
					if got.done || got.said == "" || strings.HasPrefix(got.said, "no such attempt") {
						t.Errorf("%s: %q", r.try, got.said)
					}
				})
			}
		})
	}
	w.unharmed(t)
}
