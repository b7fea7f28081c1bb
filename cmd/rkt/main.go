// SPDX-License-Identifier: Apache-2.0

// Command rkt runs container images as pods.
package main

import (
	"os"

	"github.com/rkt/rkt/internal/cli"
	"github.com/rkt/rkt/internal/ui"
)

func main() { os.Exit(cli.Run(os.Args[1:], ui.Std())) }
