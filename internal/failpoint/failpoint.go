// SPDX-License-Identifier: Apache-2.0

//go:build !failpoint

// Package failpoint names the places where a crash test ends the process. In
// an ordinary build Hit is empty and costs nothing.
package failpoint

// Armed tells whether this build has failpoints.
const Armed = false

// Hit does nothing in this build.
func Hit(string) {}

// Trace has nothing to hand on in this build.
func Trace() (fd int, env string) { return 0, "" }
