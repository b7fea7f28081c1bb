// SPDX-License-Identifier: Apache-2.0

// Command acbuild builds container images. Called actool, it is appc's tool of
// that name.
package main

import (
	"os"

	"github.com/rkt/rkt/internal/build/cmd"
	"github.com/rkt/rkt/internal/build/engine"
	"github.com/rkt/rkt/internal/ui"
)

func main() {
	if engine.IsChild() {
		os.Exit(engine.Child())
	}
	os.Exit(cmd.Run(os.Args[0], os.Args[1:], ui.Std()))
}
