// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/rkt/rkt/internal/config"
	"github.com/rkt/rkt/internal/linux/seccomp"
	"github.com/rkt/rkt/internal/pod"
)

// parseSeccomp reads the value of --seccomp, and the profile that it may name.
func parseSeccomp(s string) (*pod.Seccomp, error) {
	file, ok := strings.CutPrefix(s, pod.SeccompProfilePrefix)
	if !ok {
		return pod.ParseSeccomp(s)
	}
	text, err := config.ReadRegular(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read seccomp profile: %w", err)
	}
	if text == nil {
		return nil, fmt.Errorf("cannot read seccomp profile %q: it is not a regular file", file)
	}
	if _, err := seccomp.ParseProfile(text); err != nil {
		return nil, fmt.Errorf("cannot read seccomp profile %q: %w", file, err)
	}
	return &pod.Seccomp{Profile: text}, nil
}
