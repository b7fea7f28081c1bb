// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A tree that was made of another program than was built is refused; one that was
// not made is told.
func TestTreesAreOfThePrograms(t *testing.T) {
	built := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(built, "libexec/rkt", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	trees := map[string]func(layout, string) (tree, string, error){"kvm": layout.kvm, "coreos": layout.coreOS}
	for name, tree := range trees {
		if _, missing, err := tree(layout{prefix: "/usr"}, built); err != nil || !strings.Contains(missing, "make stage1-"+name) {
			t.Errorf("%s, not made: %q, %v", name, missing, err)
		}
	}
	write("kvm-init", "new init")
	write("kvm/initramfs", "with an old init in it")
	write("stage1-nspawn", "new")
	write("stage1-coreos/usr/lib/rkt/stage1-nspawn", "old")
	for name, tree := range trees {
		if _, _, err := tree(layout{prefix: "/usr"}, built); err == nil || !strings.Contains(err.Error(), "than was built") {
			t.Errorf("%s, of another program: %v", name, err)
		}
	}
}

func TestFlavored(t *testing.T) {
	for flavors, want := range map[string]int{"": 1, "kvm": 2, "kvm,coreos": 3, "coreos,": 2} {
		list, err := flavored(packages("1", "amd64"), flavors)
		if err != nil || len(list) != want || list[0].name != "rkt" {
			t.Errorf("%q: %d packages, %v", flavors, len(list), err)
		}
	}
	if _, err := flavored(packages("1", "amd64"), "kvm,none"); err == nil {
		t.Error("a package of no flavor is made")
	}
}
