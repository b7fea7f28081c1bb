// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestTable: the page has what the flavors say, and they name nothing that is not
// a feature.
func TestTable(t *testing.T) {
	const root = "../.."
	list, err := manifests(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for _, f := range m.Features {
			if !slices.ContainsFunc(contract.Features(), func(i contract.FeatureInfo) bool { return i.Feature == f }) {
				t.Errorf("flavor %s has the feature %q, which the contract does not know", m.Name, f)
			}
		}
	}
	have, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	want, err := replaced(string(have), table(list))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(have) {
		t.Errorf("%s is stale: run go run ./tools/flavors", page)
	}
	other := slices.Clone(list)
	other[0].Features = other[0].Features[1:]
	if table(other) == table(list) {
		t.Error("the table does not show what a flavor has lost")
	}
}
