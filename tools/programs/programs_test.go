// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A program that is not on the list would not be installed.
func TestListIsComplete(t *testing.T) {
	entries, err := os.ReadDir("../../cmd")
	if err != nil {
		t.Fatal(err)
	}
	var dirs, listed []string
	for _, e := range entries {
		dirs = append(dirs, e.Name())
	}
	for _, p := range List() {
		listed = append(listed, p.Name)
		if p.Dir != bin && p.Dir != libexec {
			t.Errorf("%s lies in %q", p.Name, p.Dir)
		}
	}
	slices.Sort(listed)
	if !slices.Equal(dirs, listed) {
		t.Errorf("cmd has %v, the list of programs has %v", dirs, listed)
	}
}

func TestFiles(t *testing.T) {
	files := Files("")
	for _, want := range []string{"bin/rkt", "bin/actool", "libexec/rkt/fetch", "libexec/rkt/stage1-native", "libexec/rkt/stage1-native.json", "libexec/rkt/stage1-nspawn"} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not among %v", want, files)
		}
	}
	kvm := Files(KVM)
	if want := []string{"libexec/rkt/stage1-kvm", "libexec/rkt/stage1-kvm.json"}; !slices.Equal(kvm, want) {
		t.Errorf("package %s has %v, want %v", KVM, kvm, want)
	}
	files = append(files, kvm...)
	slices.Sort(files)
	if n := len(slices.Compact(slices.Clone(files))); n != len(files) {
		t.Errorf("two programs make the same file: %v", files)
	}
	for _, f := range files {
		if !filepath.IsLocal(f) {
			t.Errorf("%s leads out", f)
		}
	}
	for _, p := range List() {
		if p.Package != "" && p.Package != KVM {
			t.Errorf("%s belongs to package %s, of which tools/dist knows nothing", p.Name, p.Package)
		}
	}
}
