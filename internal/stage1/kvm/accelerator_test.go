// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"testing"

	"github.com/rkt/rkt/internal/stage1/kvm/vmm"
)

func TestParseWords(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string
	}{{nil, "auto"}, {[]string{"--accelerator=auto"}, "auto"}, {[]string{"--accelerator=kvm"}, "kvm"}, {[]string{"--accelerator=tcg"}, "tcg"},
		{[]string{"--accelerator=xen"}, ""}, {[]string{"kvm"}, ""}, {[]string{"--accelerator="}, ""}} {
		if got, err := parseWords(c.words); err == nil && got.accelerator != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %+v, %v", c.words, got, err)
		}
	}
}

// TestTries: who asks for an accelerator gets that one, and nothing in its place.
func TestTries(t *testing.T) {
	for _, a := range []vmm.Accelerator{vmm.KVM, vmm.TCG} {
		if list := tries(string(a)); len(list) != 1 || list[0].accelerator != a || list[0].probe {
			t.Errorf("%s: %+v", a, list)
		}
	}
	list := tries("auto")
	if last := list[len(list)-1]; last.probe || list[0].probe && (len(list) != 2 || last.accelerator != vmm.TCG || list[0].limit >= last.limit) {
		t.Errorf("auto: %+v", list)
	}
}
