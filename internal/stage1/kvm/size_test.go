// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"math"
	"testing"

	"github.com/rkt/rkt/internal/stage1/contract"
)

// TestFits: limits that no host has are refused, however they add up.
func TestFits(t *testing.T) {
	huge := contract.App{Limits: contract.Limits{Memory: math.MaxInt64}}
	for name, doc := range map[string]contract.Pod{
		"pod":      {Limits: contract.Limits{Memory: math.MaxInt64}},
		"one app":  {Apps: []contract.App{huge}},
		"two apps": {Apps: []contract.App{huge, huge}},
	} {
		if err := fits(&doc); err == nil || memory(&doc) <= 0 {
			t.Errorf("%s: %d bytes, %v", name, memory(&doc), err)
		}
	}
	if err := fits(&contract.Pod{}); err != nil {
		t.Error(err)
	}
}
