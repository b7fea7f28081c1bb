// SPDX-License-Identifier: Apache-2.0

package stage1test

import (
	"slices"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// elsewhere are features that no case tests, and where they are tested.
func elsewhere() map[contract.Feature]string {
	return map[contract.Feature]string{
		contract.AppArmor: "tools/vm: it takes a kernel that runs with AppArmor",
		contract.SELinux:  "test/e2e/label_test.go, as far as it goes without a kernel that runs with SELinux",
	}
}

// TestComplete: each feature is asked for by a request, and tested by a case.
func TestComplete(t *testing.T) {
	for _, f := range contract.Features() {
		asked := slices.ContainsFunc(requests(), func(r request) bool { return r.feature == f.Feature })
		if asked == f.Promised {
			t.Errorf("feature %q: requests has one: %v", f.Feature, asked)
		}
		tested := slices.ContainsFunc(Cases(), func(c Case) bool { return slices.Contains(c.Needs, f.Feature) })
		if tested == (elsewhere()[f.Feature] != "") {
			t.Errorf("feature %q: tested by a case: %v", f.Feature, tested)
		}
	}
	names := map[string]bool{}
	for _, c := range Cases() {
		if names[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		names[c.Name] = true
	}
}
