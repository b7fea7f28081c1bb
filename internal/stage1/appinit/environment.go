// SPDX-License-Identifier: Apache-2.0

package appinit

import (
	"os"
	"strings"
)

// WithTerm adds the caller's TERM unless the app has one.
func WithTerm(env []string) []string {
	term := os.Getenv("TERM")
	if term == "" {
		return env
	}
	for _, e := range env {
		if strings.HasPrefix(e, "TERM=") {
			return env
		}
	}
	return append(env[:len(env):len(env)], "TERM="+term)
}
