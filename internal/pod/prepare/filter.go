// SPDX-License-Identifier: Apache-2.0

package prepare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rkt/rkt/internal/linux/caps"
	"github.com/rkt/rkt/internal/linux/seccomp"
	"github.com/rkt/rkt/internal/pod"
	"github.com/rkt/rkt/internal/stage1/contract"
)

// filter is what the app asks for in stage1's words (appc 0.8.11: removing
// nothing leaves the default, retaining all leaves no filter).
func filter(is *pod.Isolation) (contract.SeccompFilter, error) {
	s := is.Seccomp
	switch {
	case s == nil || s.Profile == nil && !s.Retain && len(s.Names) == 1 && s.Names[0] == pod.SeccompEmpty:
		return contract.SeccompFilter{}, nil
	case s.Profile != nil:
		return profile(is)
	case s.Retain && slices.Contains(s.Names, pod.SeccompAll):
		return contract.SeccompFilter{Mode: "unconfined"}, nil
	case s.Retain:
		return contract.SeccompFilter{Mode: "retain", Names: s.Names, Errno: s.Errno}, nil
	default:
		return contract.SeccompFilter{Mode: "remove", Names: s.Names, Errno: s.Errno}, nil
	}
}

// profile tries a profile before anything is made: what starts the app does so
// again, with the capabilities that it then has.
func profile(is *pod.Isolation) (contract.SeccompFilter, error) {
	set := caps.Default()
	var err error
	if is.Capabilities != nil {
		if set, err = caps.Parse(is.Capabilities); err != nil {
			return contract.SeccompFilter{}, err
		}
	}
	p, err := seccomp.ParseProfile(is.Seccomp.Profile)
	if err == nil {
		_, _, err = seccomp.ForProfile(p, uint64(set))
	}
	if err != nil {
		return contract.SeccompFilter{}, fmt.Errorf("isolator %q: %w", pod.IsolatorSeccompProfile, err)
	}
	var text bytes.Buffer
	if err := json.Compact(&text, is.Seccomp.Profile); err != nil {
		return contract.SeccompFilter{}, fmt.Errorf("isolator %q: %w", pod.IsolatorSeccompProfile, err)
	}
	return contract.SeccompFilter{Mode: contract.SeccompProfile, Profile: text.String()}, nil
}
